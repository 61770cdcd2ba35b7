//! Attention as a layer sees it: queries, keys and values are made, normed and rotated; keys and values are stored; what the heads
//! return is projected.

use super::attention::{Heads, attend, attend_quantized, is_long};
use super::cache::AttentionCache;
use super::forward::{self, Batch};
use super::ops::Ops;
use super::spread;
use crate::model::spec::{AttentionSpec, ModelSpec, RopeStyle};
use crate::model::{AttentionWeights, LatentWeights, NormWeights, QkvWeights};
use crate::trace::Work;
use kinglet_kernels::KvType;

/// Rows of activations of a batch of `n` tokens, of which the last layer wants some.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Queries `[wanted][n_heads * head_dim]`; also the projected input of a convolution, `[n][3 * dim]`.
    pub(super) q: Vec<f32>,
    /// Keys `[n][n_kv_heads * head_dim]`; also the gated input of a convolution, `[n][dim]`.
    pub(super) k: Vec<f32>,
    /// Values `[n][n_kv_heads * value_dim]`.
    v: Vec<f32>,
    /// What the heads return, `[wanted][n_heads * value_dim]`; also what a convolution does, `[wanted][dim]`.
    pub(super) result: Vec<f32>,
    /// Latent vectors, `[wanted][q_rank]` and `[n][kv_rank]`.
    q_latent: Vec<f32>,
    kv_latent: Vec<f32>,
    /// The rotated ends of keys `[n][n_rot]`, and every head's key without it and value.
    k_rot: Vec<f32>,
    kv: Vec<f32>,
}

/// `out = o · attention(q, k, v of h)` of the tokens that are wanted
pub(super) fn attention(
    ops: &Ops<'_>,
    spec: &ModelSpec,
    a: &AttentionSpec,
    w: &AttentionWeights<'_>,
    b: &mut forward::Buffers,
    cache: &mut AttentionCache,
    batch: &Batch,
) {
    let (n, wanted) = (b.read.n(), batch.wanted.len());
    b.mixer.q.resize(wanted * a.n_heads * a.head_dim, 0.0);
    b.mixer.k.resize(n * a.n_kv_heads * a.head_dim, 0.0);
    b.mixer.v.resize(n * a.n_kv_heads * a.value_dim, 0.0);
    match &w.qkv {
        QkvWeights::Direct(w) => {
            let (q, k, v) = (&w.q, &w.k, &w.v);
            let input = b.read.input(ops, spec.dim, &[q, k, v]);
            let m = &mut b.mixer;
            let queries = (q, input.rows(batch.wanted.clone()), &mut m.q[..]);
            ops.linears(vec![queries, (k, input, &mut m.k), (v, input, &mut m.v)]);
        }
        QkvWeights::Latent(w) => latent(ops, spec, a, w, b, batch),
    }
    let m = &mut b.mixer;

    // Normed and rotated: the rows of tokens from `token` on, which have so many heads.
    let rope = a.rope.map(|r| (spec.ropes[r].style, &b.ropes[r]));
    let rotate = |x: &mut [f32], norm: &Option<NormWeights<'_>>, heads: usize, token: usize| {
        clamp(x, a.clamp);
        if let Some(norm) = norm {
            ops.norm_in_place(spec, norm, x);
        }
        let Some((style, table)) = rope else { return };
        for (i, head) in x.chunks_mut(a.head_dim).enumerate() {
            let (cos, sin) = table.at(token + i / heads);
            let rotated = &mut head[a.rope_start..];
            ops.note(match style {
                RopeStyle::Interleaved => ops.kernels.rope_interleaved(rotated, cos, sin),
                RopeStyle::HalfSplit => ops.kernels.rope_half_split(rotated, cos, sin),
            });
        }
    };
    let balance = (cache.layout.ty == KvType::Q8_0).then_some(w.k_balance.as_deref());
    let work = || Work::light("k_norm+rope", n);
    ops.token_rows(work, &mut m.k, n, |first, k| {
        rotate(k, &w.k_norm, a.n_kv_heads, first);
        if let Some(balance) = balance {
            spread::keys(k, a.head_dim, balance);
        }
    });
    clamp(&mut m.v, a.clamp);
    let mut heads = Heads { cache, position: batch.position };
    heads.store(ops, a, &m.k, &m.v);
    if wanted == 0 {
        return;
    }

    let prepare = |first, q: &mut [f32]| {
        rotate(q, &w.q_norm, a.n_heads, batch.wanted.start + first);
        if let Some(balance) = balance {
            spread::queries(q, a.head_dim, (a.n_heads, a.n_kv_heads), balance);
        }
    };
    heads.position += batch.wanted.start;
    let only_codes = w.sub_norm.is_none() && !w.o.weight.format().is_float();
    let input = if only_codes && is_long(wanted) {
        attend_quantized(ops, a, &heads, &mut m.q, prepare, &mut b.quantized)
    } else {
        let width = a.n_heads * a.value_dim;
        m.result.resize(wanted * width, 0.0);
        attend(ops, a, &heads, &mut m.q, prepare, &mut m.result);
        if let Some(norm) = &w.sub_norm {
            ops.norm_rows_in_place(spec, norm, &mut m.result);
        }
        ops.input(&m.result, width, &[&w.o], &mut b.quantized)
    };
    ops.linear([(&w.o, &mut b.out)], input);
}

/// `x = min(max(x, -c), c)`
fn clamp(x: &mut [f32], limit: Option<f32>) {
    if let Some(c) = limit {
        x.iter_mut().for_each(|x| *x = x.clamp(-c, c));
    }
}

/// Queries, keys and values of multi-head latent attention, from `h`.
///
/// The cache holds every head's keys and values, not the latent vector they come from, though that would be a twentieth of the bytes
/// (MiniCPM3: 288 values a position instead of 6400). Attention over latent vectors multiplies queries by the transpose of `kv_b`:
/// along the columns of a matrix whose blocks of codes and scales run along rows. That wants a kernel of another kind for every
/// format, or `kv_b` a second time in memory, as floats, where the file is to be the only copy. Making keys and values anew from
/// stored latent vectors costs a `kv_b` product for each position and token instead. And a prompt would be slower either way: scores
/// over 288 values and results over 256 for every head, instead of 96 and 64.
///
/// `q = q_b · norm(q_a · h)`, or `q_b · h`; `(k without its end, v) = kv_b · norm(kv_a · h)`; the end of every head's key is `k_rot · h`.
fn latent(
    ops: &Ops<'_>,
    spec: &ModelSpec,
    a: &AttentionSpec,
    w: &LatentWeights<'_>,
    b: &mut forward::Buffers,
    batch: &Batch,
) {
    let (n, m) = (b.read.n(), &mut b.mixer);
    let q_rank = w.q_a.as_ref().map_or(0, |(_, norm)| norm.width);
    let kv_rank = w.kv_a_norm.width;
    let (plain, n_rot) = (a.rope_start, a.head_dim - a.rope_start);
    m.q_latent.resize(batch.wanted.len() * q_rank, 0.0);
    m.kv_latent.resize(n * kv_rank, 0.0);
    m.k_rot.resize(n * n_rot, 0.0);
    m.kv.resize(n * a.n_heads * (plain + a.value_dim), 0.0);

    // What is projected from `h` at once: queries or their latent vectors, and the other latent vectors.
    let (q, from_h) = match &w.q_a {
        Some((q_a, _)) => (q_a, &mut m.q_latent),
        None => (&w.q_b, &mut m.q),
    };
    let input = b.read.input(ops, spec.dim, &[q, &w.kv_a]);
    let queries = (q, input.rows(batch.wanted.clone()), &mut from_h[..]);
    ops.linears(vec![queries, (&w.kv_a, input, &mut m.kv_latent), (&w.k_rot, input, &mut m.k_rot)]);
    ops.norm_rows_in_place(spec, &w.kv_a_norm, &mut m.kv_latent);
    if let Some((_, norm)) = w.q_a.as_ref().filter(|_| !batch.wanted.is_empty()) {
        ops.norm_rows_in_place(spec, norm, &mut m.q_latent);
        let input = ops.input(&m.q_latent, q_rank, &[&w.q_b], &mut b.quantized);
        ops.linear([(&w.q_b, &mut m.q)], input);
    }
    let input = ops.input(&m.kv_latent, kv_rank, &[&w.kv_b], &mut b.quantized);
    ops.linear([(&w.kv_b, &mut m.kv)], input);

    let (kv, k_rot) = (&m.kv, &m.k_rot);
    ops.token_tiles("expand_kv", n, &mut m.k, &mut m.v, |first, k, v| {
        let heads = k.chunks_mut(a.head_dim).zip(v.chunks_mut(a.value_dim));
        let kv = kv.chunks(plain + a.value_dim).skip(first * a.n_heads);
        for (i, ((k, v), kv)) in heads.zip(kv).enumerate() {
            let token = first + i / a.n_heads;
            k[..plain].copy_from_slice(&kv[..plain]);
            k[plain..].copy_from_slice(&k_rot[token * n_rot..(token + 1) * n_rot]);
            v.copy_from_slice(&kv[plain..]);
        }
    });
}
