//! GEMV and GEMM over any format that can decode a group of 32 (contract section 2).

use crate::float::fma::fma;
use crate::format::{Block, GROUP, Mins};
use crate::matrix::{MatMut, Matrix, QuantizedRows};

/// Columns that share one decoding of a group; their accumulators live on the stack.
pub(super) const NR: usize = 32;

/// `y[c][r] = dot(w[r], x[c])` for every row and column, with the checks already made.
pub(crate) fn matmul<B: Block>(w: &Matrix<'_>, x: &QuantizedRows<'_>, y: &mut MatMut<'_>, _: &mut [u8]) {
    let groups = w.cols() / GROUP;
    for r in 0..w.rows() {
        let row = &w.data()[r * w.stride()..][..w.row_bytes()];
        let blocks: &[B] = bytemuck::cast_slice(row);
        for c0 in (0..x.n()).step_by(NR) {
            let cols = NR.min(x.n() - c0);
            let (mut acc, mut macc) = ([0.0f32; NR], [0.0f32; NR]);
            for g in 0..groups {
                let w = blocks[g * GROUP / B::LEN].group(g % (B::LEN / GROUP));
                for c in 0..cols {
                    let at = (c0 + c) * groups + g;
                    let (xq, dx, sums) = (&x.q[at * GROUP..][..GROUP], x.d[at], &x.sums[at * 2..][..2]);
                    acc[c] = fma(w.d * dx, isum::<B>(&w.q, w.s, xq) as f32, acc[c]);
                    macc[c] = match B::MINS {
                        Mins::None => 0.0,
                        Mins::Per32 => {
                            let sum = i32::from(sums[0]) + i32::from(sums[1]);
                            fma(w.m[0], dx * sum as f32, macc[c])
                        }
                        Mins::Per16 => {
                            let low = fma(w.m[0], dx * f32::from(sums[0]), macc[c]);
                            fma(w.m[1], dx * f32::from(sums[1]), low)
                        }
                    };
                }
            }
            for c in 0..cols {
                let sum = if B::MINS == Mins::None { acc[c] } else { acc[c] + macc[c] };
                y.set(r, c0 + c, sum);
            }
        }
    }
}

#[inline]
fn isum<B: Block>(q: &[i8; GROUP], s: [i16; 2], x: &[i8]) -> i32 {
    let half = |h: usize| -> i32 {
        let pairs = q[16 * h..16 * h + 16].iter().zip(&x[16 * h..16 * h + 16]);
        pairs.map(|(q, x)| i32::from(*q) * i32::from(*x)).sum()
    };
    if B::SUB_SCALES { i32::from(s[0]) * half(0) + i32::from(s[1]) * half(1) } else { half(0) + half(1) }
}
