//! `dclm`: the models of DataComp-LM (open_lm), an architecture that only kinglet writes to GGUF. Every norm is a LayerNorm without
//! bias; those of queries and keys span all heads; the rotary embedding pairs the halves of a head.

use super::{Base, Meta, ModelError, ModelSpec, Norm, QkNorm, RopeStyle};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let base = Base { norm: Norm::Layer, ..Base::llama(RopeStyle::HalfSplit) };
    Ok(base.read(meta)?.norm_queries_and_keys(QkNorm::Whole))
}
