//! `falcon`: Falcon 7B, 11B and 40B. Both halves read the stream at once: through one norm, or (40B) each through its own, where
//! `attn_norm_2` is attention's and `attn_norm` the network's.

use super::{Activation, Base, Meta, ModelError, ModelSpec, RopeStyle};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = Base::gpt(Some(RopeStyle::HalfSplit), Activation::GeluErf).read(meta)?;
    if meta.has_tensor("blk.0.attn_norm_2.weight") {
        spec.parallel("attn_norm_2", Some("attn_norm"));
    } else {
        spec.parallel("attn_norm", None);
    }
    Ok(spec)
}
