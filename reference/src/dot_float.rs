//! Float weights, contract section 3.

use crate::ssum::ssum_fma;

/// The dot product of widened weights and activations.
pub fn dot_float(w: &[f32], x: &[f32]) -> f32 {
    ssum_fma(w.iter().copied().zip(x.iter().copied()))
}
