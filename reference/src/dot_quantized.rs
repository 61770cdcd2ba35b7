//! The dot product of quantized weights and quantized activations, contract section 2.

use crate::fma::fma;
use crate::quantize::Activation;

/// 32 decoded weights: weight `i` is `d * s[i / 16] * q[i] + m[i / 16]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Codes.
    pub q: [i8; 32],
    /// Integer scale of each half.
    pub s: [i8; 2],
    /// Scale.
    pub d: f32,
    /// Min of each half.
    pub m: [f32; 2],
}

/// How many weights one min covers, if the format has mins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mins {
    /// No mins.
    None,
    /// 32; both mins of a group are the same.
    Per32,
    /// 16.
    Per16,
}

/// One row of weights times one row of activations of the same length.
pub fn dot_quantized(weights: &[Group], mins: Mins, x: &Activation) -> f32 {
    assert_eq!(weights.len() * 32, x.q.len());
    let mut acc = 0.0f32;
    let mut macc = 0.0f32;
    for (g, w) in weights.iter().enumerate() {
        let dx = x.d[g];
        let mut isum = 0i32;
        for i in 0..32 {
            isum += i32::from(w.s[i / 16]) * i32::from(w.q[i]) * i32::from(x.q[32 * g + i]);
        }
        assert!(isum.abs() < 1 << 24, "the integer sum must be exact in f32");
        acc = fma(w.d * dx, isum as f32, acc);

        let sums = [i32::from(x.sums[2 * g]), i32::from(x.sums[2 * g + 1])];
        match mins {
            Mins::None => {}
            Mins::Per32 => macc = fma(w.m[0], dx * (sums[0] + sums[1]) as f32, macc),
            Mins::Per16 => {
                macc = fma(w.m[0], dx * sums[0] as f32, macc);
                macc = fma(w.m[1], dx * sums[1] as f32, macc);
            }
        }
    }
    if mins == Mins::None { acc } else { acc + macc }
}
