//! The arithmetic of contract section 2 with `smmla`, for any signed codes: its sums of eight products are exact in i32.
//!
//! Tiles are rearranged into pairs of rows as they are unpacked; pairs of columns are interleaved as they are loaded. The
//! 2 x 2 blocks of sums are taken apart before the float step, so that lanes are rows again. Instructions per 8 x 32
//! weights times 4 columns (1024 multiply-adds), without sub-scales:
//!
//! | instruction | count | note |
//! |---|---|---|
//! | smmla | 32 | 32 multiply-adds each |
//! | zip | 8 | columns into pairs |
//! | mov | 8 | sums start from the bits of 1.5 * 2^23 |
//! | uzp | 8 | lanes are rows |
//! | fsub, fmul, fmla | 24 | the float step |
//! | ldp, ldr | 17 | 16 weights' vectors, 8 of activations, the scales |

#![allow(clippy::needless_range_loop, reason = "row and column index several arrays at once")]

use super::instructions::vmmlaq_s32;
use crate::aarch64::dotprod::dot::{PANEL_BYTES, PANEL_TILES, bias, blocks32, chain, split_halves, sum};
use crate::aarch64::neon::columns::{Column, Side};
use crate::aarch64::neon::dot::Dot;
use crate::aarch64::neon::gemm::Pass;
use crate::aarch64::neon::load::each;
use crate::aarch64::neon::tile::{Class, Codes, Tile, TileFormat};
use crate::matrix::{MatMut, Matrix, QuantizedRows};
use std::arch::aarch64::*;

/// ARMv8.6 matrix multiplication, and ARMv8.2 dot products for single columns.
pub(crate) struct I8mm;

impl Dot for I8mm {
    const PANEL_BYTES: usize = PANEL_BYTES;
    const PANEL_TILES: usize = PANEL_TILES;
    const TABLES: bool = true;
    const GEMM_FROM: usize = 3;
    const COLUMNS: usize = 4;
    const TILES: usize = 2;
    const LEAST: usize = 2;

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
        // Vector `[2h + i][p]` gets weights `16h + 8i ..` of rows `2p` and `2p + 1`.
        let halves = each!(2, h => {
            let pairs = each!(2, p => zip(tile.codes[2 * p][h], tile.codes[2 * p + 1][h]));
            each!(2, i => each!(2, p => pairs[p][i]))
        });
        let codes = each!(4, j => halves[j / 2][j % 2]);
        Tile { codes, s: split_halves(tile.s), ..tile }
    }

    unsafe fn pass<C: Class>(pass: &mut Pass<'_, '_>) {
        for t in (0..pass.tiles).step_by(2) {
            // SAFETY: the caller's.
            unsafe {
                match (pass.tiles - t, pass.n) {
                    (1, 4) => pass.run::<I8mm, C, 1, 4>(t),
                    (1, _) => pass.run::<I8mm, C, 1, 2>(t),
                    (_, 4) => pass.run::<I8mm, C, 2, 4>(t),
                    (_, _) => pass.run::<I8mm, C, 2, 2>(t),
                }
            }
        }
    }

    /// `N` is even. The sums of columns `c` and `c + 1` are at first those of rows 0 and 1 times both columns, and those of
    /// rows 2 and 3.
    #[inline(always)]
    unsafe fn multiply<C: Class, const R: usize, const N: usize>(
        tiles: [*const Tile; R],
        x: &QuantizedRows<'_>,
        c0: usize,
        side: *const f32,
    ) -> [[float32x4_t; N]; R] {
        const { assert!(N.is_multiple_of(2)) }
        let add = |tiles: [&Tile; R], h: usize, x: [int8x16_t; N], sums: &mut [[int32x4_t; N]; R]| {
            for c in (0..N).step_by(2) {
                let x = zip(x[c], x[c + 1]);
                for i in 0..2 {
                    for r in 0..R {
                        for p in 0..2 {
                            // SAFETY: the caller's tier.
                            unsafe {
                                sums[r][c + p] =
                                    vmmlaq_s32(sums[r][c + p], tiles[r].codes[2 * h + i][p], x[i])
                            };
                        }
                    }
                }
            }
        };
        let rows = |sums: &mut [[int32x4_t; N]; R]| {
            for row in sums {
                for c in (0..N).step_by(2) {
                    let (top, bottom) = (row[c], row[c + 1]);
                    // SAFETY: NEON is part of the aarch64 baseline.
                    [row[c], row[c + 1]] = unsafe { [vuzp1q_s32(top, bottom), vuzp2q_s32(top, bottom)] };
                }
            }
        };
        // SAFETY: the caller's tier, tiles and columns.
        unsafe { chain::<Self, C, R, N>(tiles, x, c0, side, add, rows) }
    }
}

/// The first 8 bytes of both, and the last.
#[inline(always)]
fn zip(a: int8x16_t, b: int8x16_t) -> [int8x16_t; 2] {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe {
        let (a, b) = (vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b));
        [vreinterpretq_s8_s64(vzip1q_s64(a, b)), vreinterpretq_s8_s64(vzip2q_s64(a, b))]
    }
}
