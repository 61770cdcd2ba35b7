//! `granite`: Granite 3. Llama's decoder with four multipliers.

use super::{Base, Meta, ModelError, ModelSpec, RopeStyle};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = Base::llama(RopeStyle::Interleaved).read(meta)?;
    spec.multipliers(meta, 1.0, 1.0, 1.0)?;
    Ok(spec)
}
