//! exp, tanh and erf by fma polynomials, contract section 7. Coefficients are minimax fits, rounded to f32 one after the
//! other; their bits are part of the contract.

use crate::fma::fma;

/// `c[0] * x^n + …`: from the highest coefficient down.
fn horner(x: f32, coefficients: &[f32]) -> f32 {
    coefficients[1..].iter().fold(coefficients[0], |p, c| fma(p, x, *c))
}

fn bits<const N: usize>(bits: [u32; N]) -> [f32; N] {
    bits.map(f32::from_bits)
}

/// `p * 2^n`, rounded once: the product is exact in f64.
fn scale2(p: f32, n: f32) -> f32 {
    let power = f64::from_bits(((1023 + n as i64) as u64) << 52);
    (f64::from(p) * power) as f32
}

/// `e^x`: at most 1 ulp off, exact at 0, to infinity above and through denormals to 0 below.
pub fn exp(x: f32) -> f32 {
    if x.is_nan() {
        return x;
    }
    // Beyond these the result is infinite or 0 all the same.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.5 { -104.5 } else { x };
    // n = x / ln 2 to the nearest integer, by adding a number whose last bit is worth 1.
    const SHIFT: f32 = 12_582_912.0 + 254.0;
    let n = fma(x, f32::from_bits(0x3fb8_aa3b), SHIFT) - SHIFT;
    // r = x - n ln 2, in two steps.
    let r = fma(n, -f32::from_bits(0x3f31_7218), x);
    let r = fma(n, 1.904_654_2e-9, r);
    let low = bits([0x3ab5_2791, 0x3c09_1cc1, 0x3d2a_ac57, 0x3e2a_aa49, 0x3eff_fffe]);
    let p = horner(r, &[low[0], low[1], low[2], low[3], low[4], 1.0, 1.0]);
    scale2(p, n)
}

/// The hyperbolic tangent.
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let y = if a < 0.625 {
        let s = x * x;
        let p = horner(s, &bits([0xbbba_b68a, 0x3ca9_051d, 0xbd5c_1bc9, 0x3e08_837f, 0xbeaa_aa99]));
        fma(p * s, a, a)
    } else {
        1.0 - 2.0 / (exp(a + a) + 1.0)
    };
    y.copysign(x)
}

/// The error function.
pub fn erf(x: f32) -> f32 {
    // erf rounds to 1 from 3.92 on.
    let a = if x.abs() > 4.0 { 4.0 } else { x.abs() };
    let y = if a < 0.875 {
        let s = a * a;
        let p = bits([0xba20_d662, 0x3ba4_7108, 0xbcdb_64a9, 0x3de7_0ef1, 0xbec0_937a, 0x3e03_75d3]);
        fma(horner(s, &p), a, a)
    } else {
        // ln(1 - erf a) = a * p - a
        let p = [0xb71d_2b60, 0x399f_93a4, 0xbb69_dc43, 0x3cc1_64a1, 0xbdd9_3600, 0xbf22_a02e, 0xbe03_b5bd];
        1.0 - exp(fma(horner(a, &bits(p)), a, 0.0 - a))
    };
    y.copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance in units of the last place of `y`'s true value.
    fn ulps(y: f32, truth: f64) -> f64 {
        let rounded = truth as f32;
        let ulp = if rounded.is_normal() {
            f64::from(f32::from_bits(rounded.abs().to_bits() + 1)) - f64::from(rounded.abs())
        } else {
            f64::from(f32::from_bits(1))
        };
        (f64::from(y) - truth).abs() / ulp
    }

    /// The largest error over a sweep of bit patterns of both signs, up to `limit`.
    fn worst(limit: f32, f: fn(f32) -> f32, truth: fn(f64) -> f64) -> f64 {
        let patterns = (0..limit.to_bits()).step_by(397);
        let both = patterns.flat_map(|b| [f32::from_bits(b), -f32::from_bits(b)]);
        both.map(|x| ulps(f(x), truth(f64::from(x)))).fold(0.0, f64::max)
    }

    #[test]
    fn errors_are_below_the_stated_bounds() {
        for (name, bound, error) in [
            ("exp", 1.0, worst(88.7, exp, libm::exp)),
            // Far below 0, where results are denormal: in units of the smallest.
            ("exp", 1.0, worst(110.0, |x| exp(-x.abs()), |x| libm::exp(-x.abs()))),
            ("tanh", 3.0, worst(100.0, tanh, libm::tanh)),
            ("erf", 3.0, worst(10.0, erf, libm::erf)),
        ] {
            println!("{name}: {error:.3} ulp");
            assert!(error <= bound, "{name}: {error} ulp");
        }
    }

    #[test]
    fn ends_are_exact() {
        assert_eq!((exp(0.0), exp(-0.0)), (1.0, 1.0));
        assert_eq!((exp(f32::NEG_INFINITY), exp(-200.0), exp(-f32::MAX)), (0.0, 0.0, 0.0));
        assert_eq!((exp(f32::INFINITY), exp(100.0)), (f32::INFINITY, f32::INFINITY));
        assert!(exp(-100.0) > 0.0 && !exp(-100.0).is_normal());
        for f in [tanh, erf] {
            assert_eq!((f(f32::INFINITY), f(-f32::MAX)), (1.0, -1.0));
            assert_eq!((f(-0.0).to_bits(), f(0.0).to_bits()), ((-0.0f32).to_bits(), 0));
        }
        for f in [exp, tanh, erf] {
            assert!(f(f32::NAN).is_nan());
        }
    }
}
