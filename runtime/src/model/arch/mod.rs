//! Architectures: how each one's metadata becomes a [`ModelSpec`]. One file and one line of [`REGISTRY`] each.
//!
//! # Keys of our own
//!
//! Where GGUF has no key for what a decoder must know, these are read first, in a file of any architecture:
//!
//! | key | value | without it |
//! |---|---|---|
//! | `kinglet.activation` | `silu`, `gelu` (by erf), `gelu_tanh`, `relu` or `relu2` | what the family was trained with; `gpt2` and `starcoder2` `gelu_tanh` |
//! | `kinglet.attention_scale` | what scores are multiplied by | `attention.scale`, else `1 / sqrt(head_dim)`; Gemma 2 27B and Gemma 3 27B are known by their number of layers |
//! | `kinglet.rope_theta` | base of the rotary frequencies | `rope.freq_base`, else 10000 |
//! | `kinglet.windows` | for each layer, how many keys a query sees; 0 for all | `attention.sliding_window` in the family's pattern or in that of `attention.sliding_window_pattern` |
//! | `kinglet.rope_layers` | for each layer, whether it has the rotary embedding | all; in SmolLM3 not every fourth |

mod base;
mod bitnet;
mod bloom;
mod dclm;
mod falcon;
mod gemma;
mod gemma2;
mod gemma3;
mod gpt2;
mod gptneox;
mod granite;
mod internlm2;
mod lfm2;
mod llama;
mod minicpm;
mod minicpm3;
mod mpt;
mod olmo;
mod olmo2;
mod olmoe;
mod openelm;
mod phi2;
mod phi3;
mod qwen2;
mod qwen2moe;
mod qwen3;
mod qwen3moe;
mod smollm3;
mod stablelm;
mod starcoder2;

use super::ModelError;
use super::meta::Meta;
use super::spec::{
    Activation, AttentionSpec, ExpertsSpec, FfnSpec, LatentSpec, LayerSpec, Mixer, ModelSpec, Norm, QkNorm,
    Residual, RopeScaling, RopeStyle,
};
use base::Base;

/// How an architecture is read.
#[derive(Debug, Clone, Copy)]
pub struct Architecture {
    /// `general.architecture`.
    pub name: &'static str,
    /// Models it is known from.
    pub models: &'static str,
    /// What sets it apart from Llama's decoder.
    pub quirks: &'static str,
    /// Reads the spec.
    pub spec: fn(&Meta<'_>) -> Result<ModelSpec, ModelError>,
}

macro_rules! registry {
    ($($name:ident, $models:expr, $quirks:expr;)*) => {
        /// Every architecture that runs.
        pub const REGISTRY: &[Architecture] = &[
            $(Architecture { name: stringify!($name), models: $models, quirks: $quirks, spec: $name::spec },)*
        ];
    };
}

registry! {
    bitnet, "BitNet b1.58 (1bitLLM)", "norms before the output projection and before `down`; activations are not quantized to 8 bits per row";
    bloom, "BLOOM", "ALiBi, normed embedding, LayerNorm, GELU (tanh), biases";
    dclm, "DCLM-1B, DCLM-7B", "LayerNorm without bias, also over all heads' queries and keys together";
    falcon, "Falcon 7B, 11B, 40B", "parallel halves with one norm or two, LayerNorm, GELU (erf)";
    gemma, "Gemma 1", "embeddings scaled by sqrt(dim), GELU gate";
    gemma2, "Gemma 2 (2B, 9B, 27B)", "norms before and after each half, softcaps, a window on every other layer";
    gemma3, "Gemma 3 (text)", "as Gemma 2 without softcaps; normed queries and keys, a window and a rotary base of its own on five of six layers";
    gpt2, "GPT-2, Cerebras-GPT, LaMini-GPT", "learned positions, LayerNorm, GELU, biases";
    gptneox, "Pythia, GPT-NeoX, Dolly, RedPajama", "parallel or serial halves, part of each head rotated, LayerNorm, GELU (erf), biases";
    granite, "Granite 3", "multipliers of embedding, scores, residual and logits";
    internlm2, "InternLM2", "none";
    lfm2, "LFM2 (350M, 700M, 1.2B)", "gated short convolutions in most layers, normed queries and keys";
    llama, "Llama 1, 2, 3, TinyLlama, MobileLLaMA, Mistral, Mistral Nemo, Mixtral, SmolLM2, Fox, Falcon 3", "LongRoPE, YaRN, Llama 3 frequency factors and experts where the file has them";
    minicpm, "MiniCPM (1B, 2B), MiniCPM4", "multipliers of embedding, residual and logits; LongRoPE";
    minicpm3, "MiniCPM3-4B", "multi-head latent attention, multipliers, LongRoPE";
    mpt, "MPT", "ALiBi, LayerNorm without bias, GELU (erf), clamped queries, keys and values";
    olmo, "OLMo 1", "LayerNorm without weights, clamped queries, keys and values";
    olmo2, "OLMo 2, OLMo 3", "norms only after each half, queries and keys normed over all heads; OLMo 3: a window on three of four layers";
    olmoe, "OLMoE", "experts, queries and keys normed over all heads";
    openelm, "OpenELM (270M to 3B)", "heads and widths of each layer its own, normed queries and keys";
    phi2, "Phi-1, Phi-1.5, Phi-2", "parallel halves with one norm, part of each head rotated, LayerNorm, GELU (tanh), biases";
    phi3, "Phi-3, Phi-3.5, Phi-4, Phi-4-mini", "fused projections, LongRoPE, a window on every layer where the file declares one";
    qwen2, "Qwen2, Qwen2.5", "biases on q, k and v";
    qwen2moe, "Qwen1.5-MoE, Qwen2-57B-A14B", "experts, one more for every token behind a gate, biases on q, k and v";
    qwen3, "Qwen3", "normed queries and keys";
    qwen3moe, "Qwen3-30B-A3B, Qwen3-235B-A22B", "experts, normed queries and keys";
    smollm3, "SmolLM3", "no rotary embedding on every fourth layer";
    stablelm, "StableLM 3B, Zephyr 3B, StableLM 2 (1.6B, 12B)", "LayerNorm, part of each head rotated; 12B: parallel halves, each head's queries and keys normed with its own weight";
    starcoder2, "StarCoder2", "LayerNorm, no gate, GELU (tanh), biases";
}

/// The architecture called `name`.
pub fn find(name: &str) -> Option<&'static Architecture> {
    REGISTRY.iter().find(|a| a.name == name)
}

/// The names of all, for messages.
pub fn names() -> String {
    REGISTRY.iter().map(|a| a.name).collect::<Vec<_>>().join(", ")
}
