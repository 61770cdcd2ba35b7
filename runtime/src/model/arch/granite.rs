//! `granite`: Granite 3. Llama's decoder with four multipliers; `rope.scaling.finetuned` is a switch for the rotary embedding.

use super::{Base, Meta, ModelError, ModelSpec, RopeStyle};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = Base::llama(RopeStyle::Interleaved).read(meta)?;
    spec.multipliers(meta, 1.0, 1.0, 1.0)?;
    if meta.opt_bool("rope.scaling.finetuned")? == Some(false) {
        spec.attentions_mut().for_each(|a| a.rope = None);
    }
    Ok(spec)
}
