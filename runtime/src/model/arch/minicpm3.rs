//! `minicpm3`: MiniCPM3. Queries, keys and values are projections of narrow latent vectors; the end of each head is rotated, and that of
//! a key is the same for all heads. Multipliers as in MiniCPM, for which the files have no keys.

use super::{Base, LatentSpec, Meta, ModelError, ModelSpec, RopeStyle, minicpm};

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = Base::llama(RopeStyle::HalfSplit).read(meta)?;
    minicpm::multipliers(&mut spec, meta)?;
    // Queries need no latent vector.
    let direct = meta.has_tensor("blk.0.attn_q.weight");
    let q_rank = meta.opt_size("attention.q_lora_rank")?.filter(|_| !direct);
    let kv_rank = meta.size("attention.kv_lora_rank")?;
    let n_rot = spec.ropes[0].n_rot;
    let said = meta.opt_size("attention.value_length")?;
    let output = "blk.0.attn_output.weight";
    meta.require_tensor(output)?;
    let output = meta.dimension(output, 0);
    for a in spec.attentions_mut() {
        a.latent = Some(LatentSpec { q_rank, kv_rank });
        // Every query head has its key.
        a.n_kv_heads = a.n_heads;
        a.rope_start = a.head_dim - n_rot;
        // No key says how wide values are; the output projection reads all heads'.
        a.value_dim = said.or(output.map(|n| n / a.n_heads)).unwrap_or(a.value_dim);
    }
    Ok(spec)
}
