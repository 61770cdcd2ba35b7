//! F32, F16 and BF16 weights times f32 activations: contract section 3.
//!
//! A dot product is sixteen strided accumulators, so a register tile of MR rows x NR columns holds MR * NR of them; each
//! step of 16 along K loads MR weights (widened once) and NR activations for MR * NR fused multiply-adds. Columns are taken in
//! tiles whose activations stay in L1 while a block of rows that stays in L2 passes by.

#![allow(clippy::needless_range_loop, reason = "row and group index several arrays at once")]

use super::lanes::{Lanes, load_n};
use crate::Format;
use crate::matrix::{MatMut, Matrix};

/// Bytes of weights that one block of rows may take of L2.
const ROW_BLOCK_BYTES: usize = 256 * 1024;

/// How weights widen to f32, exactly.
trait Weight {
    const BYTES: usize;
    /// 16 weights, unaligned.
    unsafe fn load<L: Lanes>(p: *const u8) -> L;
}

struct F32;
struct F16;
struct Bf16;

impl Weight for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load<L: Lanes>(p: *const u8) -> L {
        // SAFETY: the caller's 16 weights and the features of `L` (here and below).
        unsafe { L::load(p.cast()) }
    }
}
impl Weight for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<L: Lanes>(p: *const u8) -> L {
        // SAFETY: as above.
        unsafe { L::load_f16(p.cast()) }
    }
}
impl Weight for Bf16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<L: Lanes>(p: *const u8) -> L {
        // SAFETY: as above.
        unsafe { L::load_bf16(p.cast()) }
    }
}

/// The last `n < 16` weights of a row; the other lanes are +0.
#[inline(always)]
unsafe fn tail<L: Lanes, W: Weight>(p: *const u8, n: usize) -> L {
    let mut bytes = [0u8; 64];
    // SAFETY: the caller's `n` weights fit the 64 bytes.
    unsafe {
        std::ptr::copy_nonoverlapping(p, bytes.as_mut_ptr(), n * W::BYTES);
        W::load(bytes.as_ptr())
    }
}

#[inline(always)]
pub(super) unsafe fn matmul<L: Lanes>(w: &Matrix<'_>, x: *const f32, y: &mut MatMut<'_>) {
    // SAFETY: the caller's; the format is a float one.
    unsafe {
        match w.format() {
            Format::F32 => run::<L, F32>(w, x, y),
            Format::F16 => run::<L, F16>(w, x, y),
            _ => run::<L, Bf16>(w, x, y),
        }
    }
}

#[inline(always)]
unsafe fn run<L: Lanes, W: Weight>(w: &Matrix<'_>, x: *const f32, y: &mut MatMut<'_>) {
    let block = (ROW_BLOCK_BYTES / w.stride().max(1)).clamp(8, 1024);
    let mut r0 = 0;
    while r0 < w.rows() {
        let r1 = w.rows().min(r0 + block);
        let mut c = 0;
        // SAFETY: rows below `r1` and columns below `y.n()` exist.
        unsafe {
            while y.n() - c >= 3 {
                rows::<L, W, 2, 3>(w, x, y, r0, r1, c);
                c += 3;
            }
            match y.n() - c {
                2 => rows::<L, W, 2, 2>(w, x, y, r0, r1, c),
                1 => rows::<L, W, 4, 1>(w, x, y, r0, r1, c),
                _ => {}
            }
        }
        r0 = r1;
    }
}

/// Rows `r0..r1`, `MR` at a time, times `NR` columns.
#[inline(always)]
unsafe fn rows<L: Lanes, W: Weight, const MR: usize, const NR: usize>(
    w: &Matrix<'_>,
    x: *const f32,
    y: &mut MatMut<'_>,
    r0: usize,
    r1: usize,
    c: usize,
) {
    let mut r = r0;
    // SAFETY: the caller's.
    unsafe {
        while r1 - r >= MR {
            tile::<L, W, MR, NR>(w, x, y, r, c);
            r += MR;
        }
        while r < r1 {
            tile::<L, W, 1, NR>(w, x, y, r, c);
            r += 1;
        }
    }
}

#[inline(always)]
unsafe fn tile<L: Lanes, W: Weight, const MR: usize, const NR: usize>(
    w: &Matrix<'_>,
    x: *const f32,
    y: &mut MatMut<'_>,
    r0: usize,
    c0: usize,
) {
    let (k, stride) = (w.cols(), w.stride());
    let full = k / 16 * 16;
    // SAFETY: rows r0..r0 + MR and columns c0..c0 + NR exist, each of k values.
    unsafe {
        let (w, x) = (w.data().as_ptr().add(r0 * stride), x.add(c0 * k));
        let mut acc = [[L::splat(0.0); NR]; MR];
        for i in (0..full).step_by(16) {
            let mut wide = [L::splat(0.0); MR];
            for r in 0..MR {
                wide[r] = W::load(w.add(r * stride + i * W::BYTES));
            }
            for c in 0..NR {
                let x = L::load(x.add(c * k + i));
                for r in 0..MR {
                    acc[r][c] = wide[r].fma(x, acc[r][c]);
                }
            }
        }
        if full < k {
            for r in 0..MR {
                let wide: L = tail::<L, W>(w.add(r * stride + full * W::BYTES), k - full);
                for c in 0..NR {
                    acc[r][c] = wide.fma(load_n(x.add(c * k + full), k - full), acc[r][c]);
                }
            }
        }
        for r in 0..MR {
            for c in 0..NR {
                y.set(r0 + r, c0 + c, acc[r][c].sum());
            }
        }
    }
}
