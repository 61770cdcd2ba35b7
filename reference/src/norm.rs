//! RMSNorm and LayerNorm, contract section 5.

use crate::fma::fma;
use crate::ssum::{ssum, ssum_fma};

fn reciprocal_root(sum_of_squares: f32, n: usize, eps: f32) -> f32 {
    1.0 / (sum_of_squares / n as f32 + eps).sqrt()
}

/// RMSNorm of one row.
pub fn rms_norm(x: &[f32], w: Option<&[f32]>, eps: f32) -> Vec<f32> {
    let r = reciprocal_root(ssum_fma(x.iter().map(|x| (*x, *x))), x.len(), eps);
    let y = |i: usize| w.map_or(x[i] * r, |w| (x[i] * r) * w[i]);
    (0..x.len()).map(y).collect()
}

/// LayerNorm of one row.
pub fn layer_norm(x: &[f32], w: Option<&[f32]>, b: Option<&[f32]>, eps: f32) -> Vec<f32> {
    let mean = ssum(x.iter().copied()) / x.len() as f32;
    let c: Vec<f32> = x.iter().map(|x| x - mean).collect();
    let r = reciprocal_root(ssum_fma(c.iter().map(|c| (*c, *c))), x.len(), eps);
    let y = |i: usize| match (w, b) {
        (None, None) => c[i] * r,
        (Some(w), None) => (c[i] * r) * w[i],
        (None, Some(b)) => fma(c[i] * r, 1.0, b[i]),
        (Some(w), Some(b)) => fma(c[i] * r, w[i], b[i]),
    };
    (0..x.len()).map(y).collect()
}
