//! `phi3`: Phi-3, Phi-3.5, Phi-4 and Phi-4-mini. Fused projections, LongRoPE, and a window on every layer where the file declares one.

use super::{Base, Meta, ModelError, ModelSpec, RopeStyle};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    Base::llama(RopeStyle::HalfSplit).read(meta)
}
