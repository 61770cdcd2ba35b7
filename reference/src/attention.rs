//! Attention over a cache, contract sections 8 and 9.

use crate::fma::fma;
use crate::half::{from_f16, to_f16};
use crate::math::{exp, tanh};
use crate::quantize::{Activation, quantize};
use crate::ssum::{smax, ssum};
use std::ops::Range;

/// Keys of an absolute block.
pub const BLOCK: usize = 512;

/// What a cache stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvType {
    /// f32.
    F32,
    /// f16, rounded to nearest even.
    F16,
    /// Blocks of 32, the last one possibly short, scales in f16.
    Q8_0,
}

/// One query row.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    /// `[head_dim]`
    pub q: &'a [f32],
    /// Its absolute position.
    pub position: usize,
    /// The absolute positions of the keys it sees.
    pub visible: Range<usize>,
    /// Of ALiBi; 0 for none.
    pub slope: f32,
    /// Scores are multiplied by this.
    pub scale: f32,
    /// Scores become `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
}

/// `x` in blocks of 32, the last one filled with zeros.
fn quantize_padded(x: &[f32]) -> Activation {
    let mut x = x.to_vec();
    x.resize(x.len().next_multiple_of(32), 0.0);
    quantize(&x)
}

/// A vector as it comes out of the cache.
fn cached(ty: KvType, x: &[f32]) -> Vec<f32> {
    match ty {
        KvType::F32 => x.to_vec(),
        KvType::F16 => x.iter().map(|x| from_f16(to_f16(*x))).collect(),
        KvType::Q8_0 => {
            let a = quantize_padded(x);
            (0..x.len()).map(|i| from_f16(to_f16(a.d[i / 32])) * f32::from(a.q[i])).collect()
        }
    }
}

/// `q · k`, before scaling.
fn score(ty: KvType, q: &[f32], k: &[f32]) -> f32 {
    if ty != KvType::Q8_0 {
        return q.iter().zip(cached(ty, k)).fold(0.0, |s, (q, k)| fma(*q, k, s));
    }
    let (q, k) = (quantize_padded(q), quantize_padded(k));
    let block = |s: f32, b: usize| {
        let codes = 32 * b..32 * b + 32;
        let isum: i32 = codes.map(|i| i32::from(q.q[i]) * i32::from(k.q[i])).sum();
        fma(q.d[b] * from_f16(to_f16(k.d[b])), isum as f32, s)
    };
    (0..q.d.len()).fold(0.0, block)
}

/// The attention of one query over `keys` and `values`, one for each absolute position.
pub fn attention(ty: KvType, query: &Query<'_>, keys: &[&[f32]], values: &[&[f32]]) -> Vec<f32> {
    let dim = values[0].len();
    let (mut m, mut l, mut o) = (f32::NEG_INFINITY, 0.0f32, vec![0.0f32; dim]);
    let mut any = false;
    for block in 0..keys.len().div_ceil(BLOCK) {
        let seen = query.visible.start.max(block * BLOCK)..query.visible.end.min((block + 1) * BLOCK);
        if seen.is_empty() {
            continue;
        }
        any = true;
        let scores: Vec<f32> = seen.clone().map(|j| full_score(ty, query, keys[j], j)).collect();
        // Lanes are strided by the absolute position: put what comes before the first visible key in front.
        let before = seen.start % BLOCK;
        let lanes = |fill: f32, x: &[f32]| [vec![fill; before], x.to_vec()].concat();
        let block_m = smax(lanes(f32::NEG_INFINITY, &scores));
        let p: Vec<f32> = scores.iter().map(|s| exp(s - block_m)).collect();
        let block_l = ssum(lanes(0.0, &p));
        let mut block_o = vec![0.0f32; dim];
        for (j, p) in seen.zip(&p) {
            for (o, v) in block_o.iter_mut().zip(cached(ty, values[j])) {
                *o = fma(*p, v, *o);
            }
        }
        let new_m = if m > block_m { m } else { block_m };
        let (a, b) = (exp(m - new_m), exp(block_m - new_m));
        l = fma(l, a, block_l * b);
        for (o, block_o) in o.iter_mut().zip(block_o) {
            *o = fma(*o, a, block_o * b);
        }
        m = new_m;
    }
    let r = if any { 1.0 / l } else { 0.0 };
    o.iter().map(|o| o * r).collect()
}

fn full_score(ty: KvType, query: &Query<'_>, key: &[f32], j: usize) -> f32 {
    let mut s = score(ty, query.q, key) * query.scale;
    if let Some(cap) = query.softcap {
        s = cap * tanh(s / cap);
    }
    if query.slope != 0.0 {
        s = fma(query.slope, (j as i64 - query.position as i64) as f32, s);
    }
    s
}
