//! `gptneox`: GPT-NeoX, Pythia. Part of each head is rotated; both halves of a layer read the stream at once, each through its own
//! norm, or one after the other.

use super::{Activation, Base, Meta, ModelError, ModelSpec, RopeStyle};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = Base::gpt(Some(RopeStyle::HalfSplit), Activation::GeluErf).read(meta)?;
    if meta.opt_bool("use_parallel_residual")?.unwrap_or(true) {
        spec.parallel("attn_norm", Some("ffn_norm"));
    }
    Ok(spec)
}
