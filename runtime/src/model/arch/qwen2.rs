//! `qwen2`: Qwen2 and Qwen2.5. Biases on q, k and v.

use super::{Base, Meta, ModelError, ModelSpec, RopeStyle};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    Base::llama(RopeStyle::HalfSplit).read(meta)
}
