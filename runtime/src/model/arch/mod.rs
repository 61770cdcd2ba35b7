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
use crate::decoder::{SessionOptions, kept_positions};
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
    /// One of its models, for a sense of size.
    pub example: Example,
    /// Reads the spec.
    pub spec: fn(&Meta<'_>) -> Result<ModelSpec, ModelError>,
}

/// A model and its size.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// Its name.
    pub name: &'static str,
    /// Millions of parameters.
    pub parameters: f64,
    /// Values that one position takes in the key-value cache, over all heads of the layers that see all keys.
    pub cached: usize,
    /// The same of the layers that have a window, and how many keys that shows.
    pub windowed: (usize, usize),
}

impl Example {
    /// Bytes of the weights as `Q4_K_M`, which is about 4.85 bits a weight, and of `positions` positions in an f16 cache, with
    /// batches of the default size.
    pub fn bytes(&self, positions: usize) -> (f64, f64) {
        let (values, window) = self.windowed;
        let kept = kept_positions(Some(window), positions, SessionOptions::DEFAULT_BATCH).min(positions);
        (self.parameters * 1e6 * 4.85 / 8.0, (2 * (self.cached * positions + values * kept)) as f64)
    }
}

macro_rules! registry {
    ($($name:ident, $models:expr, $quirks:expr,
        ($example:expr, $parameters:expr, $cached:expr $(, window $window:literal: $windowed:expr)?);)*) => {
        /// Every architecture that runs.
        pub const REGISTRY: &[Architecture] = &[
            $(Architecture {
                name: stringify!($name),
                models: $models,
                quirks: $quirks,
                example: Example {
                    name: $example,
                    parameters: $parameters,
                    cached: $cached,
                    windowed: [$(($windowed, $window),)? (0, 0)][0],
                },
                spec: $name::spec,
            },)*
        ];
    };
}

registry! {
    bitnet, "BitNet b1.58 (1bitLLM; 2B4T as `bitnet` with `hidden_act`)", "norms before the output projection and before `down`; activations are not quantized to 8 bits per row", ("bitnet_b1_58-3B", 3320.0, 26 * 32 * (100 + 100));
    bloom, "BLOOM", "ALiBi, normed embedding, LayerNorm, GELU (tanh), biases", ("BLOOM 560M", 559.0, 24 * 16 * (64 + 64));
    dclm, "DCLM-1B, DCLM-7B", "LayerNorm without bias, also over all heads' queries and keys together", ("DCLM-7B", 6890.0, 32 * 32 * (128 + 128));
    falcon, "Falcon 7B, 11B, 40B", "parallel halves with one norm or two, LayerNorm, GELU (erf)", ("Falcon 7B", 7217.0, 32 * (64 + 64));
    gemma, "Gemma 1", "embeddings scaled by sqrt(dim), GELU gate", ("Gemma 2B", 2506.0, 18 * (256 + 256));
    gemma2, "Gemma 2 (2B, 9B, 27B)", "norms before and after each half, softcaps, a window on every other layer", ("Gemma 2 9B", 9241.0, 21 * 8 * (256 + 256), window 4096: 21 * 8 * (256 + 256));
    gemma3, "Gemma 3 (text)", "as Gemma 2 without softcaps; normed queries and keys, a window and a rotary base of its own on five of six layers", ("Gemma 3 4B", 3880.0, 5 * 4 * (256 + 256), window 1024: 29 * 4 * (256 + 256));
    gpt2, "GPT-2, Cerebras-GPT, LaMini-GPT", "learned positions, LayerNorm, GELU, biases", ("Cerebras-GPT 1.3B", 1316.0, 24 * 16 * (128 + 128));
    gptneox, "Pythia, GPT-NeoX, Dolly, RedPajama", "parallel or serial halves, part of each head rotated, LayerNorm, GELU (erf), biases", ("Pythia 2.8B", 2775.0, 32 * 32 * (80 + 80));
    granite, "Granite 3", "multipliers of embedding, scores, residual and logits", ("Granite 3.1 2B", 2534.0, 40 * 8 * (64 + 64));
    internlm2, "InternLM2", "none", ("InternLM2 1.8B", 1889.0, 24 * 8 * (128 + 128));
    lfm2, "LFM2 (350M, 700M, 1.2B)", "gated short convolutions in most layers, normed queries and keys", ("LFM2 1.2B", 1170.0, 6 * 8 * (64 + 64));
    llama, "Llama 1, 2, 3, TinyLlama, MobileLLaMA, Mistral, Mistral Nemo, Mixtral, SmolLM2, Fox, Falcon 3", "LongRoPE, YaRN, Llama 3 frequency factors and experts where the file has them", ("Llama 3.1 8B", 8030.0, 32 * 8 * (128 + 128));
    minicpm, "MiniCPM (1B, 2B), MiniCPM4", "multipliers of embedding, residual and logits; LongRoPE", ("MiniCPM 2B", 2725.0, 40 * 36 * (64 + 64));
    minicpm3, "MiniCPM3-4B", "multi-head latent attention, multipliers, LongRoPE", ("MiniCPM3 4B", 4074.0, 62 * 40 * (96 + 64));
    mpt, "MPT", "ALiBi, LayerNorm without bias, GELU (erf), clamped queries, keys and values", ("MPT 7B", 6649.0, 32 * 32 * (128 + 128));
    olmo, "OLMo 1", "LayerNorm without weights, clamped queries, keys and values", ("OLMo 1B", 1177.0, 16 * 16 * (128 + 128));
    olmo2, "OLMo 2, OLMo 3", "norms only after each half, queries and keys normed over all heads; OLMo 3: a window on three of four layers", ("OLMo 2 7B", 7299.0, 32 * 32 * (128 + 128));
    olmoe, "OLMoE", "experts, queries and keys normed over all heads", ("OLMoE 1B-7B", 6919.0, 16 * 16 * (128 + 128));
    openelm, "OpenELM (270M to 3B)", "heads and widths of each layer its own, normed queries and keys", ("OpenELM 270M", 272.0, 63 * (64 + 64));
    phi2, "Phi-1, Phi-1.5, Phi-2", "parallel halves with one norm, part of each head rotated, LayerNorm, GELU (tanh), biases", ("Phi-2", 2780.0, 32 * 32 * (80 + 80));
    phi3, "Phi-3, Phi-3.5, Phi-4, Phi-4-mini", "fused projections, LongRoPE, a window on every layer where the file declares one", ("Phi-3.5-mini", 3821.0, 32 * 32 * (96 + 96));
    qwen2, "Qwen2, Qwen2.5", "biases on q, k and v", ("Qwen2.5 7B", 7616.0, 28 * 4 * (128 + 128));
    qwen2moe, "Qwen1.5-MoE, Qwen2-57B-A14B", "experts, one more for every token behind a gate, biases on q, k and v", ("Qwen1.5-MoE-A2.7B", 14316.0, 24 * 16 * (128 + 128));
    qwen3, "Qwen3", "normed queries and keys", ("Qwen3 4B", 4022.0, 36 * 8 * (128 + 128));
    qwen3moe, "Qwen3-30B-A3B, Qwen3-235B-A22B", "experts, normed queries and keys", ("Qwen3-30B-A3B", 30532.0, 48 * 4 * (128 + 128));
    smollm3, "SmolLM3", "no rotary embedding on every fourth layer", ("SmolLM3 3B", 3075.0, 36 * 4 * (128 + 128));
    stablelm, "StableLM 3B, Zephyr 3B, StableLM 2 (1.6B, 12B)", "LayerNorm, part of each head rotated; 12B: parallel halves, each head's queries and keys normed with its own weight", ("StableLM Zephyr 3B", 2795.0, 32 * 32 * (80 + 80));
    starcoder2, "StarCoder2", "LayerNorm, no gate, GELU (tanh), biases", ("StarCoder2 3B", 3030.0, 30 * 2 * (128 + 128));
}

/// The architecture called `name`.
pub fn find(name: &str) -> Option<&'static Architecture> {
    REGISTRY.iter().find(|a| a.name == name)
}

/// The names of all, for messages.
pub fn names() -> String {
    REGISTRY.iter().map(|a| a.name).collect::<Vec<_>>().join(", ")
}
