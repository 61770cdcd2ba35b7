//! GEMM over a panel of unpacked tiles (contract section 2); what multiplies them is [`Dot::multiply`].

#![allow(clippy::needless_range_loop, reason = "row and column index several arrays at once")]

use super::columns::side_sums;
use super::dot::Dot;
use super::load::each;
use super::tile::{Class, Codes, MR, Tile, TileFormat};
use crate::format::{GROUP, Mins};
use crate::matrix::{MatMut, QuantizedRows};
use std::arch::aarch64::*;

/// A few columns times a panel.
pub(crate) struct Pass<'a, 'y> {
    mins: Mins,
    /// `[tiles][groups]`.
    panel: *const Tile,
    /// Rows of tiles in the panel.
    pub tiles: usize,
    x: &'a QuantizedRows<'a>,
    y: &'a mut MatMut<'y>,
    /// First row of the panel within `y`.
    r0: usize,
    /// First column.
    c0: usize,
    /// Columns: a power of two.
    pub n: usize,
    /// What [`fill`] wrote for these columns.
    side: *const f32,
}

/// All columns over a panel of `tiles` rows of tiles, [`Dot::COLUMNS`] at a time.
///
/// # Safety
/// The tier of `D` is usable; the panel holds `tiles` times the groups of `x`, which are those of rows `r0` on of `y`;
/// `side` has room for [`side_len`] values; `x` has at least [`Dot::GEMM_FROM`] columns.
pub(crate) unsafe fn gemm<D: Dot, F: TileFormat>(
    panel: *const Tile,
    tiles: usize,
    x: &QuantizedRows<'_>,
    y: &mut MatMut<'_>,
    r0: usize,
    side: *mut f32,
) {
    const { assert!(D::LEAST < D::GEMM_FROM) }
    let mut c0 = 0;
    while c0 < x.n() {
        let n =
            [8, 4, 2, 1].into_iter().find(|n| *n <= D::COLUMNS.min(x.n() - c0)).unwrap_or(1).max(D::LEAST);
        c0 = c0.min(x.n() - n);
        // SAFETY: `c0 + n <= x.n()`, as LEAST < GEMM_FROM, and n <= COLUMNS; the rest is the caller's.
        unsafe {
            const { Codes::signed::<F>() };
            fill::<D>(x, c0, n, F::MINS, side);
            D::pass::<F::Signed>(&mut Pass { mins: F::MINS, panel, tiles, x, y, r0, c0, n, side });
        }
        c0 += n;
    }
}

impl Pass<'_, '_> {
    /// `R` rows of tiles from row `t` on times `N` columns.
    ///
    /// # Safety
    /// The tier of `D` is usable; `t + R <= self.tiles`; `N <= self.n`.
    #[inline(never)]
    pub(crate) unsafe fn run<D: Dot, C: Class, const R: usize, const N: usize>(&mut self, t: usize) {
        let groups = self.x.k() / GROUP;
        let tiles: [*const Tile; R] = std::array::from_fn(|r| self.panel.wrapping_add((t + r) * groups));
        // SAFETY: those rows of tiles and columns exist.
        unsafe {
            let acc = D::multiply::<C, R, N>(tiles, self.x, self.c0, self.side);
            // The mins have a chain of their own, so they need not share the registers of the loop above.
            match self.mins {
                Mins::None => self.store(&acc, t),
                Mins::Per32 => {
                    let macc = min_chains::<D, R, N>(Mins::Per32, tiles, groups, self.side);
                    self.store(&add(acc, macc), t);
                }
                Mins::Per16 => {
                    let macc = min_chains::<D, R, N>(Mins::Per16, tiles, groups, self.side);
                    self.store(&add(acc, macc), t);
                }
            }
        }
    }

    /// # Safety
    /// As [`Pass::run`].
    #[inline(always)]
    unsafe fn store<const R: usize, const N: usize>(&mut self, sums: &[[float32x4_t; N]; R], t: usize) {
        for r in 0..R {
            // SAFETY: the caller's.
            unsafe { store(&sums[r], self.y, self.r0 + (t + r) * MR, self.c0) };
        }
    }
}

#[inline(always)]
fn add<const R: usize, const N: usize>(
    mut a: [[float32x4_t; N]; R],
    b: [[float32x4_t; N]; R],
) -> [[float32x4_t; N]; R] {
    for r in 0..R {
        for c in 0..N {
            // SAFETY: NEON is part of the aarch64 baseline.
            a[r][c] = unsafe { vaddq_f32(a[r][c], b[r][c]) };
        }
    }
    a
}

/// The min chains of `R` rows of tiles and `N` columns.
#[inline(always)]
unsafe fn min_chains<D: Dot, const R: usize, const N: usize>(
    mins: Mins,
    tiles: [*const Tile; R],
    groups: usize,
    side: *const f32,
) -> [[float32x4_t; N]; R] {
    // SAFETY: `groups` tiles in each row, and the side of N columns is filled; NEON is part of the aarch64 baseline.
    unsafe {
        let mut macc = [[vdupq_n_f32(0.0); N]; R];
        for g in 0..groups {
            let side = side.add(g * VALUES * D::COLUMNS);
            let (low, high) =
                (columns_at::<N>(side.add(D::COLUMNS)), columns_at::<N>(side.add(2 * D::COLUMNS)));
            for r in 0..R {
                let m = &(*tiles[r].add(g)).m;
                for c in 0..N {
                    macc[r][c] = add_mins(mins, macc[r][c], m, &[low[c], high[c]]);
                }
            }
        }
        macc
    }
}

/// Values per group and column of a side: the scale of the activations, and [`super::columns::Side::sums`].
pub(crate) const VALUES: usize = 3;

/// Values in the side of a matrix with `groups` groups per row: `[groups][VALUES][COLUMNS]`.
pub(crate) const fn side_len<D: Dot>(groups: usize) -> usize {
    groups * VALUES * D::COLUMNS
}

/// The scales of the activations of group `g`, for each column of a side.
///
/// # Safety
/// The side is filled for `N` columns, and group `g` exists.
#[inline(always)]
pub(crate) unsafe fn scales<D: Dot, const N: usize>(side: *const f32, g: usize) -> [f32; N] {
    // SAFETY: the caller's.
    unsafe { columns_at(side.add(g * VALUES * D::COLUMNS)) }
}

/// One value for each of `N` columns, four at a time in a vector whose elements multiplications take.
#[inline(always)]
unsafe fn columns_at<const N: usize>(p: *const f32) -> [f32; N] {
    // SAFETY: the caller's side is filled for N columns.
    unsafe { p.cast::<[f32; N]>().read_unaligned() }
}

/// Fills `side` for columns `c0 .. c0 + n`.
unsafe fn fill<D: Dot>(x: &QuantizedRows<'_>, c0: usize, n: usize, mins: Mins, side: *mut f32) {
    let groups = x.k() / GROUP;
    for c in (0..n).step_by(4) {
        // Past the last column the last column is repeated: there is room for COLUMNS, which is a multiple of 4.
        let at = each!(4, i => (c0 + (c + i).min(n - 1)) * groups);
        let mut g = 0;
        // SAFETY: the groups of these columns exist, and `side` has room for as many times VALUES * COLUMNS.
        unsafe {
            while g + 4 <= groups {
                let out = side.add(g * VALUES * D::COLUMNS + c);
                let d = each!(4, i => vld1q_f32(x.d.as_ptr().add(at[i] + g)));
                store_transposed::<D>(d, out);
                if mins != Mins::None {
                    let sums = each!(4, i => vld1q_s16(x.sums.as_ptr().add(2 * (at[i] + g))));
                    let scaled = |i: usize, sum: int32x4_t| vmulq_f32(d[i], vcvtq_f32_s32(sum));
                    if mins == Mins::Per32 {
                        let both = each!(4, i => scaled(i, vpaddlq_s16(sums[i])));
                        store_transposed::<D>(both, out.add(D::COLUMNS));
                    } else {
                        let sums = each!(4, i => vreinterpretq_s32_s16(sums[i]));
                        let low = each!(4, i => scaled(i, vshrq_n_s32::<16>(vshlq_n_s32::<16>(sums[i]))));
                        let high = each!(4, i => scaled(i, vshrq_n_s32::<16>(sums[i])));
                        store_transposed::<D>(low, out.add(D::COLUMNS));
                        store_transposed::<D>(high, out.add(2 * D::COLUMNS));
                    }
                }
                g += 4;
            }
            for g in g..groups {
                for i in 0..4 {
                    let out = side.add(g * VALUES * D::COLUMNS + c + i);
                    let sums = side_sums(x, at[i] + g, mins);
                    *out = x.d[at[i] + g];
                    *out.add(D::COLUMNS) = sums[0];
                    *out.add(2 * D::COLUMNS) = sums[1];
                }
            }
        }
    }
}

/// Four groups (the lanes) of four columns, into the side from `out` on.
#[inline(always)]
unsafe fn store_transposed<D: Dot>(v: [float32x4_t; 4], out: *mut f32) {
    // SAFETY: the caller's side; NEON is part of the aarch64 baseline.
    unsafe {
        let (a, b) = (vzip1q_f32(v[0], v[2]), vzip2q_f32(v[0], v[2]));
        let (c, d) = (vzip1q_f32(v[1], v[3]), vzip2q_f32(v[1], v[3]));
        let groups = [vzip1q_f32(a, c), vzip2q_f32(a, c), vzip1q_f32(b, d), vzip2q_f32(b, d)];
        each!(4, g => vst1q_f32(out.add(g * VALUES * D::COLUMNS), groups[g]));
    }
}

/// The min step of contract section 2.
#[inline(always)]
pub(crate) fn add_mins(mins: Mins, macc: float32x4_t, m: &[float32x4_t; 2], sums: &[f32; 2]) -> float32x4_t {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe {
        match mins {
            Mins::None => macc,
            Mins::Per32 => vfmaq_n_f32(macc, m[0], sums[0]),
            Mins::Per16 => vfmaq_n_f32(vfmaq_n_f32(macc, m[0], sums[0]), m[1], sums[1]),
        }
    }
}

/// Writes `N` columns from `c0` on of up to 4 rows from `r0` on.
///
/// # Safety
/// The columns exist and so does row `r0`.
#[inline(always)]
pub(crate) unsafe fn store<const N: usize>(
    sums: &[float32x4_t; N],
    y: &mut MatMut<'_>,
    r0: usize,
    c0: usize,
) {
    let live = MR.min(y.rows() - r0);
    for c in 0..N {
        // SAFETY: `live` rows from r0 exist in column c0 + c of y; NEON is part of the aarch64 baseline.
        unsafe {
            let out = y.at(r0, c0 + c);
            if live == MR {
                vst1q_f32(out, sums[c]);
            } else {
                let mut lanes = [0.0f32; MR];
                vst1q_f32(lanes.as_mut_ptr(), sums[c]);
                std::ptr::copy_nonoverlapping(lanes.as_ptr(), out, live);
            }
        }
    }
}
