//! Blocks of 32 with one scale and no min: `w = d * q`. Codes reach one further below zero than above, so scales of both signs are
//! tried.

use super::search::{code, extreme, inverse, scale, steps};
use super::{f16_scale, fifth_bits, nibbles};

/// The scale as stored, its bytes, and the codes `0..2 * half`.
fn fit(x: &[f32; 32], half: f32) -> ([u8; 2], [u8; 32]) {
    let value = |v: f32| code(v, -half, half - 1.0);
    // Beyond the ends the extreme is cut off, which pays where it stands alone.
    let below = steps(-half - 1.6, -half + 1.4, 14);
    let above = steps(half - 2.4, half + 0.6, 14);
    let (d, bytes) = f16_scale(scale(x, below.chain(above), value));
    let inverse = inverse(d);
    (bytes, x.map(|v| (value(v * inverse) + half) as u8))
}

pub(super) fn q4_0(x: &[f32; 32]) -> [u8; 18] {
    let (d, codes) = fit(x, 8.0);
    let mut out = [0; 18];
    out[..2].copy_from_slice(&d);
    out[2..].copy_from_slice(&nibbles(&codes));
    out
}

pub(super) fn q5_0(x: &[f32; 32]) -> [u8; 22] {
    let (d, codes) = fit(x, 16.0);
    let mut out = [0; 22];
    out[..2].copy_from_slice(&d);
    out[2..6].copy_from_slice(&fifth_bits(&codes));
    out[6..].copy_from_slice(&nibbles(&codes));
    out
}

/// Codes up to ±127, fine enough for the plain scale.
pub(super) fn q8_0(x: &[f32; 32]) -> [u8; 34] {
    let (d, bytes) = f16_scale(extreme(x).abs() / 127.0);
    // Of the scale as it is stored, so that its own rounding is made up for.
    let inverse = inverse(d);
    let mut out = [0; 34];
    let (scale, codes) = out.split_at_mut(2);
    scale.copy_from_slice(&bytes);
    codes.iter_mut().zip(x).for_each(|(q, v)| *q = code(v * inverse, -127.0, 127.0) as i8 as u8);
    out
}
