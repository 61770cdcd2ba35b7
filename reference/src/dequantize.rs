//! Weights back to f32, contract section 4.

use crate::dot_quantized::{Group, Mins};

/// The 32 weights of a group.
pub fn dequantize(group: &Group, mins: Mins) -> [f32; 32] {
    let mut out = [0.0; 32];
    for (i, out) in out.iter_mut().enumerate() {
        *out = (group.d * f32::from(group.s[i / 16])) * f32::from(group.q[i]);
        if mins != Mins::None {
            *out += group.m[i / 16];
        }
    }
    out
}
