//! Families of checkpoints: by the class that `config.json` names, how one becomes a GGUF.

mod dclm;
mod gemma;
mod gpt;
mod llama;
mod openelm;
mod phi3;
mod rope;
mod stablelm;

use super::config::Config;
use super::plan::{Order, Plan};
use super::writer::Value;

type Result<T> = std::result::Result<T, String>;

/// A kind of checkpoint that can be converted.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// `general.architecture` of the result.
    pub name: &'static str,
    /// Names in `architectures` of `config.json`.
    pub classes: &'static [&'static str],
    /// Models it is known from.
    pub models: &'static str,
    pub(super) plan: fn(&mut Plan<'_>) -> Result<()>,
}

/// Every family.
#[rustfmt::skip]
pub const FAMILIES: &[Family] = &[
    Family { name: "llama", plan: llama::llama, models: "Llama 1 to 3, TinyLlama, MobileLLaMA, SmolLM2, Mistral (Nemo), Fox",
        classes: &["LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM", "FoxForCausalLM"] },
    Family { name: "qwen2", plan: llama::qwen2, models: "Qwen2, Qwen2.5", classes: &["Qwen2ForCausalLM"] },
    Family { name: "qwen3", plan: llama::qwen3, models: "Qwen3", classes: &["Qwen3ForCausalLM"] },
    Family { name: "minicpm", plan: llama::minicpm, models: "MiniCPM 1B, 2B", classes: &["MiniCPMForCausalLM"] },
    Family { name: "minicpm3", plan: llama::minicpm3, models: "MiniCPM3 4B", classes: &["MiniCPM3ForCausalLM"] },
    Family { name: "phi3", plan: phi3::plan, models: "Phi-3, Phi-3.5, Phi-4, Phi-4-mini", classes: &["Phi3ForCausalLM"] },
    Family { name: "gemma2", plan: gemma::gemma2, models: "Gemma 2", classes: &["Gemma2ForCausalLM"] },
    Family { name: "gemma3", plan: gemma::gemma3, models: "Gemma 3 (text)", classes: &["Gemma3ForCausalLM"] },
    Family { name: "gptneox", plan: gpt::gptneox, models: "Pythia, GPT-NeoX", classes: &["GPTNeoXForCausalLM"] },
    Family { name: "gpt2", plan: gpt::gpt2, models: "GPT-2, Cerebras-GPT, LaMini-GPT", classes: &["GPT2LMHeadModel"] },
    Family { name: "stablelm", plan: stablelm::plan, models: "StableLM 3B, Zephyr 3B, StableLM 2",
        classes: &["StableLmForCausalLM", "StableLMEpochForCausalLM"] },
    Family { name: "openelm", plan: openelm::plan, models: "OpenELM", classes: &["OpenELMForCausalLM"] },
    Family { name: "dclm", plan: dclm::plan, models: "DCLM", classes: &["OpenLMModel", "OpenLMForCausalLM", "OpenLMforCausalLM"] },
];

/// The family of a checkpoint.
pub(super) fn find(config: &Config) -> Result<&'static Family> {
    let classes = config.opt_texts(&["architectures"])?.unwrap_or_default();
    let known = || FAMILIES.iter().flat_map(|f| f.classes).copied().collect::<Vec<_>>().join(", ");
    let found = FAMILIES.iter().find(|f| classes.iter().any(|c| f.classes.contains(&c.as_str())));
    // DCLM's own configuration names only the type.
    let open_lm = || {
        let is = matches!(config.opt_text(&["model_type"]), Ok(Some("openlm")));
        FAMILIES.iter().find(|f| is && f.name == "dclm")
    };
    let Some(family) = found.or_else(open_lm) else {
        return match classes.first() {
            Some(class) => {
                config.fail(format_args!("the class `{class}` cannot be converted; these can: {}", known()))
            }
            None => config.fail(format_args!("key `architectures` is missing; it names one of {}", known())),
        };
    };
    if config.get(&["quantization_config"]).is_some() {
        return config
            .fail("the checkpoint is quantized (`quantization_config`); convert the one it was made from");
    }
    Ok(family)
}

/// Names of the tensors of a layer without bias or with, `(GGUF, checkpoint)`.
type Names = &'static [(&'static str, &'static str)];

/// What the names of most families have in common.
struct Layout {
    /// Before the name of each tensor of the body.
    prefix: &'static str,
    norms: Names,
    matrices: Names,
}

impl Plan<'_> {
    /// Norms and matrices of layer `i`.
    fn layer(&mut self, i: usize, layout: &Layout) -> Result<()> {
        let prefix = layout.prefix;
        for (name, from) in layout.norms {
            self.norm(&format!("blk.{i}.{name}"), &format!("{prefix}layers.{i}.{from}"))?;
        }
        for (name, from) in layout.matrices {
            self.linear(&format!("blk.{i}.{name}"), &format!("{prefix}layers.{i}.{from}"), Order::Plain)?;
        }
        Ok(())
    }

    /// `kinglet.activation`, when the checkpoint's differs from what a decoder would take.
    fn activation(&mut self, names: &[&str], usual: &str) -> Result<()> {
        let name = match self.config.opt_text(names)? {
            None => return Ok(()),
            Some("silu" | "swish") => "silu",
            Some("gelu") => "gelu",
            Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") => "gelu_tanh",
            Some("relu") => "relu",
            Some("relu2") => "relu2",
            Some(other) => {
                return self.config.fail(format_args!("the activation `{other}` is not supported"));
            }
        };
        if name != usual {
            self.text("kinglet.activation", name);
        }
        Ok(())
    }

    /// `kinglet.windows`.
    fn windows(&mut self, windows: Vec<usize>) {
        let windows = windows.into_iter().map(|w| u32::try_from(w).unwrap_or(u32::MAX)).collect();
        self.key("kinglet.windows", Value::U32s(windows));
    }

    /// For each layer, whether its attention has the sliding window: by `layer_types`, else by `usual`.
    fn sliding(&self, n_layers: usize, usual: impl Fn(usize) -> bool) -> Result<Vec<bool>> {
        let Some(types) = self.config.opt_texts(&["layer_types"])? else {
            return Ok((0..n_layers).map(usual).collect());
        };
        if types.len() != n_layers {
            return self
                .config
                .fail(format_args!("key `layer_types` has {} values for {n_layers} layers", types.len()));
        }
        types
            .iter()
            .map(|t| match t.as_str() {
                "sliding_attention" => Ok(true),
                "full_attention" => Ok(false),
                other => self.config.fail(format_args!("key `layer_types`: `{other}` is not supported")),
            })
            .collect()
    }
}
