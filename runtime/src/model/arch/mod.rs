//! Architectures: how each one's metadata becomes a [`ModelSpec`]. One file and one line of [`REGISTRY`] each.

mod gemma3;
mod llama;
mod qwen2;

use super::meta::Meta;
use super::spec::{Activation, LayerSpec, ModelSpec, Norm, QkNorm, RopeStyle};
use super::{MAX_HEAD_DIM, ModelError};

/// How an architecture is read.
#[derive(Debug, Clone, Copy)]
pub struct Architecture {
    /// `general.architecture`.
    pub name: &'static str,
    /// Models it is known from.
    pub models: &'static str,
    /// Reads the spec.
    pub spec: fn(&Meta<'_>) -> Result<ModelSpec, ModelError>,
}

/// Every architecture that runs.
pub const REGISTRY: &[Architecture] = &[
    Architecture { name: "gemma3", models: "Gemma 3", spec: gemma3::spec },
    Architecture {
        name: "llama",
        models: "Llama 2 and 3, TinyLlama, MobileLLaMA, Mistral, Mistral Nemo, SmolLM2",
        spec: llama::spec,
    },
    Architecture { name: "qwen2", models: "Qwen2, Qwen2.5", spec: qwen2::spec },
];

/// The architecture called `name`.
pub fn find(name: &str) -> Option<&'static Architecture> {
    REGISTRY.iter().find(|a| a.name == name)
}

/// The names of all, for messages.
pub fn names() -> String {
    REGISTRY.iter().map(|a| a.name).collect::<Vec<_>>().join(", ")
}

/// The spec that most decoders share: pre-norm RMSNorm, one rotary embedding, causal attention over all keys, SwiGLU. An
/// architecture takes it and changes what it does differently.
fn common(meta: &Meta<'_>, style: RopeStyle) -> Result<ModelSpec, ModelError> {
    let dim = meta.size("embedding_length")?;
    let heads = meta.per_layer("attention.head_count", None)?;
    let kv_heads = meta.per_layer("attention.head_count_kv", Some(&heads))?;
    let ffn = meta.per_layer("feed_forward_length", None)?;
    let head_dim = match meta.opt_size("attention.key_length")? {
        Some(n) => n,
        None => dim / heads[0],
    };
    let value_dim = meta.opt_size("attention.value_length")?.unwrap_or(head_dim);
    let fail = |what: String| Err(ModelError::new(meta.gguf.file(), what));
    for (i, (h, kv)) in heads.iter().zip(&kv_heads).enumerate() {
        if h % kv != 0 || kv > h {
            return fail(format!(
                "layer {i} has {h} query heads for {kv} key heads, which is not a multiple"
            ));
        }
    }
    if head_dim == 0 || head_dim > MAX_HEAD_DIM || value_dim > MAX_HEAD_DIM {
        return fail(format!(
            "a head of {head_dim} (values {value_dim}) is not supported; 1 to {MAX_HEAD_DIM} are"
        ));
    }
    let layer = |i: usize| LayerSpec {
        n_heads: heads[i],
        n_kv_heads: kv_heads[i],
        head_dim,
        value_dim,
        ffn_dim: ffn[i],
        rope: Some(0),
        window: None,
        attn_scale: 1.0 / (head_dim as f32).sqrt(),
        attn_softcap: None,
        qk_norm: QkNorm::None,
        post_norms: false,
        activation: Activation::Silu,
        gated: true,
        residual_scale: 1.0,
    };
    if meta.opt_size("expert_count")?.is_some() {
        return fail(format!(
            "mixture-of-experts models of architecture `{}` are not supported",
            meta.architecture
        ));
    }
    Ok(ModelSpec {
        architecture: meta.architecture.to_owned(),
        vocab_size: meta.vocab_size()?,
        dim,
        context_length: meta.size("context_length")?,
        embedding_scale: 1.0,
        norm: Norm::Rms,
        norm_eps: meta.positive("attention.layer_norm_rms_epsilon")?,
        ropes: vec![meta.rope(style, head_dim)?],
        layers: (0..heads.len()).map(layer).collect(),
        logit_scale: 1.0,
        logit_softcap: None,
    })
}
