//! `llama`: Llama 1 to 3, TinyLlama, MobileLLaMA, Mistral (Nemo), Mixtral, SmolLM2, Fox. The converter permutes the rows of q and k,
//! so that the rotary embedding pairs neighbours.

use super::{Base, Meta, ModelError, ModelSpec, RopeStyle};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = Base::llama(RopeStyle::Interleaved).read(meta)?;
    if meta.n_experts()? > 0 {
        // Mixtral.
        spec.experts(meta, true)?;
    }
    Ok(spec)
}
