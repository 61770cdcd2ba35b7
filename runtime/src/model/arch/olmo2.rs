//! `olmo2`: OLMo 2 and 3. Norms after each half of a layer and none before; queries and keys are normed over all heads. OLMo 3 has a
//! window on three of four layers, whose rotary embedding is not stretched.

use super::{Base, Meta, ModelError, ModelSpec, QkNorm, RopeScaling, RopeStyle};

/// Every fourth layer of OLMo 3 sees all keys.
const PERIOD: usize = 4;

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let base = Base::llama(RopeStyle::HalfSplit).read(meta)?;
    let mut spec = base.norm_queries_and_keys(QkNorm::Whole);
    for layer in &mut spec.layers {
        (layer.mixer_norm, layer.ffn_norm, layer.post_norms) = (None, None, true);
    }
    spec.windows(meta, PERIOD, None)?;
    let mut local = spec.ropes[0].clone();
    (local.scaling, local.attention_factor) = (RopeScaling::None, 1.0);
    local.theta = meta.opt_positive("rope.freq_base_swa")?.map_or(local.theta, f64::from);
    spec.ropes.push(local);
    for a in spec.attentions_mut().filter(|a| a.window.is_some()) {
        a.rope = a.rope.map(|_| 1);
    }
    Ok(spec)
}
