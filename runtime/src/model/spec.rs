//! [`ModelSpec`]: what a decoder needs to know about a model, as data.
//!
//! An architecture ([`super::arch`]) reads GGUF metadata into a spec; the one forward pass ([`crate::decoder`]) is driven by
//! it. Nothing below knows the name of an architecture.

use super::{MAX_HEAD_DIM, Meta, ModelError};
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
    /// Whether a learned vector of its position is added to each embedding (GPT-2).
    pub learned_positions: bool,
    /// Whether the embedding is normed before the first layer (BLOOM).
    pub embedding_norm: bool,
    /// Kind of every norm.
    pub norm: Norm,
    /// Epsilon of every norm.
    pub norm_eps: f32,
    /// Rotary embeddings; a layer names one by its index.
    pub ropes: Vec<RopeSpec>,
    /// The layers, first to last.
    pub layers: Vec<LayerSpec>,
    /// Tensor of the norm before the output, without `.weight`.
    pub output_norm: &'static str,
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
    /// LayerNorm with neither weight nor bias (OLMo).
    Plain,
}

/// One layer: a mixer, which looks at other positions, and a feed-forward network, which does not.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSpec {
    /// What looks at other positions.
    pub mixer: Mixer,
    /// What does not.
    pub ffn: FfnSpec,
    /// How the two add to the stream.
    pub residual: Residual,
    /// Tensor of the norm before the mixer, without `.weight`; `None` when it reads the stream itself (OLMo 2).
    pub mixer_norm: Option<&'static str>,
    /// Tensor of the norm before the feed-forward network. `None` when it reads the stream itself or, in a parallel layer, what
    /// the mixer reads.
    pub ffn_norm: Option<&'static str>,
    /// Norms of what each half adds to the stream (Gemma 2 and 3, OLMo 2).
    pub post_norms: bool,
    /// What a half adds to the stream is multiplied by this.
    pub residual_scale: f32,
}

/// How the two halves of a layer add to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// `x += mixer(x)`, then `x += ffn(x)`.
    Serial,
    /// `x += mixer(x) + ffn(x)` (GPT-NeoX, Falcon, Phi-2).
    Parallel,
}

/// What looks at other positions.
#[derive(Debug, Clone, PartialEq)]
pub enum Mixer {
    /// Attention.
    Attention(AttentionSpec),
    /// A gated convolution over this many positions, the current one the last (LFM2).
    ShortConv(usize),
}

impl Mixer {
    /// The attention, when it is one.
    pub fn attention(&self) -> Option<&AttentionSpec> {
        match self {
            Mixer::Attention(a) => Some(a),
            Mixer::ShortConv(_) => None,
        }
    }
}

/// Attention of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionSpec {
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; `n_heads` is a multiple.
    pub n_kv_heads: usize,
    /// Width of a query and of a key head.
    pub head_dim: usize,
    /// Width of a value head.
    pub value_dim: usize,
    /// Queries, keys and values come from narrow latent vectors (MLA).
    pub latent: Option<LatentSpec>,
    /// Queries, keys and values are clamped to `[-c, c]` (MPT, OLMo).
    pub clamp: Option<f32>,
    /// Norms of queries and keys, before the rotary embedding.
    pub qk_norm: QkNorm,
    /// Index into [`ModelSpec::ropes`]; `None` for a layer without rotary embedding.
    pub rope: Option<usize>,
    /// First value of a head that is rotated.
    pub rope_start: usize,
    /// How many keys a query sees, itself included; `None` for all.
    pub window: Option<usize>,
    /// Scores are multiplied by this.
    pub scale: f32,
    /// Scores become `cap * tanh(scores / cap)`.
    pub softcap: Option<f32>,
    /// ALiBi: what is added to a score for each position of distance, one per query head; empty for none.
    pub slopes: Vec<f32>,
    /// Whether the heads' results are normed together before the output projection (BitNet).
    pub sub_norm: bool,
}

/// Widths of multi-head latent attention: keys and values are projections of one latent vector, but for the rotated end of
/// each key, which all heads share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentSpec {
    /// Width of the vector that queries are projected from; `None` where they are projected from the layer's input.
    pub q_rank: Option<usize>,
    /// Width of the vector that keys and values are projected from.
    pub kv_rank: usize,
}

/// Norms of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    None,
    /// Each head by itself, one weight of `head_dim` for all heads (Gemma 3, Qwen3).
    PerHead,
    /// Each head by itself, with a weight of its own (StableLM 2 12B).
    OwnPerHead,
    /// All heads together (OLMo 2, DCLM).
    Whole,
}

/// Feed-forward network of one layer: `down(act(gate) * up)`, or `down(act(up))`.
#[derive(Debug, Clone, PartialEq)]
pub struct FfnSpec {
    /// Width, or width of one expert.
    pub dim: usize,
    /// Its activation.
    pub activation: Activation,
    /// Whether the activation of one projection gates another.
    pub gated: bool,
    /// Whether what `down` reads is normed (BitNet).
    pub sub_norm: bool,
    /// Many networks, of which each token uses some.
    pub experts: Option<ExpertsSpec>,
}

/// Mixture of experts: the router's softmax over all experts weighs the results of the `used` largest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertsSpec {
    /// How many there are.
    pub n: usize,
    /// How many a token uses.
    pub used: usize,
    /// Whether the weights of those are made to sum to 1.
    pub renormalize: bool,
    /// The weights are multiplied by this.
    pub scale: f32,
    /// Width of a network that every token uses besides, behind a sigmoid gate (Qwen2-MoE).
    pub shared: Option<usize>,
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
    /// Each pair's frequency is divided by its factor.
    pub factors: RopeFactors,
    /// `cos` and `sin` are multiplied by this.
    pub attention_factor: f64,
}

/// Divisors of the frequencies, one per pair.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeFactors {
    /// None.
    None,
    /// The same for every context (`rope_freqs.weight`: Llama 3).
    Fixed(Vec<f32>),
    /// LongRoPE: `short` for sessions whose context is at most `original_context`, `long` for longer ones, at all positions.
    ByContext {
        /// Positions of the original training.
        original_context: usize,
        /// For contexts up to that.
        short: Vec<f32>,
        /// For longer contexts.
        long: Vec<f32>,
    },
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
    /// YaRN: low frequencies divided, high ones kept, a ramp between
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
    },
}

impl ModelSpec {
    /// The longest context that a session may have. It is [`ModelSpec::context_length`], except where LongRoPE has factors for
    /// longer ones (MiniCPM3).
    pub fn longest_context(&self) -> usize {
        let extends = |r: &RopeSpec| match r.factors {
            RopeFactors::ByContext { original_context, .. } => original_context >= self.context_length,
            _ => false,
        };
        if self.ropes.iter().any(extends) { MAX_CONTEXT } else { self.context_length.min(MAX_CONTEXT) }
    }

    /// What every architecture must fulfil.
    pub(super) fn check(&self, meta: &Meta<'_>) -> Result<(), ModelError> {
        let fail = |what: String| Err(ModelError::new(meta.gguf.file(), what));
        for a in self.attentions() {
            let (k, v) = (a.head_dim, a.value_dim);
            if [k, v].iter().any(|n| !(1..=MAX_HEAD_DIM).contains(n)) {
                return fail(format!("a head of {k} (values {v}) is not supported; 1 to {MAX_HEAD_DIM} are"));
            }
        }
        let n_experts = meta.n_experts()?;
        if n_experts > 0 && self.layers.iter().all(|l| l.ffn.experts.is_none()) {
            let (key, arch) = (meta.key("expert_count"), &self.architecture);
            return fail(format!(
                "key `{key}` is {n_experts}, but no layer is a mixture-of-experts that kinglet knows of `{arch}`"
            ));
        }
        Ok(())
    }

    /// The longest row any operation of this model works on, in values for each token.
    pub fn widest(&self) -> usize {
        let mixer = |m: &Mixer| match m {
            Mixer::Attention(a) => a.n_heads * (a.head_dim + a.value_dim),
            Mixer::ShortConv(_) => 3 * self.dim,
        };
        let ffn = |f: &FfnSpec| match &f.experts {
            None => f.dim,
            Some(e) => (e.used * f.dim.max(self.dim)).max(e.shared.unwrap_or(0)),
        };
        self.layers.iter().map(|l| mixer(&l.mixer).max(ffn(&l.ffn))).max().unwrap_or(0).max(self.dim)
    }

    /// The attention of every layer that has one.
    pub fn attentions(&self) -> impl Iterator<Item = &AttentionSpec> {
        self.layers.iter().filter_map(|l| l.mixer.attention())
    }
}

/// Positions up to here are exact as f32.
const MAX_CONTEXT: usize = 1 << 24;
