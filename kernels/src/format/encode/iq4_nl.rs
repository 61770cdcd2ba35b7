//! IQ4_NL: as the symmetric formats, with the codebook's values in the place of integers.

use super::super::iq4_nl::CODEBOOK;
use super::search::{inverse, scale, steps};
use super::{f16_scale, nibbles};

/// The index of the value next to `(i - 256) / 2`, and so of all that rounds down to it: no two values' middle lies between
/// two halves.
static NEAREST: [u8; 512] = nearest();

const fn nearest() -> [u8; 512] {
    let mut out = [0; 512];
    let mut i = 0;
    while i < 512 {
        // In quarters, in the middle of the interval, so that nothing is a tie.
        let v = 2 * (i as i32 - 256) + 1;
        let mut k = 0;
        while k + 1 < 16 && v > 2 * (CODEBOOK[k] as i32 + CODEBOOK[k + 1] as i32) {
            k += 1;
        }
        out[i] = k as u8;
        i += 1;
    }
    out
}

/// Values of the codebook by place in [`NEAREST`].
static VALUES: [f32; 512] = values();

const fn values() -> [f32; 512] {
    let mut out = [0.0; 512];
    let mut i = 0;
    while i < 512 {
        out[i] = CODEBOOK[NEAREST[i] as usize] as f32;
        i += 1;
    }
    out
}

/// The place of `v` in the tables.
#[inline(always)]
fn place(v: f32) -> usize {
    let v = 2.0 * v + 256.0;
    let v = if v > 0.0 { v } else { 0.0 };
    (if v < 511.0 { v } else { 511.0 }) as usize
}

pub(super) fn iq4_nl(x: &[f32; 32]) -> [u8; 18] {
    let reach = steps(-138.0, -112.0, 14).chain(steps(98.0, 124.0, 14));
    let (d, bytes) = f16_scale(scale(x, reach, |v| VALUES[place(v) & 511]));
    let inverse = inverse(d);
    let mut out = [0; 18];
    out[..2].copy_from_slice(&bytes);
    out[2..].copy_from_slice(&nibbles(&x.map(|v| NEAREST[place(v * inverse) & 511])));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_finds_the_nearest_value() {
        for v in (-1300..=1300).map(|v| v as f32 / 10.0 + 0.01) {
            let best = CODEBOOK.iter().map(|c| (f32::from(*c) - v).abs()).fold(f32::MAX, f32::min);
            assert_eq!((VALUES[place(v)] - v).abs(), best, "{v}");
        }
    }
}
