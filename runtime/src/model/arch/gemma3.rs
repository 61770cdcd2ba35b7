//! `gemma3`: text models of Gemma 3. Norms before and after each half of a layer, normed queries and keys, five layers with a
//! sliding window and a rotary embedding of their own for each layer that sees everything.

use super::{Meta, ModelError, ModelSpec, QkNorm, RopeScaling, gemma, gemma2};

/// Every sixth layer sees all keys. No key of the file says so.
const PERIOD: usize = 6;
/// Layers of the 27B, whose scores are scaled by the stream's width per head. No key says so either.
const LAYERS_27B: usize = 62;

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = gemma::spec(meta)?.norm_queries_and_keys(QkNorm::PerHead);
    let mut local = spec.ropes[0].clone();
    local.theta = f64::from(meta.opt_positive("rope.freq_base_swa")?.unwrap_or(10000.0));
    local.scaling = RopeScaling::None;
    spec.ropes[0].theta = meta.rope_theta(1_000_000.0)?;
    spec.ropes.push(local);
    spec.windows(meta, PERIOD, None)?;
    for a in spec.attentions_mut().filter(|a| a.window.is_some()) {
        a.rope = a.rope.map(|_| 1);
    }
    spec.layers.iter_mut().for_each(|l| l.post_norms = true);
    gemma2::scale_by_width_per_head(&mut spec, meta, LAYERS_27B)?;
    Ok(spec)
}
