//! A correctly rounded fused multiply-add for the portable tier.
//!
//! `f32::mul_add` without an FMA instruction calls the platform's `fmaf`, which law 1 does not allow to decide a bit.

/// The correctly rounded `a * b + c`.
#[inline(always)]
pub(crate) fn fma(a: f32, b: f32, c: f32) -> f32 {
    // Without the standard library there is no `mul_add`; what follows is as right and only slower.
    #[cfg(all(feature = "std", any(target_feature = "fma", target_arch = "aarch64")))]
    return a.mul_add(b, c);
    #[cfg(not(all(feature = "std", any(target_feature = "fma", target_arch = "aarch64"))))]
    by_f64(a, b, c)
}

/// [`fma`] where no instruction is known to exist.
#[cfg(not(all(feature = "std", any(target_feature = "fma", target_arch = "aarch64"))))]
#[inline(always)]
fn by_f64(a: f32, b: f32, c: f32) -> f32 {
    // The product of two f32 is exact in f64. Add c with rounding to odd, so that the second rounding, to f32, is
    // the only one that counts (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
    let p = f64::from(a) * f64::from(b);
    let c = f64::from(c);
    let sum = p + c;
    let t = sum - p;
    let error = (p - (sum - t)) + (c - t);
    let bits = sum.to_bits();
    // The last bit is 0 and the sum is inexact: step towards the true value, which makes it odd. Nothing here branches: whether
    // the compiler does several at once is then no matter of chance, which doubled the time of the portable tier.
    let odd_or_exact = error == 0.0 || bits & 1 == 1 || !sum.is_finite();
    let away = (error > 0.0) == (sum > 0.0);
    let step = if away { 1 } else { u64::MAX };
    f64::from_bits(bits.wrapping_add(if odd_or_exact { 0 } else { step })) as f32
}

/// The correctly rounded square root, which `core` does not have.
#[inline(always)]
pub(crate) fn sqrt(x: f32) -> f32 {
    #[cfg(feature = "std")]
    return x.sqrt();
    #[cfg(not(feature = "std"))]
    by_integers(x)
}

/// [`sqrt`]: 26 bits of an integer root and whether anything is left, rounded once.
#[cfg(any(test, not(feature = "std")))]
fn by_integers(x: f32) -> f32 {
    // Zero of either sign, infinity and NaN are their own roots; below zero there is none.
    if x == 0.0 || x.is_nan() || x == f32::INFINITY {
        return x;
    }
    if x < 0.0 {
        return f32::NAN;
    }
    let bits = x.to_bits();
    // x = m * 2^e with 2^23 <= m < 2^24 unless denormal.
    let (m, e) = match bits >> 23 {
        0 => (bits, -149),
        e => (bits & 0x7f_ffff | 1 << 23, e as i32 - 150),
    };
    // Up to 52 or 51 bits, with an even exponent.
    let mut shift = u64::from(m).leading_zeros() as i32 - 12;
    shift += (e - shift) & 1;
    let (m, e) = (u64::from(m) << shift, e - shift);
    let root = m.isqrt();
    // 26 bits; a remainder is a bit below them. Two conversions would round twice, this rounds once.
    let sticky = root << 1 | u64::from(root * root != m);
    let scale = f32::from_bits(((e / 2 - 1 + 127) as u32) << 23);
    sticky as f32 * scale
}

/// The nearest integer to `x`, ties to even, for |x| <= 2^22.
#[inline(always)]
pub(crate) fn nearest(x: f32) -> f32 {
    #[cfg(feature = "std")]
    return x.round_ties_even();
    #[cfg(not(feature = "std"))]
    by_addition(x)
}

/// [`nearest`]: where the last place of a sum is 1, the sum is rounded as wanted.
#[cfg(any(test, not(feature = "std")))]
fn by_addition(x: f32) -> f32 {
    const HALF: f32 = 12_582_912.0;
    (x + HALF) - HALF
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::{by_addition, by_integers};

    #[test]
    fn roots_and_roundings_equal_those_of_the_standard_library() {
        // Every exponent, with mantissas at both ends and between them.
        let some = (0..=u32::MAX).step_by(4099);
        for bits in
            some.chain([0, 1, 2, 0x7f_ffff, 0x80_0000, 0x7f7f_ffff, 0x7f80_0000, 0x8000_0000, 0x3f80_0000])
        {
            let x = f32::from_bits(bits);
            let (want, got) = (x.sqrt(), by_integers(x));
            assert!(
                want.to_bits() == got.to_bits() || want.is_nan() && got.is_nan(),
                "sqrt {x:e}: {got:e}, not {want:e}"
            );
            if x.abs() <= 128.0 {
                assert_eq!(x.round_ties_even(), by_addition(x), "{x:e}");
            }
        }
        for i in -300..300 {
            let x = i as f32 / 2.0;
            assert_eq!(x.round_ties_even(), by_addition(x));
        }
    }
}
