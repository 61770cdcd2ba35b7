//! `starcoder2`: StarCoder2. LayerNorm, no gate, biases everywhere, grouped key heads.

use super::{Activation, Base, Meta, ModelError, ModelSpec, RopeStyle};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    Base::gpt(Some(RopeStyle::HalfSplit), Activation::GeluTanh).read(meta)
}
