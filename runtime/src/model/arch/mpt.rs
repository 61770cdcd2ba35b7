//! `mpt`: MPT. Distances instead of positions (ALiBi) or, in a model that has them, learned positions; LayerNorm without bias.

use super::{Activation, Base, Meta, ModelError, ModelSpec, QkNorm};

/// Of files that say nothing.
const MAX_BIAS: f32 = 8.0;

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = Base::gpt(None, Activation::GeluErf).read(meta)?;
    spec.learned_positions = meta.has_tensor("position_embd.weight");
    let default = if spec.learned_positions { 0.0 } else { MAX_BIAS };
    let max = meta.opt_float("attention.max_alibi_bias")?.unwrap_or(default);
    if max > 0.0 {
        spec.alibi(max);
    }
    let normed = meta.has_tensor("blk.0.attn_q_norm.weight");
    Ok(if normed { spec.norm_queries_and_keys(QkNorm::Whole) } else { spec })
}
