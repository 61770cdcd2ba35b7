//! A correctly rounded fused multiply-add that no platform can change.

/// The correctly rounded `a * b + c` in f32.
///
/// The product of two f32 is exact in f64; `c` is added with rounding to odd, so that only the last rounding, to f32,
/// counts (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to
/// odd", IEEE Transactions on Computers, 2008).
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    let product = f64::from(a) * f64::from(b);
    let c = f64::from(c);
    let sum = product + c;
    // TwoSum (Knuth): `product + c == sum + error` exactly.
    let c_part = sum - product;
    let error = (product - (sum - c_part)) + (c - c_part);
    let exact = error == 0.0;
    let odd = sum.to_bits() & 1 == 1;
    if exact || odd || !sum.is_finite() {
        return sum as f32;
    }
    let true_value_is_larger_in_magnitude = (error > 0.0) == (sum > 0.0);
    let bits = sum.to_bits();
    f64::from_bits(if true_value_is_larger_in_magnitude { bits + 1 } else { bits - 1 }) as f32
}

#[cfg(test)]
mod tests {
    use super::fma;

    /// Against the platform's `fmaf`, which is correctly rounded on the platforms that run these tests.
    #[test]
    fn equals_the_platforms() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
        };
        let special = [
            0u32,
            1,
            0x8000_0000,
            0x007f_ffff,
            0x0080_0000,
            0x3f80_0000,
            0x7f7f_ffff,
            0x7f80_0000,
            0x7fc0_0000,
        ];
        for i in 0..2_000_000u32 {
            let mut pick = || {
                let r = next();
                if r % 8 == 0 {
                    f32::from_bits(special[(r >> 8) as usize % 9] ^ (r & 0x8000_0000))
                } else {
                    f32::from_bits(next())
                }
            };
            let (a, b, mut c) = (pick(), pick(), pick());
            if i % 2 == 0 {
                // Close to cancellation, where a second rounding shows.
                c = f32::from_bits((-(a * b)).to_bits().wrapping_add(i % 7).wrapping_sub(3));
            }
            let (ours, theirs) = (fma(a, b, c), a.mul_add(b, c));
            assert!(
                ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()),
                "{a:e} {b:e} {c:e}"
            );
        }
    }
}
