//! How each K-quant loads into a [`Tile`]. Scales and mins are decoded once per super-block, for four rows at once.

#![allow(non_camel_case_types, reason = "the names are the field's own")]

use super::formats::{no_mins, tile};
use super::load::{
    bytes, each, f16, field, float, insert, insert_masked, kept_byte, nibbles_above, nibbles_below,
    transpose_pairs, transpose_words, widen_f16,
};
use super::tile::{Kept, MR, Rows, Short, SixSub, Tile, TileFormat, TinySub};
use crate::Format;
use crate::format::Mins;
use std::arch::aarch64::*;

/// Scale and min of every group of a super-block of Q4_K or Q5_K, lanes are rows.
#[derive(Clone, Copy)]
pub(crate) struct ScalesMins {
    d: [float32x4_t; 8],
    m: [float32x4_t; 8],
}

/// `d: f16, dmin: f16, scales: [u8; 12]` at the start of the block.
///
/// With the words of `scales` transposed to one vector each, byte `j` of every lane is sub-block `j`'s (`4 + j`'s).
#[inline(always)]
unsafe fn scales_mins(rows: &Rows) -> ScalesMins {
    // SAFETY: 16 bytes of the block; NEON is part of the aarch64 baseline.
    unsafe {
        let [halves, a, b, c] = transpose_words(each!(4, r => bytes(rows, r, 0)));
        let d = widen_f16(vmovn_u32(halves));
        let dmin = vnegq_f32(widen_f16(vshrn_n_u32::<16>(halves)));
        let low = |v| vandq_u32(v, vdupq_n_u32(0x3f3f_3f3f));
        let top = |v| vandq_u32(vshrq_n_u32::<2>(v), vdupq_n_u32(0x3030_3030));
        let nibble = |v| vandq_u32(v, vdupq_n_u32(0x0f0f_0f0f));
        let scales = [low(a), vorrq_u32(nibble(c), top(a))];
        let mins = [low(b), vorrq_u32(nibble(vshrq_n_u32::<4>(c)), top(b))];
        // Converting takes the place of a byte as a fraction's, so none but the last is shifted.
        let byte = |v: uint32x4_t, j: usize| match j {
            0 => float(vandq_u32(v, vdupq_n_u32(0xff))),
            1 => vcvtq_n_f32_u32::<8>(vandq_u32(v, vdupq_n_u32(0xff00))),
            2 => vcvtq_n_f32_u32::<16>(vandq_u32(v, vdupq_n_u32(0xff_0000))),
            _ => float(vshrq_n_u32::<24>(v)),
        };
        ScalesMins {
            d: each!(8, g => vmulq_f32(d, byte(scales[g / 4], g % 4))),
            m: each!(8, g => vmulq_f32(dmin, byte(mins[g / 4], g % 4))),
        }
    }
}

/// `…, qs: [[u8; 32]; 4]`, `w = d * sc * q - dmin * min`.
pub(crate) struct Q4_K;
impl TileFormat for Q4_K {
    const MINS: Mins = Mins::Per32;
    const LEN: usize = 256;
    const BYTES: usize = Format::Q4_K.block_bytes();
    const PARTS: usize = 2;
    const MAX: i32 = 15;
    type Signed = Short;
    type Block = ScalesMins;
    #[inline(always)]
    unsafe fn block(rows: &Rows, _: Format) -> ScalesMins {
        // SAFETY: the caller's.
        unsafe { scales_mins(rows) }
    }
    #[inline(always)]
    unsafe fn load(rows: &Rows, block: &ScalesMins, _: &mut Kept, g: usize, part: usize) -> Tile {
        let codes = each!(4, r => {
            // SAFETY: bytes 16.. of the block hold 32 bytes per pair of groups.
            each!(2, h => field(unsafe { bytes(rows, r, 16 + 32 * (g / 2) + 16 * h) }, 4 * part, 15))
        });
        tile(codes, block.d[g], block.m[g])
    }
}

/// `…, qh: [u8; 32], qs: [[u8; 32]; 4]`, `w = d * sc * q - dmin * min`.
pub(crate) struct Q5_K;
impl TileFormat for Q5_K {
    const MINS: Mins = Mins::Per32;
    const LEN: usize = 256;
    const BYTES: usize = Format::Q5_K.block_bytes();
    const PARTS: usize = 8;
    const MAX: i32 = 31;
    type Signed = Short;
    type Block = ScalesMins;
    #[inline(always)]
    unsafe fn block(rows: &Rows, _: Format) -> ScalesMins {
        // SAFETY: the caller's.
        unsafe { scales_mins(rows) }
    }
    #[inline(always)]
    unsafe fn load(rows: &Rows, block: &ScalesMins, _: &mut Kept, g: usize, part: usize) -> Tile {
        let codes = each!(4, r => {
            // SAFETY: the block has 32 bytes at 16, and 32 bytes per pair of groups from 48.
            each!(2, h => unsafe {
                let low = field(bytes(rows, r, 48 + 32 * (g / 2) + 16 * h), 4 * (part % 2), 15);
                insert(low, bytes(rows, r, 16 + 16 * h), 4 - part as i32, 1 << 4)
            })
        });
        tile(codes, block.d[g], block.m[g])
    }
}

/// Sub-scale pairs of every group (transposed, still packed), and the f16 scales of the rows.
#[derive(Clone, Copy)]
pub(crate) struct SubScales {
    pub pairs: [uint8x8_t; 8],
    pub d: float32x4_t,
    pub dmin: float32x4_t,
}

/// A tile whose sub-scales are the signed bytes of `pairs`.
#[inline(always)]
pub(super) fn sub_scaled(codes: [[uint8x16_t; 2]; MR], pairs: uint8x8_t, d: float32x4_t) -> Tile {
    // SAFETY: NEON is part of the aarch64 baseline.
    let s = unsafe { vmovl_s8(vreinterpret_s8_u8(pairs)) };
    Tile { s, ..tile(codes, d, no_mins()) }
}

/// `ql: [[u8; 64]; 2], qh: [[u8; 32]; 2], scales: [i8; 16], d: f16`, `w = d * sc * (q - 32)`.
pub(crate) struct Q6_K;
impl TileFormat for Q6_K {
    const MAX_SCALE: i32 = 128;
    const LEN: usize = 256;
    const BYTES: usize = Format::Q6_K.block_bytes();
    const PARTS: usize = 4;
    const PAIRED: bool = true;
    const MAX: i32 = 63;
    const OFFSET: i32 = 32;
    type Signed = SixSub;
    /// And the mask of what two parts keep.
    type Block = (SubScales, uint8x16_t);
    #[inline(always)]
    unsafe fn block(rows: &Rows, _: Format) -> Self::Block {
        // SAFETY: 16 bytes at 192 and 2 at 208.
        unsafe {
            let pairs = transpose_pairs(each!(4, r => bytes(rows, r, 192)));
            (SubScales { pairs, d: f16(rows, 208), dmin: no_mins() }, kept_byte::<0x33>())
        }
    }
    /// One `and` leaves the high pairs of two parts, each at bit 0 of a nibble; `sli` and `sri` put the low nibbles beside them.
    #[inline(always)]
    unsafe fn load(
        rows: &Rows,
        (scales, mask): &Self::Block,
        kept: &mut Kept,
        g: usize,
        part: usize,
    ) -> Tile {
        let codes = each!(4, r => {
            // SAFETY: each half of 128 weights has 64 bytes of low nibbles and 32 of high pairs; NEON is part of the
            // aarch64 baseline.
            each!(2, h => unsafe {
                let low = bytes(rows, r, 64 * (g / 4) + 32 * (part % 2) + 16 * h);
                if part < 2 {
                    let high = bytes(rows, r, 128 + 32 * (g / 4) + 16 * h);
                    let high = if part == 0 { high } else { vshrq_n_u8::<2>(high) };
                    kept[r][h] = vandq_u8(high, *mask);
                    nibbles_above(low, kept[r][h])
                } else {
                    nibbles_below(kept[r][h], low)
                }
            })
        });
        sub_scaled(codes, scales.pairs[g], scales.d)
    }
}

/// `scales: [u8; 16], qs: [[u8; 32]; 2], d: f16, dmin: f16`, `w = d * sc * q - dmin * min`.
pub(crate) struct Q2_K;
impl TileFormat for Q2_K {
    const MINS: Mins = Mins::Per16;
    const MAX_SCALE: i32 = 15;
    const LEN: usize = 256;
    const BYTES: usize = Format::Q2_K.block_bytes();
    const PARTS: usize = 4;
    const MAX: i32 = 3;
    type Signed = TinySub;
    type Block = SubScales;
    #[inline(always)]
    unsafe fn block(rows: &Rows, _: Format) -> SubScales {
        // SAFETY: 16 bytes at 0 and 4 at 80; NEON is part of the aarch64 baseline.
        unsafe {
            let pairs = transpose_pairs(each!(4, r => bytes(rows, r, 0)));
            SubScales { pairs, d: f16(rows, 80), dmin: vnegq_f32(f16(rows, 82)) }
        }
    }
    #[inline(always)]
    unsafe fn load(rows: &Rows, block: &SubScales, _: &mut Kept, g: usize, part: usize) -> Tile {
        let codes = each!(4, r => {
            // SAFETY: each half of 128 weights has 32 bytes.
            each!(2, h => field(unsafe { bytes(rows, r, 16 + 32 * (g / 4) + 16 * h) }, 2 * part, 3))
        });
        // SAFETY: NEON is part of the aarch64 baseline.
        unsafe {
            let pairs = block.pairs[g];
            // In the 16 bits of a row: scale, min of half 0, scale, min of half 1.
            let both = vreinterpret_u16_u8(pairs);
            let low = vand_u16(vshr_n_u16::<4>(both), vdup_n_u16(15));
            let m = [low, vshr_n_u16::<12>(both)];
            let m = each!(2, h => vmulq_f32(block.dmin, float(vmovl_u16(m[h]))));
            Tile { m, ..sub_scaled(codes, vand_u8(pairs, vdup_n_u8(15)), block.d) }
        }
    }
}

/// `hmask: [u8; 32], qs: [[u8; 32]; 2], scales: [u8; 12], d: f16`, `w = d * (sc - 32) * (q - 4)`.
pub(crate) struct Q3_K;
impl TileFormat for Q3_K {
    const MAX_SCALE: i32 = 32;
    const LEN: usize = 256;
    const BYTES: usize = Format::Q3_K.block_bytes();
    const PARTS: usize = 8;
    const PAIRED: bool = true;
    const MAX: i32 = 7;
    const OFFSET: i32 = 4;
    type Signed = TinySub;
    /// And the masks of [`TileFormat::load_by_tables`].
    type Block = (SubScales, [uint8x16_t; 3]);
    #[inline(always)]
    unsafe fn block(rows: &Rows, _: Format) -> Self::Block {
        // SAFETY: the last 16 bytes of the block, of which the first 2 are codes; NEON is part of the aarch64 baseline.
        unsafe {
            let [_, a, b, c, d, e, f, scale] = transpose_pairs(each!(4, r => bytes(rows, r, 94)));
            // Bytes 0..4 of every row, 4..8 and 8..12, in pairs.
            let [a, b, c] = [vcombine_u8(a, b), vcombine_u8(c, d), vcombine_u8(e, f)];
            let shifted = vshrq_n_u8::<2>(c);
            let six = |v| vandq_u8(v, vdupq_n_u8(0x3f));
            let scales = [
                six(nibbles_above(a, c)),
                six(nibbles_above(b, shifted)),
                insert(vshrq_n_u8::<4>(a), c, 0, 0x30),
                nibbles_below(shifted, b),
            ];
            let scales = each!(4, i => vsubq_u8(scales[i], vdupq_n_u8(32)));
            let pairs = each!(8, g => {
                let pair = scales[g / 2];
                if g.is_multiple_of(2) { vget_low_u8(pair) } else { vget_high_u8(pair) }
            });
            let scales = SubScales { pairs, d: widen_f16(vreinterpret_u16_u8(scale)), dmin: no_mins() };
            (scales, [kept_byte::<15>(), kept_byte::<0x33>(), kept_byte::<7>()])
        }
    }
    #[inline(always)]
    unsafe fn load(rows: &Rows, (block, _): &Self::Block, _: &mut Kept, g: usize, part: usize) -> Tile {
        let codes = each!(4, r => {
            // SAFETY: each half of 128 weights has 32 bytes from 32; bits 2 of all 256 are in the first 32.
            each!(2, h => unsafe {
                let low = field(bytes(rows, r, 32 + 32 * (g / 4) + 16 * h), 2 * (part % 4), 3);
                insert(low, bytes(rows, r, 16 * h), 2 - part as i32, 1 << 2)
            })
        });
        sub_scaled(codes, block.pairs[g], block.d)
    }
    /// Of the four parts in a nibble of `hmask`, a table puts the bits of two at bits 2 and 6 of a byte; one `bit` puts the low bits
    /// of both below them.
    #[inline(always)]
    unsafe fn load_by_tables(
        rows: &Rows,
        (block, masks): &Self::Block,
        kept: &mut Kept,
        g: usize,
        part: usize,
    ) -> Tile {
        /// Bits 0 and 2 of the index, bits 1 and 3.
        const BITS: [[u8; 16]; 2] = [
            [0, 4, 0, 4, 64, 68, 64, 68, 0, 4, 0, 4, 64, 68, 64, 68],
            [0, 0, 4, 4, 0, 0, 4, 4, 64, 64, 68, 68, 64, 64, 68, 68],
        ];
        let codes = each!(4, r => {
            // SAFETY: as above; constants of 16 bytes; NEON is part of the aarch64 baseline.
            each!(2, h => unsafe {
                if part % 4 < 2 {
                    let top = bytes(rows, r, 16 * h);
                    let top = if part < 4 { vandq_u8(top, masks[0]) } else { vshrq_n_u8::<4>(top) };
                    let low = bytes(rows, r, 32 + 32 * (g / 4) + 16 * h);
                    let low = if part.is_multiple_of(4) { low } else { vshrq_n_u8::<2>(low) };
                    kept[r][h] = insert_masked(vqtbl1q_u8(vld1q_u8(BITS[part % 4].as_ptr()), top), low, masks[1]);
                    vandq_u8(kept[r][h], masks[2])
                } else {
                    field(kept[r][h], 4, 15)
                }
            })
        });
        sub_scaled(codes, block.pairs[g], block.d)
    }
}
