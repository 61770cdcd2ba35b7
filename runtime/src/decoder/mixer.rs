//! Attention as a layer sees it: queries, keys and values are made, normed and rotated; keys and values are stored; what the heads
//! return is projected.

use super::attention::{Heads, attend};
use super::cache::AttentionCache;
use super::forward;
use super::ops::Ops;
use crate::model::spec::{AttentionSpec, ModelSpec, RopeStyle};
use crate::model::{AttentionWeights, LatentWeights, QkvWeights};

/// Rows of activations of a batch of `n` tokens.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Queries `[n][n_heads * head_dim]`; also the projected input of a convolution, `[n][3 * dim]`.
    pub(super) q: Vec<f32>,
    /// Keys `[n][n_kv_heads * head_dim]`; also the gated input of a convolution, `[n][dim]`.
    pub(super) k: Vec<f32>,
    /// Values `[n][n_kv_heads * value_dim]`.
    v: Vec<f32>,
    /// What the heads return, `[n][n_heads * value_dim]`; also what a convolution does, `[n][dim]`.
    pub(super) result: Vec<f32>,
    /// Latent vectors, `[n][q_rank]` and `[n][kv_rank]`.
    q_latent: Vec<f32>,
    kv_latent: Vec<f32>,
    /// The rotated ends of keys `[n][n_rot]`, and every head's key without it and value.
    k_rot: Vec<f32>,
    kv: Vec<f32>,
}

/// `out = o · attention(q, k, v of h)`
pub(super) fn attention(
    ops: &Ops<'_>,
    spec: &ModelSpec,
    a: &AttentionSpec,
    w: &AttentionWeights<'_>,
    b: &mut forward::Buffers,
    cache: &mut AttentionCache,
    position: usize,
) {
    let n = b.h.len() / spec.dim;
    b.mixer.q.resize(n * a.n_heads * a.head_dim, 0.0);
    b.mixer.k.resize(n * a.n_kv_heads * a.head_dim, 0.0);
    b.mixer.v.resize(n * a.n_kv_heads * a.value_dim, 0.0);
    b.mixer.result.resize(n * a.n_heads * a.value_dim, 0.0);
    match &w.qkv {
        QkvWeights::Direct(w) => {
            let (q, k, v) = (&w.q, &w.k, &w.v);
            let input = ops.input(&b.h, spec.dim, &[q, k, v], &mut b.quantized);
            let m = &mut b.mixer;
            ops.linear([(q, &mut m.q), (k, &mut m.k), (v, &mut m.v)], input);
        }
        QkvWeights::Latent(w) => latent(ops, spec, a, w, b),
    }
    let m = &mut b.mixer;

    let rope = a.rope.map(|r| (spec.ropes[r].style, &b.ropes[r]));
    ops.token_tiles("qk_norm+rope", n, &mut m.q, &mut m.k, |first, q, k| {
        for (x, norm, heads) in [(q, &w.q_norm, a.n_heads), (k, &w.k_norm, a.n_kv_heads)] {
            clamp(x, a.clamp);
            if let Some(norm) = norm {
                ops.norm_in_place(spec, norm, x);
            }
            let Some((style, table)) = rope else { continue };
            for (i, head) in x.chunks_mut(a.head_dim).enumerate() {
                let (cos, sin) = table.at(first + i / heads);
                let rotated = &mut head[a.rope_start..];
                ops.note(match style {
                    RopeStyle::Interleaved => ops.kernels.rope_interleaved(rotated, cos, sin),
                    RopeStyle::HalfSplit => ops.kernels.rope_half_split(rotated, cos, sin),
                });
            }
        }
    });
    clamp(&mut m.v, a.clamp);

    let mut heads = Heads { cache, position };
    heads.store(ops, a, &m.k, &m.v);
    attend(ops, a, &heads, &m.q, &mut m.result);

    if let Some(norm) = &w.sub_norm {
        ops.norm_rows_in_place(spec, norm, &mut m.result);
    }
    let input = ops.input(&m.result, a.n_heads * a.value_dim, &[&w.o], &mut b.quantized);
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
) {
    let (n, m) = (b.h.len() / spec.dim, &mut b.mixer);
    let q_rank = w.q_a.as_ref().map_or(0, |(_, norm)| norm.width);
    let kv_rank = w.kv_a_norm.width;
    let (plain, n_rot) = (a.rope_start, a.head_dim - a.rope_start);
    m.q_latent.resize(n * q_rank, 0.0);
    m.kv_latent.resize(n * kv_rank, 0.0);
    m.k_rot.resize(n * n_rot, 0.0);
    m.kv.resize(n * a.n_heads * (plain + a.value_dim), 0.0);

    // What is projected from `h` at once: queries or their latent vectors, and the other latent vectors.
    let (q, from_h) = match &w.q_a {
        Some((q_a, _)) => (q_a, &mut m.q_latent),
        None => (&w.q_b, &mut m.q),
    };
    let input = ops.input(&b.h, spec.dim, &[q, &w.kv_a], &mut b.quantized);
    ops.linear([(q, &mut from_h[..]), (&w.kv_a, &mut m.kv_latent), (&w.k_rot, &mut m.k_rot)], input);
    ops.norm_rows_in_place(spec, &w.kv_a_norm, &mut m.kv_latent);
    if let Some((_, norm)) = &w.q_a {
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
