//! `gemma`: the first Gemma. The embedding is scaled by the root of its width; the converter has added 1 to the norm weights.

use super::{Activation, Base, Meta, ModelError, ModelSpec, RopeStyle};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let base = Base { activation: Activation::GeluTanh, ..Base::llama(RopeStyle::HalfSplit) };
    let mut spec = base.read(meta)?;
    spec.embedding_scale = (spec.dim as f32).sqrt();
    Ok(spec)
}
