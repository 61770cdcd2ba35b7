//! `gpt2`: GPT-2, Cerebras-GPT, LaMini-GPT. Learned positions. Which GELU a model was trained with no file says but ours: the tanh
//! approximation is OpenAI's.

use super::{Activation, Base, Meta, ModelError, ModelSpec};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = Base::gpt(None, Activation::GeluTanh).read(meta)?;
    spec.learned_positions = true;
    Ok(spec)
}
