//! Activations, softcap and softmax, contract section 7.

use crate::fma::fma;
use crate::math::{erf, exp, tanh};
use crate::ssum::{smax, ssum};

/// `x / (1 + exp(-x))`
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(0.0 - x))
}

/// GELU by its tanh approximation, written with exp.
pub fn gelu_tanh(x: f32) -> f32 {
    let u = 0.797_884_6 * fma((0.044_715 * x) * x, x, x);
    x / (1.0 + exp(-2.0 * u))
}

/// GELU by the error function.
pub fn gelu_erf(x: f32) -> f32 {
    (0.5 * x) * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// `if 0 > x { 0 } else { x }`
pub fn relu(x: f32) -> f32 {
    if 0.0 > x { 0.0 } else { x }
}

/// The square of [`relu`].
pub fn relu2(x: f32) -> f32 {
    relu(x) * relu(x)
}

/// `cap * tanh(x / cap)`
pub fn softcap(x: f32, cap: f32) -> f32 {
    cap * tanh(x / cap)
}

/// Softmax of one row.
pub fn softmax(x: &[f32]) -> Vec<f32> {
    let max = smax(x.iter().copied());
    let e: Vec<f32> = x.iter().map(|x| exp(x - max)).collect();
    let r = 1.0 / ssum(e.iter().copied());
    e.iter().map(|e| e * r).collect()
}
