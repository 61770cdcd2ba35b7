//! A correctly rounded fused multiply-add for the portable tier.
//!
//! `f32::mul_add` without an FMA instruction calls the platform's `fmaf`, which law 1 does not allow to decide a bit.

/// The correctly rounded `a * b + c`.
#[inline(always)]
pub(crate) fn fma(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
        return a.mul_add(b, c);
    }
    // The product of two f32 is exact in f64. Add c with rounding to odd, so that the second rounding, to f32, is
    // the only one that counts (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
    let p = f64::from(a) * f64::from(b);
    let c = f64::from(c);
    let sum = p + c;
    let t = sum - p;
    let error = (p - (sum - t)) + (c - t);
    let bits = sum.to_bits();
    if error == 0.0 || bits & 1 == 1 || !sum.is_finite() {
        return sum as f32;
    }
    // The last bit is 0 and the sum is inexact: step towards the true value, which makes it odd.
    let away = (error > 0.0) == (sum > 0.0);
    f64::from_bits(if away { bits + 1 } else { bits - 1 }) as f32
}
