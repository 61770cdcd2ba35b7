//! `olmoe`: OLMoE. Experts whose weights are not made to sum to 1; queries and keys are normed over all heads.

use super::{Base, Meta, ModelError, ModelSpec, QkNorm, RopeStyle};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let base = Base::llama(RopeStyle::HalfSplit).read(meta)?;
    let mut spec = base.norm_queries_and_keys(QkNorm::Whole);
    spec.experts(meta, false)?;
    Ok(spec)
}
