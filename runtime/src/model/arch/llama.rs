//! `llama`: Llama 1 to 3, TinyLlama, MobileLLaMA, Mistral (Nemo), SmolLM2. The converter permutes the rows of q and k, so
//! that the rotary embedding pairs neighbours.

use super::{Meta, ModelError, ModelSpec, RopeStyle, common};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    common(meta, RopeStyle::Interleaved)
}
