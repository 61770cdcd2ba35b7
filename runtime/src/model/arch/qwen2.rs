//! `qwen2`: Qwen2 and Qwen2.5. Biases on q, k and v.

use super::{Meta, ModelError, ModelSpec, RopeStyle, common};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    common(meta, RopeStyle::HalfSplit)
}
