//! What all searches are made of: rounding, sums in a fixed order, and the best scale for given codes.

/// The sum of `term(0) .. term(N - 1)`, `N` a multiple of 8: eight strided sums, so that compilers can use vectors, and a fixed
/// tree.
#[inline(always)]
pub(super) fn sum<const N: usize>(term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; 8];
    for i in 0..N / 8 {
        for (j, lane) in lanes.iter_mut().enumerate() {
            *lane += term(8 * i + j);
        }
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// To the nearest integer, ties to even, for |v| < 2^22: two additions, where a function of the C library would be called.
#[inline(always)]
pub(super) fn round(v: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    (v + SHIFT) - SHIFT
}

/// The larger; of zeros of both signs `b`, where std's may be either, and differently on each CPU.
#[inline(always)]
pub(super) fn max(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// The smaller; of zeros of both signs `b`.
#[inline(always)]
pub(super) fn min(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// `v` as a code in `lo..=hi`, still a float.
#[inline(always)]
pub(super) fn code(v: f32, lo: f32, hi: f32) -> f32 {
    round(min(max(v, lo), hi))
}

/// `1 / d`, or 0 for a scale too small to divide by, of which nothing is left.
#[inline(always)]
pub(super) fn inverse(d: f32) -> f32 {
    if d.abs() > 1e-30 { 1.0 / d } else { 0.0 }
}

/// The value of largest magnitude, with its sign.
pub(super) fn extreme(x: &[f32]) -> f32 {
    x.iter().fold(0.0f32, |m, v| if v.abs() > m.abs() { *v } else { m })
}

/// The best scale `d` for `x ≈ d * value(x / d)`. `reach` are the multiples of the extreme value's code that are tried: for the
/// codes that each gives, the best scale is known, and so is what it leaves of the error.
#[inline(always)]
pub(super) fn scale<const N: usize>(
    x: &[f32; N],
    reach: impl Iterator<Item = f32>,
    value: impl Fn(f32) -> f32,
) -> f32 {
    let extreme = extreme(x);
    if extreme.abs() < 1e-30 {
        return 0.0;
    }
    let (mut best, mut gain) = (0.0, 0.0);
    for reach in reach {
        let inverse = reach / extreme;
        let mut q = [0.0f32; N];
        q.iter_mut().zip(x).for_each(|(q, v)| *q = value(v * inverse));
        let (qx, qq) = (sum::<N>(|i| q[i] * x[i]), sum::<N>(|i| q[i] * q[i]));
        // The squared error is that of all zeros less qx² / qq.
        if qq > 0.0 && qx * qx > gain * qq {
            (best, gain) = (qx / qq, qx * qx / qq);
        }
    }
    best
}

/// `n` numbers evenly from `from` to `to`.
pub(super) fn steps(from: f32, to: f32, n: u16) -> impl Iterator<Item = f32> {
    let step = (to - from) / f32::from(n.max(2) - 1);
    (0..n).map(move |i| from + step * f32::from(i))
}
