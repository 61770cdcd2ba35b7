//! `bitnet`: BitNet b1.58 as 1bitLLM published it. What the output projection and `down` read is normed first. The training's 8-bit
//! activations are not imitated: ternary weights meet the activations of every other model.

use super::{Activation, Base, Meta, ModelError, ModelSpec, RopeStyle};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let key = meta.key("hidden_act");
    let activation = match meta.gguf.string(&key)? {
        None | Some("silu") => Activation::Silu,
        // The 2B of 2025.
        Some("relu2") => Activation::Relu2,
        Some(other) => return Err(meta.fail(&key, format!("is `{other}`, not one of silu and relu2"))),
    };
    let mut spec = Base { activation, ..Base::llama(RopeStyle::HalfSplit) }.read(meta)?;
    spec.attentions_mut().for_each(|a| a.sub_norm = true);
    spec.layers.iter_mut().for_each(|l| l.ffn.sub_norm = true);
    Ok(spec)
}
