//! `qwen2moe`: Qwen1.5-MoE and Qwen2's. Experts whose weights are not made to sum to 1, and one that every token uses.

use super::{Meta, ModelError, ModelSpec, qwen2};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = qwen2::spec(meta)?;
    spec.experts(meta, false)?;
    Ok(spec)
}
