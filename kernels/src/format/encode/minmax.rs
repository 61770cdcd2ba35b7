//! Q4_1 and Q5_1: blocks of 32 with a scale and a min, `w = d * q + m`.

use super::search::{code, inverse, max, min, steps, sum};
use super::{f16, f16_scale, fifth_bits, nibbles};

/// `w = scale * q + min`.
#[derive(Clone, Copy, Default)]
pub(super) struct Line {
    pub scale: f32,
    pub min: f32,
}

impl Line {
    /// The codes of `x`, in `0..=top`.
    #[inline(always)]
    pub(super) fn codes<const N: usize>(self, x: &[f32; N], top: f32) -> [f32; N] {
        let inverse = inverse(self.scale);
        let mut q = [0.0; N];
        q.iter_mut().zip(x).for_each(|(q, v)| *q = code((v - self.min) * inverse, 0.0, top));
        q
    }

    /// The squared error that remains with the codes `q`.
    #[inline(always)]
    pub(super) fn error<const N: usize>(self, x: &[f32; N], q: &[f32; N]) -> f32 {
        sum::<N>(|i| {
            let e = (x[i] - self.min) - self.scale * q[i];
            e * e
        })
    }
}

/// The least-squares line for codes `q`; with `max_min`, the min is not above it. `None` where all codes are the same.
#[inline(always)]
pub(super) fn least_squares<const N: usize>(
    x: &[f32; N],
    q: &[f32; N],
    max_min: Option<f32>,
) -> Option<Line> {
    let n = N as f32;
    let (q1, x1) = (sum::<N>(|i| q[i]) / n, sum::<N>(|i| x[i]) / n);
    // About the means, so that nothing is lost where the min is large.
    let (qq, qx) = (sum::<N>(|i| (q[i] - q1) * (q[i] - q1)), sum::<N>(|i| (q[i] - q1) * (x[i] - x1)));
    if qq <= 0.0 || qx <= 0.0 {
        return None;
    }
    let free = Line { scale: qx / qq, min: x1 - qx / qq * q1 };
    match max_min {
        Some(most) if free.min > most => {
            let (qq, qx) = (sum::<N>(|i| q[i] * q[i]), sum::<N>(|i| q[i] * (x[i] - most)));
            (qx > 0.0).then(|| Line { scale: qx / qq, min: most })
        }
        _ => Some(free),
    }
}

/// The best line with codes `0..=top`: for many a first scale its codes, for those the line by least squares, and that line's
/// codes once more.
#[inline(always)]
pub(super) fn fit<const N: usize>(x: &[f32; N], top: f32, max_min: Option<f32>) -> Line {
    let (low, high) = x.iter().fold((f32::MAX, f32::MIN), |(l, h), v| (min(*v, l), max(*v, h)));
    let low = max_min.map_or(low, |most| min(low, most));
    if high - low < 1e-30 {
        return Line { scale: 0.0, min: low };
    }
    let mut best = Line { scale: (high - low) / top, min: low };
    let mut least = best.error(x, &best.codes(x, top));
    for reach in steps(top - 1.4, top + 1.4, 15) {
        // The range that codes do not reach is left on both sides.
        let scale = (high - low) / reach;
        let mut line = Line { scale, min: low + 0.5 * scale * max(reach - top, 0.0) };
        for _ in 0..2 {
            let Some(next) = least_squares(x, &line.codes(x, top), max_min) else { break };
            line = next;
        }
        let error = line.error(x, &line.codes(x, top));
        if error < least {
            (best, least) = (line, error);
        }
    }
    best
}

/// The bytes of scale and min, and the codes.
fn block(x: &[f32; 32], top: f32) -> ([u8; 4], [u8; 32]) {
    let line = fit(x, top, None);
    let (scale, d) = f16_scale(line.scale);
    // What is lost when the scale is rounded is made up for by the min, as far as that goes.
    let q = Line { scale, ..line }.codes(x, top);
    let (other, other_bytes) = f16(sum::<32>(|i| x[i] - scale * q[i]) / 32.0);
    let (min, m) = f16(line.min);
    let error = |min: f32| {
        let line = Line { scale, min };
        line.error(x, &line.codes(x, top))
    };
    let (min, m) = if error(other) < error(min) { (other, other_bytes) } else { (min, m) };
    ([d[0], d[1], m[0], m[1]], Line { scale, min }.codes(x, top).map(|q| q as u8))
}

pub(super) fn q4_1(x: &[f32; 32]) -> [u8; 20] {
    let (head, codes) = block(x, 15.0);
    let mut out = [0; 20];
    out[..4].copy_from_slice(&head);
    out[4..].copy_from_slice(&nibbles(&codes));
    out
}

pub(super) fn q5_1(x: &[f32; 32]) -> [u8; 24] {
    let (head, codes) = block(x, 31.0);
    let mut out = [0; 24];
    out[..4].copy_from_slice(&head);
    out[4..8].copy_from_slice(&fifth_bits(&codes));
    out[8..].copy_from_slice(&nibbles(&codes));
    out
}
