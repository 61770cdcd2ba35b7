//! `qwen3moe`: Qwen3's mixtures of experts, whose weights sum to 1.

use super::{Meta, ModelError, ModelSpec, qwen3};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = qwen3::spec(meta)?;
    spec.experts(meta, true)?;
    Ok(spec)
}
