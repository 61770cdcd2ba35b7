//! The exact integer dot product of a tile with one activation group, and its `neon` version.
//!
//! Instructions per 4 x 32 weights and column, and the two NEON pipes of a Cortex-A72 that run them (its three decoders
//! and its load unit are never the limit). Without sub-scales, codes up to 63:
//!
//! | instruction | count | pipe | note |
//! |---|---|---|---|
//! | smull, smlal, smlal2 | 16 | F0 | 8 products each: the bound of 8 multiply-adds per cycle |
//! | saddlp | 4 | either | four products of codes up to 63 fit an i16, so one widening per row |
//! | addp | 3 | either | the lanes of four rows become one vector of four sums |
//! | add, fsub | 2 | either | i32 to f32 for sums below 2^22, see [`to_float`]; `scvtf` would take 2 cycles of F0 |
//! | fmul, fmla | 2 | either | the float step, lanes are rows |
//!
//! Codes above 63 fit twice in an i16 (-128 * 127 * 2 = -32512) and take four more `sadalp`.

use super::columns::{Column, Side, columns};
use super::gemm::Pass;
use super::load::each;
use super::tile::{Class, Codes, Tile, TileFormat};
use crate::format::GROUP;
use crate::matrix::{MatMut, Matrix, QuantizedRows};
use std::arch::aarch64::*;

/// How codes and activations are multiplied and summed: all in which the tiers of aarch64 differ.
///
/// # Safety
/// Of all functions: the CPU has the tier's instructions.
pub(crate) trait Dot {
    /// Aim for panels of this size.
    const PANEL_BYTES: usize;
    /// More rows of tiles than this per panel save too little.
    const PANEL_TILES: usize;
    /// Whether CPUs of this tier look up bytes in a table as fast as they do anything else.
    const TABLES: bool;
    /// From this many columns on, unpacking once pays.
    const GEMM_FROM: usize;
    /// Columns per pass over the panel: at most 8.
    const COLUMNS: usize;
    /// Rows of tiles that a pass multiplies at once.
    const TILES: usize;
    /// Fewer columns than this take columns before them along; below [`Dot::GEMM_FROM`].
    const LEAST: usize = 1;

    /// What [`Dot::sum`] adds to the sums of one group whose half sums of activations are `low` and `high`, so that the
    /// codes' offset and [`Codes::magic`] need no instruction of their own.
    fn bias(codes: Codes, low: i32, high: i32) -> [i32; 2];

    /// The integer sum of contract section 2 for 4 rows and one column, as f32, of a tile as formats load it.
    ///
    /// # Safety
    /// The tier's; the group of `x` exists.
    unsafe fn sum(codes: Codes, tile: &Tile, x: &Column<'_>) -> float32x4_t;

    /// The chains of contract section 2 for the first rows of `w` and one column, by a loop of its own where the tier has
    /// one for the format. How many rows it did.
    ///
    /// # Safety
    /// The tier's, and those of [`super::matmul::matmul`]; `side` is filled for the column.
    unsafe fn gemv<F: TileFormat>(
        _w: &Matrix<'_>,
        _x: &QuantizedRows<'_>,
        _y: &mut MatMut<'_>,
        _side: *const Side,
    ) -> usize {
        0
    }

    /// Rearranges a tile of signed codes for [`Dot::multiply`].
    fn pack(tile: Tile) -> Tile {
        tile
    }

    /// All columns of `pass` over all of its tiles, by calls of [`Pass::run`].
    ///
    /// # Safety
    /// The tier's, and those of [`Pass::run`].
    unsafe fn pass<C: Class>(pass: &mut Pass<'_, '_>);

    /// The chain of contract section 2 without mins, for `R` rows of packed tiles and `N` columns from `c0` on, whose
    /// scales are also [`super::gemm::scales`].
    ///
    /// # Safety
    /// The tier's; each of `tiles` points to as many tiles as `x` has groups; the columns exist and `side` is filled for them.
    unsafe fn multiply<C: Class, const R: usize, const N: usize>(
        tiles: [*const Tile; R],
        x: &QuantizedRows<'_>,
        c0: usize,
        side: *const f32,
    ) -> [[float32x4_t; N]; R];
}

/// ARMv8.0: `smull` and `smlal`.
pub(crate) struct Neon;

impl Dot for Neon {
    /// Half of a Cortex-A72's second-level cache is for the panels of its four cores.
    const PANEL_BYTES: usize = 128 << 10;
    const PANEL_TILES: usize = 8;
    const TABLES: bool = false;
    /// By counted instructions, it costs as much as it saves at 4 columns.
    const GEMM_FROM: usize = 3;
    const COLUMNS: usize = 8;
    const TILES: usize = 1;

    fn bias(codes: Codes, low: i32, high: i32) -> [i32; 2] {
        [codes.bias(low + high); 2]
    }

    #[inline(always)]
    unsafe fn sum(codes: Codes, tile: &Tile, x: &Column<'_>) -> float32x4_t {
        // SAFETY: the caller's.
        unsafe { to_float(codes, isum(codes, tile, x.q(), x.sums(), x.side().start[0][0])) }
    }

    unsafe fn pass<C: Class>(pass: &mut Pass<'_, '_>) {
        for t in 0..pass.tiles {
            // SAFETY: the caller's.
            unsafe {
                match pass.n {
                    8 => pass.run::<Neon, C, 1, 8>(t),
                    4 => pass.run::<Neon, C, 1, 4>(t),
                    2 => pass.run::<Neon, C, 1, 2>(t),
                    _ => pass.run::<Neon, C, 1, 1>(t),
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply<C: Class, const R: usize, const N: usize>(
        tiles: [*const Tile; R],
        x: &QuantizedRows<'_>,
        c0: usize,
        _: *const f32,
    ) -> [[float32x4_t; N]; R] {
        const { assert!(R == 1) }
        // SAFETY: the caller's; NEON is part of the aarch64 baseline. The side is not read.
        unsafe {
            let mut acc = [[vdupq_n_f32(0.0); N]; R];
            for g in 0..x.k() / GROUP {
                let tile = &*tiles[0].add(g);
                let mut at = Column::new(x, c0, g, std::ptr::null());
                columns!(N, c => {
                    let isum = isum(C::CODES, tile, at.q(), at.sums(), C::CODES.bias(0));
                    let scale = vmulq_n_f32(tile.d, at.d());
                    acc[0][c] = vfmaq_f32(acc[0][c], scale, to_float(C::CODES, isum));
                    at.next(acc[0][c]);
                });
            }
            acc
        }
    }
}

/// `isum as f32` of `isum + codes.magic()`.
///
/// Below 2^22 in size, an integer added to the bits of 1.5 * 2^23 gives the float 1.5 * 2^23 + isum, exactly.
#[inline(always)]
pub(crate) fn to_float(codes: Codes, isum: int32x4_t) -> float32x4_t {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe {
        if codes.small() {
            vsubq_f32(vreinterpretq_f32_s32(isum), vdupq_n_f32(12_582_912.0))
        } else {
            vcvtq_f32_s32(isum)
        }
    }
}

/// Products of 16 codes and activations, two per i16.
#[inline(always)]
fn products(w: int8x16_t, x: int8x16_t) -> int16x8_t {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe { vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x) }
}

/// The sum of one row's 32 products in four i32.
#[inline(always)]
fn row_sum(codes: Codes, w: [int8x16_t; 2], x: [int8x16_t; 2]) -> int32x4_t {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe {
        if codes.fits(4) {
            let low = vmlal_s8(products(w[0], x[0]), vget_low_s8(w[1]), vget_low_s8(x[1]));
            vpaddlq_s16(vmlal_high_s8(low, w[1], x[1]))
        } else {
            vpadalq_s16(vpaddlq_s16(products(w[0], x[0])), products(w[1], x[1]))
        }
    }
}

/// The sums of both halves of two rows, `[row 0 half 0, row 0 half 1, row 1 half 0, row 1 half 1]`.
#[inline(always)]
fn half_sums(codes: Codes, w: [[int8x16_t; 2]; 2], x: [int8x16_t; 2]) -> int32x4_t {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe {
        let p = each!(2, r => each!(2, h => products(w[r][h], x[h])));
        if codes.fits(8) {
            vpaddlq_s16(vpaddq_s16(vpaddq_s16(p[0][0], p[0][1]), vpaddq_s16(p[1][0], p[1][1])))
        } else if codes.fits(4) {
            let row = each!(2, r => vpaddlq_s16(vpaddq_s16(p[r][0], p[r][1])));
            vpaddq_s32(row[0], row[1])
        } else {
            let row = each!(2, r => vpaddq_s32(vpaddlq_s16(p[r][0]), vpaddlq_s16(p[r][1])));
            vpaddq_s32(row[0], row[1])
        }
    }
}

/// The integer sum of contract section 2 for 4 rows and one column, ready for [`to_float`].
///
/// `x`: the 32 activations; `sums`: their two half sums, `sum_0 | sum_1 << 16`; `bias`: [`Codes::bias`], which formats
/// without sub-scales take their offset from.
#[inline(always)]
pub(crate) fn isum(codes: Codes, t: &Tile, x: [int8x16_t; 2], sums: i32, bias: i32) -> int32x4_t {
    // SAFETY: NEON is part of the aarch64 baseline; the assembly is empty.
    unsafe {
        if codes.max_scale == 0 {
            let row = each!(4, r => row_sum(codes, t.codes[r], x));
            let mut isum = vpaddq_s32(vpaddq_s32(row[0], row[1]), vpaddq_s32(row[2], row[3]));
            // Or else the compiler takes addp apart to add the bias to one half of it first.
            std::arch::asm!("/* {0:v} */", inout(vreg) isum, options(pure, nomem, nostack, preserves_flags));
            return if codes.offset == 0 && !codes.small() {
                isum
            } else {
                vaddq_s32(isum, vdupq_n_s32(bias))
            };
        }
        let sums = vreinterpretq_s16_s32(vdupq_n_s32(sums));
        let isum = if codes.fits(16) {
            // Half sums fit an i16: one vector of both halves of all rows, then sub-scales.
            let row = each!(4, r => vpaddq_s16(products(t.codes[r][0], x[0]), products(t.codes[r][1], x[1])));
            let mut halves = vpaddq_s16(vpaddq_s16(row[0], row[1]), vpaddq_s16(row[2], row[3]));
            if codes.offset != 0 {
                halves = vsubq_s16(halves, vmulq_n_s16(sums, codes.offset as i16));
            }
            let low = vmull_s16(vget_low_s16(halves), vget_low_s16(t.s));
            vpaddq_s32(low, vmull_high_s16(halves, t.s))
        } else {
            let mut low = half_sums(codes, [t.codes[0], t.codes[1]], x);
            let mut high = half_sums(codes, [t.codes[2], t.codes[3]], x);
            if codes.offset != 0 {
                let offset = vmulq_n_s32(vmovl_s16(vget_low_s16(sums)), codes.offset);
                (low, high) = (vsubq_s32(low, offset), vsubq_s32(high, offset));
            }
            let s = (vmovl_s16(vget_low_s16(t.s)), vmovl_high_s16(t.s));
            vpaddq_s32(vmulq_s32(low, s.0), vmulq_s32(high, s.1))
        };
        if codes.small() { vaddq_s32(isum, vdupq_n_s32(codes.magic())) } else { isum }
    }
}
