//! `stablelm`: StableLM 3B, Zephyr 3B, StableLM 2. Part of each head is rotated. The 12B has parallel halves and norms each head's
//! queries and keys with a weight of its own.
//!
//! Converters have written `use_parallel_residual` for models that are not parallel, so the norm that only serial layers have decides.

use super::{Base, Meta, ModelError, ModelSpec, Norm, QkNorm, RopeStyle};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let base = Base { norm: Norm::Layer, ..Base::llama(RopeStyle::HalfSplit) };
    let mut spec = base.read(meta)?;
    if !meta.has_tensor("blk.0.ffn_norm.weight") {
        spec.parallel("attn_norm", None);
    }
    let normed = meta.has_tensor("blk.0.attn_q_norm.weight");
    Ok(if normed { spec.norm_queries_and_keys(QkNorm::OwnPerHead) } else { spec })
}
