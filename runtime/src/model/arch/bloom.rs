//! `bloom`: BLOOM. Distances instead of positions (ALiBi), a norm after the embedding, biases everywhere.

use super::{Activation, Base, Meta, ModelError, ModelSpec};

/// No key of the file says so.
const MAX_BIAS: f32 = 8.0;

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = Base::gpt(None, Activation::GeluTanh).read(meta)?;
    spec.embedding_norm = true;
    spec.alibi(MAX_BIAS);
    Ok(spec)
}
