//! The arithmetic of contract section 2 with `sdot`, for any signed codes: its sums of four products are exact in i32.
//!
//! *GEMV*: codes as formats load them, so each row's sums meet in one lane at the end, by a tree of pairwise adds.
//! [`gemv`] has a loop of its own for the simplest blocks.
//!
//! *GEMM*: tiles are transposed as they are unpacked, so that lanes are rows, and `sdot` by element takes 4 activations
//! of a column from a register that holds 16. [`super::gemm`] is the loop for 8 rows by 4 columns; [`chain`] the one for what
//! is left at the edges.

use super::gemm::multiply;
use super::gemv::{self, ROWS};
use super::instructions::{copies, next_pair, vdotq_laneq_s32, vdotq_s32};
use crate::aarch64::neon::columns::{Column, Side};
use crate::aarch64::neon::dot::{Dot, to_float};
use crate::aarch64::neon::gemm::{Pass, scales, store};
use crate::aarch64::neon::load::{each, narrow_f16, widen_f16};
use crate::aarch64::neon::tile::{Class, Codes, MR, Tile, TileFormat};
use crate::format::GROUP;
use crate::matrix::{MatMut, Matrix, QuantizedRows};
use std::arch::aarch64::*;

/// ARMv8.2 dot products.
pub(crate) struct DotProd;

impl Dot for DotProd {
    const PANEL_BYTES: usize = PANEL_BYTES;
    const PANEL_TILES: usize = PANEL_TILES;
    const TABLES: bool = true;
    const GEMM_FROM: usize = 3;
    const COLUMNS: usize = 4;
    const TILES: usize = 2;

    fn bias(codes: Codes, low: i32, high: i32) -> [i32; 2] {
        bias(codes, low, high)
    }

    #[inline(always)]
    unsafe fn sum(codes: Codes, tile: &Tile, x: &Column<'_>) -> float32x4_t {
        // SAFETY: the caller's.
        unsafe { sum(codes, tile, x) }
    }

    #[inline(always)]
    unsafe fn gemv<F: TileFormat>(
        w: &Matrix<'_>,
        x: &QuantizedRows<'_>,
        y: &mut MatMut<'_>,
        side: *const Side,
    ) -> usize {
        // SAFETY: the caller's.
        unsafe { blocks32::<F>(w, x, y, side) }
    }

    #[inline(always)]
    fn pack(tile: Tile) -> Tile {
        // SAFETY: NEON is part of the aarch64 baseline.
        unsafe {
            let mut codes = [[vdupq_n_s8(0); 2]; 4];
            for h in 0..2 {
                // Vector `4h + j` gets weights `16h + 4j ..` of every row.
                let r = each!(4, r => vreinterpretq_s32_s8(tile.codes[r][h]));
                let (a, b) = (vtrn1q_s32(r[0], r[1]), vtrn2q_s32(r[0], r[1]));
                let (c, d) = (vtrn1q_s32(r[2], r[3]), vtrn2q_s32(r[2], r[3]));
                let zip = |a, b| {
                    let (a, b) = (vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b));
                    (vreinterpretq_s8_s64(vtrn1q_s64(a, b)), vreinterpretq_s8_s64(vtrn2q_s64(a, b)))
                };
                let ((v0, v2), (v1, v3)) = (zip(a, c), zip(b, d));
                [codes[2 * h], codes[2 * h + 1]] = [[v0, v1], [v2, v3]];
            }
            Tile { codes, s: split_halves(tile.s), ..tile }
        }
    }

    unsafe fn pass<C: Class>(pass: &mut Pass<'_, '_>) {
        for t in (0..pass.tiles).step_by(2) {
            // SAFETY: the caller's.
            unsafe {
                match (pass.tiles - t, pass.n) {
                    (1, 4) => pass.run::<DotProd, C, 1, 4>(t),
                    (1, 2) => pass.run::<DotProd, C, 1, 2>(t),
                    (1, _) => pass.run::<DotProd, C, 1, 1>(t),
                    (_, 4) => pass.run::<DotProd, C, 2, 4>(t),
                    (_, 2) => pass.run::<DotProd, C, 2, 2>(t),
                    (_, _) => pass.run::<DotProd, C, 2, 1>(t),
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply<C: Class, const R: usize, const N: usize>(
        tiles: [*const Tile; R],
        x: &QuantizedRows<'_>,
        c0: usize,
        side: *const f32,
    ) -> [[float32x4_t; N]; R] {
        // SAFETY: the caller's tier, tiles and columns.
        unsafe {
            let add = |tiles: [&Tile; R], h: usize, x: [int8x16_t; N], sums: &mut [[int32x4_t; N]; R]| {
                macro_rules! step {
                    ($($j:literal)*) => {$(
                        for r in 0..R {
                            let w = tiles[r].codes[2 * h + $j / 2][$j % 2];
                            for c in 0..N {
                                sums[r][c] = vdotq_laneq_s32::<$j>(sums[r][c], w, x[c]);
                            }
                        }
                    )*};
                }
                step!(0 1 2 3);
            };
            if R == 2 && N == 4 && x.k() > 0 {
                // The same type, which generic code cannot say.
                return std::mem::transmute_copy(&multiply::<C>([tiles[0], tiles[R - 1]], x, c0, side));
            }
            chain::<Self, C, R, N>(tiles, x, c0, side, add, |_| {})
        }
    }
}

/// A Cortex-A76 has a second-level cache of 256 KiB or more (512 in a Raspberry Pi 5) to itself.
pub(crate) const PANEL_BYTES: usize = 256 << 10;
/// 64 rows.
pub(crate) const PANEL_TILES: usize = 16;

/// [`Dot::bias`] of tiers with dot products: what one lane of a row's sums starts from; with sub-scales, one per
/// half.
pub(crate) fn bias(codes: Codes, low: i32, high: i32) -> [i32; 2] {
    if codes.max_scale == 0 {
        [codes.bias(low + high); 2]
    } else {
        [-codes.offset * low, -codes.offset * high]
    }
}

/// [`Dot::sum`] of tiers with dot products.
///
/// # Safety
/// The CPU has `dotprod`; the group of `x` exists.
#[inline(always)]
pub(crate) unsafe fn sum(codes: Codes, tile: &Tile, x: &Column<'_>) -> float32x4_t {
    // SAFETY: the caller's.
    unsafe {
        let (q, start) = (x.q(), &x.side().start);
        if codes.max_scale == 0 {
            let pairs = each!(2, _p => copies(start));
            let row = each!(4, r => {
                vdotq_s32(vdotq_s32(pairs[r / 2][r % 2], tile.codes[r][0], q[0]), tile.codes[r][1], q[1])
            });
            let isum = vpaddq_s32(vpaddq_s32(row[0], row[1]), vpaddq_s32(row[2], row[3]));
            return to_float(codes, isum);
        }
        if codes.fits(16) {
            // Half sums fit an i16. Their parts are added modulo 2^16, so what those start from may be any number.
            let halves = each!(4, r => {
                let start = copies(start);
                each!(2, h => vreinterpretq_s16_s32(vdotq_s32(start[h], tile.codes[r][h], q[h])))
            });
            let row = each!(4, r => vuzp1q_s16(halves[r][0], halves[r][1]));
            let sums = vpaddq_s16(vpaddq_s16(row[0], row[1]), vpaddq_s16(row[2], row[3]));
            let low = vmull_s16(vget_low_s16(sums), vget_low_s16(tile.s));
            return vcvtq_f32_s32(vpaddq_s32(low, vmull_high_s16(sums, tile.s)));
        }
        let row = each!(4, r => {
            let start = copies(start);
            let half = each!(2, h => vdotq_s32(start[h], tile.codes[r][h], q[h]));
            vpaddq_s32(half[0], half[1])
        });
        // Both halves of row 0, both halves of row 1.
        let low = vmulq_s32(vpaddq_s32(row[0], row[1]), vmovl_s16(vget_low_s16(tile.s)));
        let high = vmulq_s32(vpaddq_s32(row[2], row[3]), vmovl_high_s16(tile.s));
        vcvtq_f32_s32(vpaddq_s32(low, high))
    }
}

/// [`Dot::gemv`] of tiers with dot products, for formats with [`TileFormat::CODES32`].
///
/// # Safety
/// The CPU has `dotprod`; the rest as for [`Dot::gemv`].
#[inline(always)]
pub(crate) unsafe fn blocks32<F: TileFormat>(
    w: &Matrix<'_>,
    x: &QuantizedRows<'_>,
    y: &mut MatMut<'_>,
    side: *const Side,
) -> usize {
    if F::CODES32.is_none() || x.k() == 0 {
        return 0;
    }
    let row = |r: usize| w.data().as_ptr().wrapping_add(r * w.stride());
    let mut r0 = 0;
    // 4 rows or less are left to the general loop.
    while w.rows() - r0 > MR {
        // Past the last row the last row is repeated and its results are not stored.
        let rows = each!(8, i => row((r0 + i).min(w.rows() - 1)));
        // SAFETY: the caller's; row r0 + MR exists.
        unsafe {
            let acc = gemv::gemv::<F>(rows, row(r0 + ROWS), x, side);
            store(&[acc[0]], y, r0, 0);
            store(&[acc[1]], y, r0 + MR, 0);
        }
        r0 = w.rows().min(r0 + ROWS);
    }
    r0
}

/// Sub-scales of a packed tile, see [`Tile::s`].
#[inline(always)]
pub(crate) fn split_halves(s: int16x8_t) -> int16x8_t {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe {
        let half = |s| narrow_f16(vcvtq_f32_s32(vmovl_s16(s)));
        vcombine_s16(half(vget_low_s16(vuzp1q_s16(s, s))), half(vget_low_s16(vuzp2q_s16(s, s))))
    }
}

/// [`Dot::multiply`] of tiers with dot products: `add` adds to the sums of half `h` of a group its products, given the 16
/// activations of each column; `rows` makes lanes rows, where they are not.
///
/// # Safety
/// As [`Dot::multiply`].
#[inline(always)]
pub(crate) unsafe fn chain<D: Dot, C: Class, const R: usize, const N: usize>(
    tiles: [*const Tile; R],
    x: &QuantizedRows<'_>,
    c0: usize,
    side: *const f32,
    add: impl Fn([&Tile; R], usize, [int8x16_t; N], &mut [[int32x4_t; N]; R]),
    rows: impl Fn(&mut [[int32x4_t; N]; R]),
) -> [[float32x4_t; N]; R] {
    let groups = x.k() / GROUP;
    let sub_scales = C::CODES.max_scale != 0;
    // SAFETY: c0 + N columns of `groups` groups exist; NEON is part of the aarch64 baseline.
    unsafe {
        let start = [[if sub_scales { 0 } else { C::CODES.bias(0) }; 4]; 2];
        let begin = || {
            let mut sums = [[vdupq_n_s32(start[0][0]); N]; R];
            for row in &mut sums {
                for pair in row.chunks_exact_mut(2) {
                    pair.copy_from_slice(&copies(&start));
                }
            }
            sums
        };
        let mut acc = [[vdupq_n_f32(0.0); N]; R];
        let mut tiles = tiles;
        let mut q: [*const i8; N] = std::array::from_fn(|c| x.q.as_ptr().add((c0 + c) * groups * GROUP));
        for g in 0..groups {
            let tile: [&Tile; R] = tiles.map(|t| &*t);
            let (mut low, mut high) = ([vdupq_n_s8(0); N], [vdupq_n_s8(0); N]);
            for c in 0..N {
                [low[c], high[c]] = next_pair(&mut q[c]);
            }
            let mut isum = [[vdupq_n_f32(0.0); N]; R];
            let mut sums = begin();
            add(tile, 0, low, &mut sums);
            if sub_scales {
                let mut second = begin();
                rows(&mut sums);
                add(tile, 1, high, &mut second);
                rows(&mut second);
                for r in 0..R {
                    let s = vreinterpretq_u16_s16(tile[r].s);
                    let s = (widen_f16(vget_low_u16(s)), widen_f16(vget_high_u16(s)));
                    for c in 0..N {
                        // Exact: the whole sum is below 2^24.
                        let half = (vcvtq_f32_s32(sums[r][c]), vcvtq_f32_s32(second[r][c]));
                        isum[r][c] = vfmaq_f32(vmulq_f32(half.0, s.0), half.1, s.1);
                    }
                }
            } else {
                add(tile, 1, high, &mut sums);
                rows(&mut sums);
                for r in 0..R {
                    for c in 0..N {
                        isum[r][c] = to_float(C::CODES, sums[r][c]);
                    }
                }
            }
            let d = scales::<D, N>(side, g);
            for c in 0..N {
                for r in 0..R {
                    acc[r][c] = vfmaq_f32(acc[r][c], vmulq_n_f32(tile[r].d, d[c]), isum[r][c]);
                }
            }
            tiles = tiles.map(|t| t.add(1));
        }
        acc
    }
}
