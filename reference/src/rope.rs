//! Rotary embedding of one head, contract section 6.

use crate::fma::fma;

fn rotate(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    (fma(a, cos, -(b * sin)), fma(b, cos, a * sin))
}

/// Pairs are neighbours.
pub fn rope_interleaved(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    for i in 0..cos.len() {
        (x[2 * i], x[2 * i + 1]) = rotate(x[2 * i], x[2 * i + 1], cos[i], sin[i]);
    }
}

/// Pairs are `cos.len()` apart.
pub fn rope_half_split(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let n = cos.len();
    for i in 0..n {
        (x[i], x[i + n]) = rotate(x[i], x[i + n], cos[i], sin[i]);
    }
}
