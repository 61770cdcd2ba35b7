//! `lfm2`: LFM2. A layer without key heads is a gated convolution over a few positions; the others are attention with normed
//! queries and keys. The norm before the output is called the embedding's.

use super::{Base, Meta, Mixer, ModelError, ModelSpec, QkNorm, RopeStyle};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let kv_heads = meta.per_layer_or_zero("attention.head_count_kv", None)?;
    let some = kv_heads.iter().map(|kv| (*kv).max(1)).collect();
    let base = Base { kv_heads: Some(some), ..Base::llama(RopeStyle::HalfSplit) };
    let mut spec = base.read(meta)?.norm_queries_and_keys(QkNorm::PerHead);
    let kernel = meta.size("shortconv.l_cache")?;
    for (layer, _) in spec.layers.iter_mut().zip(&kv_heads).filter(|(_, kv)| **kv == 0) {
        layer.mixer = Mixer::ShortConv(kernel);
    }
    if !meta.has_tensor("output_norm.weight") {
        spec.output_norm = "token_embd_norm";
    }
    Ok(spec)
}
