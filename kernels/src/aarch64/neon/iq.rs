//! How IQ1, IQ2 and IQ3 load into a [`Tile`]: entries of a codebook by scalar index and load, signs and scales four rows at
//! once.

#![allow(non_camel_case_types, reason = "the names are the field's own")]

use super::formats::{no_mins, tile};
use super::k_quants::{SubScales, sub_scaled};
use super::load::{bytes, each, f16, f16_lanes, float, transpose_pairs, words};
use super::tile::{Byte, ByteSub, Kept, MR, Rows, Short, SixSub, Tile, TileFormat};
use crate::Format;
use crate::format::grids;
use std::arch::aarch64::*;

/// Codes of each row, two halves of 16.
type CodesOfRows = [[uint8x16_t; 2]; MR];

/// Two entries of 8 weights.
#[inline(always)]
fn eights<const N: usize>(grid: &[[i8; 8]; N], a: usize, b: usize) -> uint8x16_t {
    // SAFETY: entries of 8 bytes; NEON is part of the aarch64 baseline.
    unsafe { vreinterpretq_u8_s8(vcombine_s8(vld1_s8(grid[a].as_ptr()), vld1_s8(grid[b].as_ptr()))) }
}

/// Four entries of 4 weights.
#[inline(always)]
fn fours<const N: usize>(grid: &[[i8; 4]; N], at: [usize; 4]) -> uint8x16_t {
    let word = each!(4, i => u64::from(u32::from_le_bytes(grid[at[i]].map(|q| q as u8))));
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe { vcombine_u8(vcreate_u8(word[0] | word[1] << 32), vcreate_u8(word[2] | word[3] << 32)) }
}

/// The byte at `offset` of a row, as an index.
///
/// # Safety
/// It is readable.
#[inline(always)]
unsafe fn byte(row: *const u8, offset: usize) -> usize {
    // SAFETY: the caller's.
    unsafe { row.add(offset).read() }.into()
}

/// The two bytes at `offset` of a row.
///
/// # Safety
/// They are readable.
#[inline(always)]
unsafe fn pair(row: *const u8, offset: usize) -> usize {
    // SAFETY: the caller's.
    unsafe { row.add(offset).cast::<u16>().read_unaligned() }.into()
}

/// `row`, once `before` is known.
///
/// Left alone, the compiler interleaves rows and spills their indices. The empty assembly makes the row's address depend on
/// the codes of the row before, at the cost of no instruction; the CPU overlaps the rows all the same.
#[inline(always)]
fn after(mut row: *const u8, before: uint8x16_t) -> *const u8 {
    // SAFETY: no instruction; the pointer comes out as it went in.
    unsafe {
        std::arch::asm!("/* {0} {1:v} */", inout(reg) row, in(vreg) before,
            options(pure, readonly, nostack, preserves_flags));
    }
    row
}

/// The codes with those negated whose bits are set: in `signs`, bit `i` of byte `4 * r + l` is for weight `8 * l + i` of
/// row `r`.
#[inline(always)]
fn negated(codes: CodesOfRows, signs: uint8x16_t) -> CodesOfRows {
    const fn spread(first: u8) -> [u8; 16] {
        let mut out = [first; 16];
        let mut i = 8;
        while i < 16 {
            out[i] = first + 1;
            i += 1;
        }
        out
    }
    const SPREAD: [[u8; 16]; 8] =
        [spread(0), spread(2), spread(4), spread(6), spread(8), spread(10), spread(12), spread(14)];
    const BIT: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
    // SAFETY: constants of 16 bytes; NEON is part of the aarch64 baseline.
    unsafe {
        let bit = vld1q_u8(BIT.as_ptr());
        each!(4, r => each!(2, h => {
            let minus = vtstq_u8(vqtbl1q_u8(signs, vld1q_u8(SPREAD[2 * r + h].as_ptr())), bit);
            vsubq_u8(veorq_u8(codes[r][h], minus), minus)
        }))
    }
}

/// Seven bits in each byte, with an eighth on top that makes their number even.
#[inline(always)]
fn eighth_by_parity(sevens: uint8x16_t) -> uint8x16_t {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe { vsliq_n_u8::<7>(sevens, vcntq_u8(sevens)) }
}

/// Signs and `d * (2 * sc + 1)` of words whose bits `7l..` are the signs of 8 weights, and 28-31 the scale.
#[inline(always)]
fn signs_and_scale(rest: uint32x4_t, d: float32x4_t) -> (uint8x16_t, float32x4_t) {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe {
        let mask = |mask| vdupq_n_u32(mask);
        let signs = vandq_u32(rest, mask(0x7f));
        let signs = vbslq_u32(mask(0x7f00), vshlq_n_u32::<1>(rest), signs);
        let signs = vbslq_u32(mask(0x7f_0000), vshlq_n_u32::<2>(rest), signs);
        let signs = vbslq_u32(mask(0x7f00_0000), vshlq_n_u32::<3>(rest), signs);
        let scale = vmulq_f32(d, odd(vshrq_n_u32::<28>(rest)));
        (eighth_by_parity(vreinterpretq_u8_u32(signs)), scale)
    }
}

/// `2 * v + 1` as floats.
#[inline(always)]
fn odd(v: uint32x4_t) -> float32x4_t {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe { float(vorrq_u32(vshlq_n_u32::<1>(v), vdupq_n_u32(1))) }
}

/// `2 * v + 1` in every byte.
#[inline(always)]
fn odd_bytes(v: uint8x16_t) -> uint8x16_t {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe { vorrq_u8(vshlq_n_u8::<1>(v), vdupq_n_u8(1)) }
}

/// `f16` at the start of each row, times `factor`: a power of two.
#[inline(always)]
unsafe fn scaled(rows: &Rows, factor: f32) -> float32x4_t {
    // SAFETY: the caller's block; NEON is part of the aarch64 baseline.
    unsafe { vmulq_n_f32(f16(rows, 0), factor) }
}

/// The sub-scales of IQ2_XS and IQ2_S: a nibble for each half in the 8 bytes at `offset`.
#[inline(always)]
unsafe fn nibble_scales(rows: &Rows, offset: usize) -> SubScales {
    // SAFETY: the caller's 8 bytes; NEON is part of the aarch64 baseline.
    unsafe {
        let scales = each!(4, r => {
            let both = vld1_u8(rows[r].add(offset));
            let (low, high) = (vand_u8(both, vdup_n_u8(15)), vshr_n_u8::<4>(both));
            odd_bytes(vcombine_u8(vzip1_u8(low, high), vzip2_u8(low, high)))
        });
        SubScales { pairs: transpose_pairs(scales), d: scaled(rows, 0.125), dmin: no_mins() }
    }
}

/// `d: f16, qs: [([u8; 4], u32); 8]`, `w = d / 8 * (2 * sc + 1) * ±grid`.
pub(crate) struct IQ2_XXS;
impl TileFormat for IQ2_XXS {
    const LEN: usize = 256;
    const BYTES: usize = Format::IQ2_XXS.block_bytes();
    const MAX: i32 = 43;
    type Signed = Byte;
    type Block = float32x4_t;
    #[inline(always)]
    unsafe fn block(rows: &Rows, _: Format) -> float32x4_t {
        // SAFETY: the block's 66 bytes, here and below.
        unsafe { scaled(rows, 0.125) }
    }
    #[inline(always)]
    unsafe fn load(rows: &Rows, d: &float32x4_t, _: &mut Kept, g: usize, _: usize) -> Tile {
        // SAFETY: as above, g < 8.
        unsafe {
            let (signs, d) = signs_and_scale(words(rows, 6 + 8 * g), *d);
            let codes = each!(4, r => each!(2, h => {
                let at = 2 + 8 * g + 2 * h;
                eights(&grids::IQ2_XXS, byte(rows[r], at), byte(rows[r], at + 1))
            }));
            tile(negated(codes, signs), d, no_mins())
        }
    }
}

/// `d: f16, qs: [u16; 32], scales: [u8; 8]`, `w = d / 8 * (2 * sc + 1) * ±grid`.
pub(crate) struct IQ2_XS;
impl TileFormat for IQ2_XS {
    const MAX_SCALE: i32 = 31;
    const LEN: usize = 256;
    const BYTES: usize = Format::IQ2_XS.block_bytes();
    const MAX: i32 = 43;
    type Signed = ByteSub;
    type Block = SubScales;
    #[inline(always)]
    unsafe fn block(rows: &Rows, _: Format) -> SubScales {
        // SAFETY: the block's 74 bytes, here and below.
        unsafe { nibble_scales(rows, 66) }
    }
    #[inline(always)]
    unsafe fn load(rows: &Rows, block: &SubScales, _: &mut Kept, g: usize, _: usize) -> Tile {
        // SAFETY: as above, g < 8; NEON is part of the aarch64 baseline.
        unsafe {
            let qs = each!(4, r => vld1_u8(rows[r].add(2 + 8 * g)));
            let sevens = each!(2, i => {
                vshrq_n_u16::<9>(vreinterpretq_u16_u8(vcombine_u8(qs[2 * i], qs[2 * i + 1])))
            });
            let sevens = vuzp1q_u8(vreinterpretq_u8_u16(sevens[0]), vreinterpretq_u8_u16(sevens[1]));
            let codes = each!(4, r => each!(2, h => {
                let at = 2 + 8 * g + 4 * h;
                eights(&grids::IQ2_XS, pair(rows[r], at) & 511, pair(rows[r], at + 2) & 511)
            }));
            sub_scaled(negated(codes, eighth_by_parity(sevens)), block.pairs[g], block.d)
        }
    }
}

/// `d: f16, qs: [u8; 32], signs: [u8; 32], qh: [u8; 8], scales: [u8; 8]`, `w = d / 8 * (2 * sc + 1) * ±grid`.
pub(crate) struct IQ2_S;
impl TileFormat for IQ2_S {
    const MAX_SCALE: i32 = 31;
    const LEN: usize = 256;
    const BYTES: usize = Format::IQ2_S.block_bytes();
    const MAX: i32 = 43;
    type Signed = ByteSub;
    type Block = SubScales;
    #[inline(always)]
    unsafe fn block(rows: &Rows, _: Format) -> SubScales {
        // SAFETY: the block's 82 bytes, here and below.
        unsafe { nibble_scales(rows, 74) }
    }
    #[inline(always)]
    unsafe fn load(rows: &Rows, block: &SubScales, _: &mut Kept, g: usize, _: usize) -> Tile {
        // SAFETY: as above, g < 8; NEON is part of the aarch64 baseline.
        unsafe {
            let codes = each!(4, r => {
                let high = byte(rows[r], 66 + g) << 8;
                let index = |l: usize| byte(rows[r], 2 + 4 * g + l) | (high >> (2 * l)) & 0x300;
                each!(2, h => eights(&grids::IQ2_S, index(2 * h), index(2 * h + 1)))
            });
            let signs = vreinterpretq_u8_u32(words(rows, 34 + 4 * g));
            sub_scaled(negated(codes, signs), block.pairs[g], block.d)
        }
    }
}

/// `d: f16, qs: [u8; 64], rest: [u32; 8]`, `w = d / 4 * (2 * sc + 1) * ±grid`.
pub(crate) struct IQ3_XXS;
impl TileFormat for IQ3_XXS {
    const LEN: usize = 256;
    const BYTES: usize = Format::IQ3_XXS.block_bytes();
    const MAX: i32 = 62;
    type Signed = Byte;
    type Block = float32x4_t;
    #[inline(always)]
    unsafe fn block(rows: &Rows, _: Format) -> float32x4_t {
        // SAFETY: the block's 98 bytes, here and below.
        unsafe { scaled(rows, 0.25) }
    }
    #[inline(always)]
    unsafe fn load(rows: &Rows, d: &float32x4_t, _: &mut Kept, g: usize, _: usize) -> Tile {
        // SAFETY: as above, g < 8.
        unsafe {
            let (signs, d) = signs_and_scale(words(rows, 66 + 4 * g), *d);
            let codes = each!(4, r => each!(2, h => {
                fours(&grids::IQ3_XXS, each!(4, i => byte(rows[r], 2 + 8 * g + 4 * h + i)))
            }));
            tile(negated(codes, signs), d, no_mins())
        }
    }
}

/// `d: f16, qs: [u8; 64], qh: [u8; 8], signs: [u8; 32], scales: [u8; 4]`, `w = d * (2 * sc + 1) * ±grid`.
pub(crate) struct IQ3_S;
impl TileFormat for IQ3_S {
    const LEN: usize = 256;
    const BYTES: usize = Format::IQ3_S.block_bytes();
    const MAX: i32 = 15;
    type Signed = Short;
    /// `d * (2 * sc + 1)` of every group.
    type Block = [float32x4_t; 8];
    #[inline(always)]
    unsafe fn block(rows: &Rows, _: Format) -> [float32x4_t; 8] {
        // SAFETY: the block's 110 bytes, here and below; NEON is part of the aarch64 baseline.
        unsafe {
            let (d, scales) = (f16(rows, 0), words(rows, 106));
            each!(8, g => {
                let scale = vandq_u32(vshlq_u32(scales, vdupq_n_s32(-4 * g as i32)), vdupq_n_u32(15));
                vmulq_f32(d, odd(scale))
            })
        }
    }
    #[inline(always)]
    unsafe fn load(rows: &Rows, d: &[float32x4_t; 8], _: &mut Kept, g: usize, _: usize) -> Tile {
        const BIT: [u16; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
        macro_rules! lanes {
            ($v:ident, $($i:literal)*) => { [$(usize::from(vgetq_lane_u16::<$i>($v)) & 0x1ff),*] };
        }
        // SAFETY: as above, g < 8.
        unsafe {
            let mut before = vdupq_n_u8(0);
            let codes = each!(4, r => {
                let row = after(rows[r], before);
                let low = vmovl_u8(vld1_u8(row.add(2 + 8 * g)));
                let high = vtstq_u16(vdupq_n_u16(byte(row, 66 + g) as u16), vld1q_u16(BIT.as_ptr()));
                let index = vbslq_u16(vdupq_n_u16(0x100), high, low);
                let first = fours(&grids::IQ3_S, lanes!(index, 0 1 2 3));
                before = fours(&grids::IQ3_S, lanes!(index, 4 5 6 7));
                [first, before]
            });
            let signs = vreinterpretq_u8_u32(words(rows, 74 + 4 * g));
            tile(negated(codes, signs), d[g], no_mins())
        }
    }
}

/// Two runs of 8 weights, -1 more where its bit of `minus` is set, else 1 more.
#[inline(always)]
fn shifted(codes: uint8x16_t, minus: [bool; 2]) -> uint8x16_t {
    let delta = each!(2, i => if minus[i] { !0 } else { 1 });
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe { vaddq_u8(codes, vcombine_u8(vdup_n_u8(delta[0]), vdup_n_u8(delta[1]))) }
}

/// `d: f16, qs: [u8; 32], qh: [u16; 8]`, `w = d / 8 * (2 * sc + 1) * (8 * grid ± 1)`.
pub(crate) struct IQ1_S;
impl TileFormat for IQ1_S {
    const LEN: usize = 256;
    const BYTES: usize = Format::IQ1_S.block_bytes();
    const MAX: i32 = 9;
    type Signed = Short;
    /// `d / 8 * (2 * sc + 1)` of every group.
    type Block = [float32x4_t; 8];
    #[inline(always)]
    unsafe fn block(rows: &Rows, _: Format) -> [float32x4_t; 8] {
        // SAFETY: the block's 50 bytes, here and below; NEON is part of the aarch64 baseline.
        unsafe {
            let d = scaled(rows, 0.125);
            let qh = transpose_pairs(each!(4, r => bytes(rows, r, 34)));
            each!(8, g => {
                let scale = vand_u16(vshr_n_u16::<12>(vreinterpret_u16_u8(qh[g])), vdup_n_u16(7));
                vmulq_f32(d, odd(vmovl_u16(scale)))
            })
        }
    }
    #[inline(always)]
    unsafe fn load(rows: &Rows, d: &[float32x4_t; 8], _: &mut Kept, g: usize, _: usize) -> Tile {
        // SAFETY: as above, g < 8.
        unsafe {
            let codes = each!(4, r => {
                let high = pair(rows[r], 34 + 2 * g);
                let index = |l: usize| byte(rows[r], 2 + 4 * g + l) | ((high << 8) >> (3 * l)) & 0x700;
                each!(2, h => {
                    let codes = eights(&grids::IQ1_S, index(2 * h), index(2 * h + 1));
                    shifted(codes, [high & 0x8000 != 0; 2])
                })
            });
            tile(codes, d[g], no_mins())
        }
    }
}

/// `qs: [u8; 32], qh: [u8; 16], scales: [u16; 4]`, `w = d / 8 * (2 * sc + 1) * (8 * grid ± 1)`.
pub(crate) struct IQ1_M;
impl TileFormat for IQ1_M {
    const MAX_SCALE: i32 = 15;
    const LEN: usize = 256;
    const BYTES: usize = Format::IQ1_M.block_bytes();
    const MAX: i32 = 9;
    type Signed = SixSub;
    type Block = SubScales;
    #[inline(always)]
    unsafe fn block(rows: &Rows, _: Format) -> SubScales {
        /// Each of two words four times.
        const WORDS: [[u8; 16]; 2] = [
            [0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3],
            [4, 5, 4, 5, 4, 5, 4, 5, 6, 7, 6, 7, 6, 7, 6, 7],
        ];
        const SHIFT: [i16; 8] = [0, -3, -6, -9, 0, -3, -6, -9];
        // SAFETY: the block's 56 bytes, here and below; constants of 16 bytes; NEON is part of the aarch64 baseline.
        unsafe {
            let scales = each!(4, r => {
                let packed = vcombine_u8(vld1_u8(rows[r].add(48)), vdup_n_u8(0));
                let word = each!(2, i => {
                    let word = vreinterpretq_u16_u8(vqtbl1q_u8(packed, vld1q_u8(WORDS[i].as_ptr())));
                    vreinterpretq_u8_u16(vshlq_u16(word, vld1q_s16(SHIFT.as_ptr())))
                });
                odd_bytes(vandq_u8(vuzp1q_u8(word[0], word[1]), vdupq_n_u8(7)))
            });
            // The top nibbles of the four words are d.
            let d = each!(4, r => {
                let packed = rows[r].add(48).cast::<u64>().read_unaligned();
                (packed >> 12) & 15 | (packed >> 24) & 0xf0 | (packed >> 36) & 0xf00 | (packed >> 48) & 0xf000
            });
            let d = vmulq_n_f32(f16_lanes(d), 0.125);
            SubScales { pairs: transpose_pairs(scales), d, dmin: no_mins() }
        }
    }
    #[inline(always)]
    unsafe fn load(rows: &Rows, block: &SubScales, _: &mut Kept, g: usize, _: usize) -> Tile {
        // SAFETY: as above, g < 8.
        unsafe {
            let codes = each!(4, r => {
                let high = pair(rows[r], 32 + 2 * g);
                let index = |l: usize| byte(rows[r], 4 * g + l) | ((high << 8) >> (4 * l)) & 0x700;
                each!(2, h => {
                    let codes = eights(&grids::IQ1_S, index(2 * h), index(2 * h + 1));
                    shifted(codes, each!(2, i => high >> (8 * h + 4 * i) & 8 != 0))
                })
            });
            sub_scaled(codes, block.pairs[g], block.d)
        }
    }
}
