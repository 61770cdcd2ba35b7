//! `gemma2`: Gemma 2. Norms before and after each half of a layer, softcaps on scores and logits, a window on every other layer,
//! the first among them.

use super::{Meta, ModelError, ModelSpec, gemma};

/// Layers of the 27B, whose scores are scaled by the stream's width per head. No key says so.
const LAYERS_27B: usize = 46;
/// What the models have, for files that say nothing.
const ATTN_SOFTCAP: f32 = 50.0;
const LOGIT_SOFTCAP: f32 = 30.0;
const WINDOW: usize = 4096;

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = gemma::spec(meta)?;
    spec.windows(meta, 2, Some(WINDOW))?;
    let absent = |key: &str| meta.gguf.get(&meta.key(key)).is_none();
    if absent("attn_logit_softcapping") {
        spec.attentions_mut().for_each(|a| a.softcap = Some(ATTN_SOFTCAP));
    }
    if absent("final_logit_softcapping") {
        spec.logit_softcap = Some(LOGIT_SOFTCAP);
    }
    spec.layers.iter_mut().for_each(|l| l.post_norms = true);
    scale_by_width_per_head(&mut spec, meta, LAYERS_27B)?;
    Ok(spec)
}

/// The scale of scores of the models with `n_layers` layers, unless the file has one.
pub(super) fn scale_by_width_per_head(
    spec: &mut ModelSpec,
    meta: &Meta<'_>,
    n_layers: usize,
) -> Result<(), ModelError> {
    if spec.layers.len() == n_layers && meta.attention_scale()?.is_none() {
        let dim = spec.dim as f32;
        spec.attentions_mut().for_each(|a| a.scale = 1.0 / (dim / a.n_heads as f32).sqrt());
    }
    Ok(())
}
