//! `phi2`: Phi-1, Phi-1.5 and Phi-2. Both halves of a layer read the stream at once, through one norm; part of each head is rotated;
//! biases everywhere, on the output too.

use super::{Activation, Base, Meta, ModelError, ModelSpec, RopeStyle};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = Base::gpt(Some(RopeStyle::HalfSplit), Activation::GeluTanh).read(meta)?;
    spec.parallel("attn_norm", None);
    Ok(spec)
}
