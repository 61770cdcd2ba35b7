//! `internlm2`: InternLM2. The converter splits its grouped projection and permutes q and k as Llama's.

use super::{Base, Meta, ModelError, ModelSpec, RopeStyle};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    Base::llama(RopeStyle::Interleaved).read(meta)
}
