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
#[cfg(any(test, not(all(feature = "std", any(target_feature = "fma", target_arch = "aarch64")))))]
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
    use super::{by_addition, by_f64, by_integers};

    #[test]
    fn multiply_adds_are_rounded_once() {
        let check = |a: f32, b: f32, c: f32| {
            let (want, got) = (a.mul_add(b, c), by_f64(a, b, c));
            assert!(
                want.to_bits() == got.to_bits() || want.is_nan() && got.is_nan(),
                "{a:e} * {b:e} + {c:e}: {got:e}, not {want:e}"
            );
        };
        // Sums that are halfway between two f32 but for a little, from overflow down into the denormals.
        for e in -149..127 {
            let power = libm::exp2f(e as f32);
            for k in [1, 3, 4095, 4097, 8191] {
                let a = 1.0 + k as f32 / 4096.0;
                for little in
                    [0.0, f32::from_bits(1), 1e-30, 1e-20, 1e-9, 3e-8, 6e-8, 0.5, 1.0, 1e9, f32::MAX]
                {
                    for c in [little, -little, little * power, -little * power] {
                        check(a * power, 1.0 + 1.0 / 4096.0, c);
                        check(power, a, c);
                        check(-a, a * power, c);
                    }
                }
            }
        }
        for special in [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN_POSITIVE] {
            for other in [0.0, -0.0, 1.0, -1.0, f32::INFINITY, f32::MAX] {
                check(special, other, 1.0);
                check(special, other, -special);
                check(other, 1.0, special);
            }
        }
        // Any bits.
        let mut state = 1u64;
        let mut any = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f32::from_bits((state >> 32) as u32)
        };
        for _ in 0..300_000 {
            let (a, b) = (any(), any());
            check(a, b, any());
            // Of about the product's size.
            check(a, b, a * b * (any() % 8.0));
        }
    }

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
