//! `gemma3`: text models of Gemma 3. Norms before and after each half of a layer, normed queries and keys, five layers with a
//! sliding window and a rotary embedding of their own for each layer that sees everything. The converter has
//! added 1 to the norm weights.

use super::super::spec::{Activation, QkNorm, RopeScaling};
use super::{Meta, ModelError, ModelSpec, RopeStyle, common};

/// Every sixth layer sees all keys. No key of the file says so.
const PATTERN: usize = 6;
/// Layers of the 27B, whose scores are scaled by the stream's width per head. No key says so either.
const LAYERS_27B: usize = 62;

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = common(meta, RopeStyle::HalfSplit)?;
    let mut local = spec.ropes[0].clone();
    local.theta = f64::from(meta.opt_positive("rope.freq_base_swa")?.unwrap_or(10000.0));
    local.scaling = RopeScaling::None;
    if meta.opt_positive("rope.freq_base")?.is_none() {
        spec.ropes[0].theta = 1_000_000.0;
    }
    spec.ropes.push(local);
    let window = meta.opt_size("attention.sliding_window")?;
    let (dim, n_layers) = (spec.dim, spec.layers.len());
    for (i, layer) in spec.layers.iter_mut().enumerate() {
        if i % PATTERN != PATTERN - 1 {
            layer.window = window;
            layer.rope = Some(1);
        }
        if n_layers == LAYERS_27B {
            layer.attn_scale = 1.0 / (dim as f32 / layer.n_heads as f32).sqrt();
        }
        layer.attn_softcap = meta.softcap("attn_logit_softcapping")?;
        layer.qk_norm = QkNorm::PerHead;
        layer.post_norms = true;
        layer.activation = Activation::GeluTanh;
    }
    spec.embedding_scale = (dim as f32).sqrt();
    spec.logit_softcap = meta.softcap("final_logit_softcapping")?;
    Ok(spec)
}
