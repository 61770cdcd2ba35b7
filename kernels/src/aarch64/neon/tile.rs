//! Four rows by 32 weights, the unit that every format loads into and that [`super::dot`] multiplies.

use super::load::each;
use crate::Format;
use crate::format::Mins;
use std::arch::aarch64::*;

/// Rows per tile: the lanes of one f32 vector.
pub(crate) const MR: usize = 4;

/// Where the same block of [`MR`] rows starts.
pub(crate) type Rows = [*const u8; MR];

/// What the first of two parts keeps for the second, of formats that are [`TileFormat::PAIRED`].
pub(crate) type Kept = [[uint8x16_t; 2]; MR];

/// 32 weights of 4 rows. Only what the format has is set and read.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Tile {
    /// Codes of each row, two halves of 16.
    pub codes: [[int8x16_t; 2]; MR],
    /// Scale of each row.
    pub d: float32x4_t,
    /// Sub-scales: both halves of row 0, both halves of row 1, ... In tiles packed for dot products they are f16: first
    /// halves of all rows, then second halves.
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

    /// Whether parts are loaded in the order 0, 2, 1, 3 of each four, as the second of each two has use for what the first keeps.
    const PAIRED: bool = false;

    /// How a block holds 32 codes after an f16 scale, where it is no more than that.
    const CODES32: Option<Codes32> = None;

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
    unsafe fn load(rows: &Rows, block: &Self::Block, kept: &mut Kept, g: usize, part: usize) -> Tile;

    /// [`TileFormat::load`] for CPUs where `tbl` costs no more than `and`: it takes three times that on a Cortex-A72.
    ///
    /// # Safety
    /// As for [`TileFormat::load`].
    #[inline(always)]
    unsafe fn load_by_tables(
        rows: &Rows,
        block: &Self::Block,
        kept: &mut Kept,
        g: usize,
        part: usize,
    ) -> Tile {
        // SAFETY: the caller's.
        unsafe { Self::load(rows, block, kept, g, part) }
    }
}

/// How 32 codes lie in a block.
#[derive(Clone, Copy)]
pub(crate) enum Codes32 {
    /// A byte each.
    Bytes,
    /// Weights 0..16 are the low nibbles, 16..32 the high ones.
    Nibbles,
    /// Such nibbles are indices into the codebook of IQ4_NL.
    Codebook,
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
    pub(crate) const fn fits(self, n: i32) -> bool {
        n * self.max * 127 <= i16::MAX as i32
    }

    /// Whether the whole sum is below 2^22, so that [`to_float`] may take the short way.
    pub(crate) const fn small(self) -> bool {
        let scale = if self.max_scale == 0 { 1 } else { self.max_scale };
        // The offset's share is bounded by the same product.
        (32 * 127 * scale) as i64 * (self.max as i64 + self.offset.unsigned_abs() as i64) < 1 << 22
    }

    /// What [`Codes::bias`] adds to a small sum: the bits of 1.5 * 2^23.
    pub(crate) const fn magic(self) -> i32 {
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
