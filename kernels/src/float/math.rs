//! exp, tanh and erf over sixteen lanes: contract section 7, the algorithms of `reference/src/math.rs`.
//!
//! Coefficients are minimax fits, rounded to f32 one after the other. On two ymm registers exp is 36 instructions.

use super::lanes::{Lanes, SCALE};

/// `c[0] + c[1] * x + …` by fma, from the highest coefficient down.
macro_rules! horner {
    ($x:expr, $first:expr $(, $c:expr)* $(,)?) => {{
        let p = L::splat($first);
        $(let p = p.fma($x, L::splat($c));)*
        p
    }};
}

/// `e^x`: at most 1 ulp off, exact at 0, to infinity and through denormals to 0.
#[inline(always)]
#[allow(clippy::excessive_precision, clippy::approx_constant, reason = "the contract's own digits")]
pub(super) unsafe fn exp<L: Lanes>(x: L) -> L {
    // SAFETY: the caller has the features of `L` (here and in the rest of the file).
    unsafe {
        // Beyond these the result is 0 or infinite all the same. A NaN passes both, being the second operand.
        let x = L::splat(89.0).min(L::splat(-104.5).max(x));
        let t = x.fma(L::splat(1.442_695_04), L::splat(SCALE));
        let n = t.sub(L::splat(SCALE));
        let r = n.fma(L::splat(-0.693_147_2), x);
        let r = n.fma(L::splat(1.904_654_2e-9), r);
        let p = horner!(
            r,
            f32::from_bits(0x3ab5_2791),
            f32::from_bits(0x3c09_1cc1),
            f32::from_bits(0x3d2a_ac57),
            f32::from_bits(0x3e2a_aa49),
            f32::from_bits(0x3eff_fffe),
            1.0,
            1.0,
        );
        p.scale2(t)
    }
}

/// The hyperbolic tangent.
#[inline(always)]
pub(super) unsafe fn tanh<L: Lanes>(x: L) -> L {
    // SAFETY: see `exp`.
    unsafe {
        let one = L::splat(1.0);
        let a = x.copysign(one);
        let s = x.mul(x);
        let p = horner!(
            s,
            f32::from_bits(0xbbba_b68a),
            f32::from_bits(0x3ca9_051d),
            f32::from_bits(0xbd5c_1bc9),
            f32::from_bits(0x3e08_837f),
            f32::from_bits(0xbeaa_aa99),
        );
        let small = p.mul(s).fma(a, a);
        let large = one.sub(L::splat(2.0).div(exp(a.add(a)).add(one)));
        a.select_lt(L::splat(0.625), small, large).copysign(x)
    }
}

/// The error function.
#[inline(always)]
pub(super) unsafe fn erf<L: Lanes>(x: L) -> L {
    // SAFETY: see `exp`.
    unsafe {
        let one = L::splat(1.0);
        // erf rounds to 1 from 3.92 on.
        let a = L::splat(4.0).min(x.copysign(one));
        let s = a.mul(a);
        let p = horner!(
            s,
            f32::from_bits(0xba20_d662),
            f32::from_bits(0x3ba4_7108),
            f32::from_bits(0xbcdb_64a9),
            f32::from_bits(0x3de7_0ef1),
            f32::from_bits(0xbec0_937a),
            f32::from_bits(0x3e03_75d3),
        );
        let small = p.fma(a, a);
        // ln(1 - erf a) = a * p - a
        let p = horner!(
            a,
            f32::from_bits(0xb71d_2b60),
            f32::from_bits(0x399f_93a4),
            f32::from_bits(0xbb69_dc43),
            f32::from_bits(0x3cc1_64a1),
            f32::from_bits(0xbdd9_3600),
            f32::from_bits(0xbf22_a02e),
            f32::from_bits(0xbe03_b5bd),
        );
        let large = one.sub(exp(p.fma(a, L::splat(0.0).sub(a))));
        a.select_lt(L::splat(0.875), small, large).copysign(x)
    }
}
