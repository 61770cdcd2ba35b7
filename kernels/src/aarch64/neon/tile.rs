//! Four rows by 32 weights, and their exact integer dot product with one activation group.
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

use super::load::each;
use crate::Format;
use crate::format::Mins;
use std::arch::aarch64::*;

/// Rows per tile: the lanes of one f32 vector.
pub(crate) const MR: usize = 4;

/// Where the same block of [`MR`] rows starts.
pub(crate) type Rows = [*const u8; MR];

/// 32 weights of 4 rows. Only what the format has is set and read.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Tile {
    /// Codes of each row, two halves of 16.
    pub codes: [[int8x16_t; 2]; MR],
    /// Scale of each row.
    pub d: float32x4_t,
    /// Sub-scales: both halves of row 0, both halves of row 1, ...
    pub s: int16x8_t,
    /// Mins of each half; equal for one min per 32.
    pub m: [float32x4_t; 2],
}

/// How a format's blocks load into tiles on NEON.
pub(crate) trait TileFormat {
    /// Whether and how the format has mins.
    const MINS: Mins = Mins::None;
    /// The largest |sub-scale| where halves have integer sub-scales, or 0.
    const MAX_SCALE: i32 = 0;
    /// Weights per block.
    const LEN: usize;
    /// Bytes per block where they are the same for every format of this type, or 0.
    const BYTES: usize = 0;
    /// Groups of a block that [`TileFormat::load`] tells apart by its last argument.
    const PARTS: usize = 1;
    /// The largest |code|.
    const MAX: i32;
    /// `code = q + OFFSET`; taken back with the sums of the activations.
    const OFFSET: i32 = 0;

    /// The class of the codes once the offset is taken back.
    type Signed: Class;
    /// What is decoded once per block of 4 rows: scales and mins.
    type Block: Copy;

    /// Decodes what [`TileFormat::load`] needs of the block that starts at `rows`.
    ///
    /// # Safety
    /// A block of `format` is readable in each row, and this type loads that format.
    unsafe fn block(rows: &Rows, format: Format) -> Self::Block;

    /// Loads group `g` of the block that starts at `rows`; `part` is `g % PARTS`, a constant after inlining.
    ///
    /// # Safety
    /// As for [`TileFormat::block`], which returned `block`; `g < LEN / 32`.
    unsafe fn load(rows: &Rows, block: &Self::Block, g: usize, part: usize) -> Tile;
}

/// Signed codes of one size: what one GEMM kernel multiplies.
pub(crate) trait Class {
    /// Their bounds.
    const CODES: Codes;
}

macro_rules! class {
    ($(#[$doc:meta])* $name:ident, $max:literal, $max_scale:literal) => {
        $(#[$doc])*
        pub(crate) struct $name;
        impl Class for $name {
            const CODES: Codes = Codes { max: $max, offset: 0, max_scale: $max_scale };
        }
    };
}
class!(/** Codes of 4 and 5 bits. */ Short, 32, 0);
class!(/** Any byte. */ Byte, 128, 0);
class!(/** Codes of 2 and 3 bits with sub-scales. */ TinySub, 4, 32);
class!(/** Codes of 6 bits with sub-scales. */ SixSub, 32, 128);
class!(/** Any byte, with sub-scales. */ ByteSub, 128, 128);

/// What the codes of a tile are, as constants that fold away after inlining.
#[derive(Clone, Copy)]
pub(crate) struct Codes {
    /// The largest |code|.
    pub max: i32,
    /// `code = q + offset`.
    pub offset: i32,
    /// See [`TileFormat::MAX_SCALE`].
    pub max_scale: i32,
}

impl Codes {
    /// The codes as `F` loads them.
    pub(crate) const fn loaded<F: TileFormat>() -> Codes {
        Codes { max: F::MAX, offset: F::OFFSET, max_scale: F::MAX_SCALE }
    }

    /// The codes as [`Tile::signed`] leaves them.
    pub(crate) const fn signed<F: TileFormat>() -> Codes {
        let codes = F::Signed::CODES;
        // Without an offset codes lie in [-MAX, MAX]; with one, q is in [-OFFSET, MAX - OFFSET].
        assert!(if F::OFFSET > 0 { F::OFFSET <= codes.max } else { true });
        assert!(F::MAX - F::OFFSET <= codes.max && codes.offset == 0);
        assert!(F::MAX_SCALE <= codes.max_scale && (F::MAX_SCALE == 0) == (codes.max_scale == 0));
        codes
    }

    /// Whether the sum of `n` products fits an i16.
    const fn fits(self, n: i32) -> bool {
        n * self.max * 127 <= i16::MAX as i32
    }

    /// Whether the whole sum is below 2^22, so that [`to_float`] may take the short way.
    const fn small(self) -> bool {
        let scale = if self.max_scale == 0 { 1 } else { self.max_scale };
        // The offset's share is bounded by the same product.
        (32 * 127 * scale) as i64 * (self.max as i64 + self.offset.unsigned_abs() as i64) < 1 << 22
    }

    /// What [`Codes::bias`] adds to a small sum: the bits of 1.5 * 2^23.
    const fn magic(self) -> i32 {
        if self.small() { 0x4b40_0000 } else { 0 }
    }

    /// What to add to the integer sum of a group without sub-scales whose activations sum to `sum`, before [`to_float`].
    pub(crate) const fn bias(self, sum: i32) -> i32 {
        self.magic() - self.offset * sum
    }
}

impl Tile {
    /// The tile with `q` in place of `q + OFFSET`.
    #[inline(always)]
    pub(crate) fn signed<F: TileFormat>(mut self) -> Tile {
        if F::OFFSET != 0 {
            // SAFETY: NEON is part of the aarch64 baseline.
            let offset = unsafe { vdupq_n_s8(F::OFFSET as i8) };
            // SAFETY: as above.
            self.codes = each!(4, r => each!(2, h => unsafe { vsubq_s8(self.codes[r][h], offset) }));
        }
        self
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
