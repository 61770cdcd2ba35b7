//! GEMM over a panel of unpacked tiles (contract section 2); what multiplies them is [`Dot::multiply`].

use super::columns::{Side, columns, fill_side};
use super::dot::Dot;
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
    /// Of these columns; filled where there are mins.
    side: *const Side,
}

/// All columns over a panel of `tiles` rows of tiles, [`Dot::COLUMNS`] at a time.
///
/// # Safety
/// The tier of `D` is usable; the panel holds `tiles` times the groups of `x`, which are those of rows `r0` on of `y`;
/// `side` has room for as many times [`Dot::COLUMNS`]; `x` has at least [`Dot::GEMM_FROM`] columns.
pub(crate) unsafe fn gemm<D: Dot, F: TileFormat>(
    panel: *const Tile,
    tiles: usize,
    x: &QuantizedRows<'_>,
    y: &mut MatMut<'_>,
    r0: usize,
    side: *mut Side,
) {
    const { assert!(D::LEAST < D::GEMM_FROM) }
    let mut c0 = 0;
    while c0 < x.n() {
        let n =
            [8, 4, 2, 1].into_iter().find(|n| *n <= D::COLUMNS.min(x.n() - c0)).unwrap_or(1).max(D::LEAST);
        c0 = c0.min(x.n() - n);
        // SAFETY: `c0 + n <= x.n()`, as LEAST < GEMM_FROM, and n <= COLUMNS; the rest is the caller's.
        unsafe {
            if F::MINS != Mins::None {
                fill_side::<D>(x, c0, n, F::MINS, const { Codes::signed::<F>() }, side);
            }
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
            let acc = D::multiply::<C, R, N>(tiles, self.x, self.c0);
            // The mins have a chain of their own, so they need not share the registers of the loop above.
            let macc = match self.mins {
                Mins::None => acc,
                Mins::Per32 => min_chains(Mins::Per32, tiles, groups, self.side),
                Mins::Per16 => min_chains(Mins::Per16, tiles, groups, self.side),
            };
            for r in 0..R {
                store(self.mins, &acc[r], &macc[r], self.y, self.r0 + (t + r) * MR, self.c0);
            }
        }
    }
}

/// The min chains of `R` rows of tiles and `N` columns.
#[inline(always)]
unsafe fn min_chains<const R: usize, const N: usize>(
    mins: Mins,
    tiles: [*const Tile; R],
    groups: usize,
    side: *const Side,
) -> [[float32x4_t; N]; R] {
    // SAFETY: `groups` tiles in each row, and the side of N columns is filled; NEON is part of the aarch64 baseline.
    unsafe {
        let mut macc = [[vdupq_n_f32(0.0); N]; R];
        for g in 0..groups {
            columns!(N, c => {
                let sums = &(*side.add(c * groups + g)).sums;
                columns!(R, r => macc[r][c] = add_mins(mins, macc[r][c], &(*tiles[r].add(g)).m, sums));
            });
        }
        macc
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
    mins: Mins,
    acc: &[float32x4_t; N],
    macc: &[float32x4_t; N],
    y: &mut MatMut<'_>,
    r0: usize,
    c0: usize,
) {
    let live = MR.min(y.rows() - r0);
    for c in 0..N {
        // SAFETY: `live` rows from r0 exist in column c0 + c of y; NEON is part of the aarch64 baseline.
        unsafe {
            let sum = if mins == Mins::None { acc[c] } else { vaddq_f32(acc[c], macc[c]) };
            let out = y.at(r0, c0 + c);
            if live == MR {
                vst1q_f32(out, sum);
            } else {
                let mut lanes = [0.0f32; MR];
                vst1q_f32(lanes.as_mut_ptr(), sum);
                std::ptr::copy_nonoverlapping(lanes.as_ptr(), out, live);
            }
        }
    }
}
