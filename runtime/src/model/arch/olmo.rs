//! `olmo`: OLMo 1. LayerNorm without weights; queries, keys and values may be clamped. Rows of q and k are permuted as Llama's.

use super::{Base, Meta, ModelError, ModelSpec, Norm, RopeStyle};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    Base { norm: Norm::Plain, ..Base::llama(RopeStyle::Interleaved) }.read(meta)
}
