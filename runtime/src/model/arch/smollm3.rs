//! `smollm3`: SmolLM3. Every fourth layer has no rotary embedding. No key but ours says so.

use super::{Base, Meta, ModelError, ModelSpec, RopeStyle};

const PERIOD: usize = 4;

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = Base::llama(RopeStyle::Interleaved).read(meta)?;
    let rotated = meta.rope_layers(|i| (i + 1) % PERIOD != 0)?;
    for (a, rotated) in spec.attentions_mut().zip(rotated) {
        a.rope = rotated.then_some(0);
    }
    Ok(spec)
}
