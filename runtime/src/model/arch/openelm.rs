//! `openelm`: OpenELM. Each layer has its own number of heads and width; queries and keys are normed.

use super::{Base, Meta, ModelError, ModelSpec, QkNorm, RopeStyle};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let base = Base::llama(RopeStyle::HalfSplit).read(meta)?;
    Ok(base.norm_queries_and_keys(QkNorm::PerHead))
}
