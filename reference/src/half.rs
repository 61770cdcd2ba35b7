//! IEEE 754 binary16 and bfloat16.

/// The value of a binary16, exactly.
pub fn from_f16(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    sign * match exponent {
        0 => fraction * two_to(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        e => (1024.0 + fraction) * two_to(e - 25),
    }
}

/// The value of a bfloat16, exactly.
pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The binary16 nearest to `x`, ties to even.
pub fn to_f16(x: f32) -> u16 {
    let sign = ((x.to_bits() >> 16) & 0x8000) as u16;
    let a = x.abs();
    if x.is_nan() {
        return sign | 0x7e00;
    }
    if a >= 65520.0 {
        return sign | 0x7c00;
    }
    // The spacing of binary16 at `a`: 2^-24 for denormals, else 10 bits below the leading one.
    let exponent = ((a.to_bits() >> 23) as i32 - 127).max(-14);
    let steps = (a * two_to(10 - exponent)).round_ties_even() as u16;
    // A carry out of the fraction moves the exponent on by itself.
    sign | (steps + ((exponent + 14) << 10) as u16)
}

fn two_to(n: i32) -> f32 {
    f32::from_bits(((n + 127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_binary16_comes_back() {
        for bits in 0..=u16::MAX {
            let x = from_f16(bits);
            assert!(x.is_nan() || to_f16(x) == bits, "{bits:#x}");
        }
        assert_eq!([to_f16(65519.9), to_f16(65520.0), to_f16(1.0 + 1.0 / 2048.0)], [0x7bff, 0x7c00, 0x3c00]);
        assert_eq!([to_f16(1e-8), to_f16(-3e-8), to_f16(1.0 + 3.0 / 2048.0)], [0, 0x8001, 0x3c02]);
    }
}
