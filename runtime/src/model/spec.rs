//! [`ModelSpec`]: what a decoder needs to know about a model, as data.
//!
//! An architecture ([`super::arch`]) reads GGUF metadata into a spec; the one forward pass ([`crate::decoder`]) is driven by
//! it. Nothing below knows the name of an architecture.

pub use kinglet_kernels::Activation;

/// A model, without its weights.
#[derive(Debug, Clone)]
pub struct ModelSpec {
    /// `general.architecture`.
    pub architecture: String,
    /// Tokens in the vocabulary: rows of the embedding and of the output.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub dim: usize,
    /// Positions the model was trained for.
    pub context_length: usize,
    /// The embedding is multiplied by this.
    pub embedding_scale: f32,
    /// Kind of every norm.
    pub norm: Norm,
    /// Epsilon of every norm.
    pub norm_eps: f32,
    /// Rotary embeddings; a layer names one by its index.
    pub ropes: Vec<RopeSpec>,
    /// The layers, first to last.
    pub layers: Vec<LayerSpec>,
    /// Logits are multiplied by this.
    pub logit_scale: f32,
    /// Logits become `cap * tanh(logits / cap)`.
    pub logit_softcap: Option<f32>,
}

/// Kind of a norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// RMSNorm, with a weight.
    Rms,
    /// LayerNorm, with a weight and, where the file has one, a bias.
    Layer,
}

/// One transformer layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSpec {
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; `n_heads` is a multiple.
    pub n_kv_heads: usize,
    /// Width of a query and of a key head.
    pub head_dim: usize,
    /// Width of a value head.
    pub value_dim: usize,
    /// Width of the feed-forward network.
    pub ffn_dim: usize,
    /// Index into [`ModelSpec::ropes`]; `None` for a layer without rotary embedding.
    pub rope: Option<usize>,
    /// How many keys a query sees, itself included; `None` for all.
    pub window: Option<usize>,
    /// Scores are multiplied by this.
    pub attn_scale: f32,
    /// Scores become `cap * tanh(scores / cap)`.
    pub attn_softcap: Option<f32>,
    /// Norms of queries and keys, before the rotary embedding.
    pub qk_norm: QkNorm,
    /// Norms of what attention and the feed-forward network add to the stream (Gemma 2 and 3).
    pub post_norms: bool,
    /// Activation of the feed-forward network.
    pub activation: Activation,
    /// Whether the activation of one projection gates another (`act(gate) * up`).
    pub gated: bool,
    /// What a layer adds to the stream is multiplied by this.
    pub residual_scale: f32,
}

/// Norms of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    None,
    /// Each head by itself, one weight of `head_dim` for all heads.
    PerHead,
}

/// How a rotary embedding pairs values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeStyle {
    /// `(2i, 2i + 1)`: the llama converter permutes weights for it.
    Interleaved,
    /// `(i, i + n_rot / 2)`: GPT-NeoX, Qwen, Gemma.
    HalfSplit,
}

/// A rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeSpec {
    /// Which values form a pair.
    pub style: RopeStyle,
    /// How many values of a head are rotated.
    pub n_rot: usize,
    /// Base of the frequencies.
    pub theta: f64,
    /// How frequencies are stretched for contexts longer than the model was first trained on.
    pub scaling: RopeScaling,
    /// Each pair's frequency is divided by its factor (`rope_freqs.weight`), when the file has them.
    pub factors: Option<Vec<f32>>,
}

/// Stretching of rotary frequencies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// None.
    None,
    /// Every frequency divided by the factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// YaRN: low frequencies divided, high ones kept, a ramp between, and scores sharpened
    /// (Peng et al., "YaRN: Efficient Context Window Extension of Large Language Models", 2023).
    Yarn {
        /// The factor of the low frequencies.
        factor: f64,
        /// Positions of the original training.
        original_context: f64,
        /// Rotations over the original context from which a frequency is kept.
        beta_fast: f64,
        /// Rotations below which a frequency is divided.
        beta_slow: f64,
        /// `cos` and `sin` are multiplied by this.
        attention_factor: f64,
    },
}

impl ModelSpec {
    /// The longest row any operation of this model works on, in values.
    pub fn widest(&self) -> usize {
        let of = |l: &LayerSpec| l.ffn_dim.max(l.n_heads * l.head_dim.max(l.value_dim));
        self.layers.iter().map(of).max().unwrap_or(0).max(self.dim)
    }
}
