//! How each format of 32 weights per block loads into a [`Tile`], and IQ4_XS.

#![allow(non_camel_case_types, reason = "the names are the field's own")]

use super::load::{bytes, each, f16, field, nibbles_above, nibbles_below, words};
use super::tile::{Byte, Codes32, Kept, MR, Rows, Short, Tile, TileFormat};
use crate::Format;
use crate::format::{Mins, iq4_nl, mxfp4};
use std::arch::aarch64::*;

/// A tile without sub-scales.
#[inline(always)]
pub(super) fn tile(codes: [[uint8x16_t; 2]; MR], d: float32x4_t, m: float32x4_t) -> Tile {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe {
        Tile {
            codes: each!(4, r => each!(2, h => vreinterpretq_s8_u8(codes[r][h]))),
            d,
            s: vdupq_n_s16(0),
            m: [m, m],
        }
    }
}

#[inline(always)]
pub(super) fn no_mins() -> float32x4_t {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe { vdupq_n_f32(0.0) }
}

/// 16 bytes at `offset` of every row: weights 0..16 are the low nibbles, 16..32 the high ones.
#[inline(always)]
unsafe fn nibbles(rows: &Rows, offset: usize) -> [[uint8x16_t; 2]; MR] {
    each!(4, r => {
        // SAFETY: the caller's 16 bytes.
        let qs = unsafe { bytes(rows, r, offset) };
        [field(qs, 0, 15), field(qs, 4, 15)]
    })
}

/// Formats of 32 weights per block, none of which is decoded ahead: type of the sums, largest |code|, further constants, and the
/// tile of the block at `rows`, of which `BYTES` bytes are readable.
macro_rules! blocks32 {
    ($(#[$doc:meta])* $name:ident: $signed:ty, $max:literal, { $($const:item)* } |$rows:ident| $tile:block) => {
        $(#[$doc])*
        pub(crate) struct $name;
        impl TileFormat for $name {
            const LEN: usize = 32;
            const BYTES: usize = Format::$name.block_bytes();
            const MAX: i32 = $max;
            $($const)*
            type Signed = $signed;
            type Block = ();
            #[inline(always)]
            unsafe fn block(_: &Rows, _: Format) {}
            #[inline(always)]
            unsafe fn load($rows: &Rows, (): &(), _: &mut Kept, _: usize, _: usize) -> Tile {
                // SAFETY: the caller's block; NEON is part of the aarch64 baseline.
                unsafe { $tile }
            }
        }
    };
}

blocks32! {
    /// `d: f16, qs: [u8; 16]`, `w = d * (q - 8)`.
    Q4_0: Short, 15, {
        const CODES32: Option<Codes32> = Some(Codes32::Nibbles);
        const OFFSET: i32 = 8;
    } |rows| {
        tile(nibbles(rows, 2), f16(rows, 0), no_mins())
    }
}

blocks32! {
    /// `d: f16, m: f16, qs: [u8; 16]`, `w = d * q + m`.
    Q4_1: Short, 15, {
        const MINS: Mins = Mins::Per32;
    } |rows| {
        tile(nibbles(rows, 4), f16(rows, 0), f16(rows, 2))
    }
}

/// 16 nibbles of 5-bit codes, less 16 where the fifth bit is clear: `q - 16` in signed bytes.
///
/// `sli` keeps the low nibble and puts four copies of the mask's bit above it; `sri` keeps those and puts the high nibble below.
#[inline(always)]
unsafe fn five_bits(rows: &Rows, qh: usize, qs: usize) -> [[uint8x16_t; 2]; MR] {
    const BYTE: [[u8; 16]; 2] =
        [[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1], [2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3]];
    const BIT: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
    each!(4, r => {
        // SAFETY: the caller's 4 bytes at `qh` and 16 at `qs`; constants of 16 bytes.
        unsafe {
            let clear = !rows[r].add(qh).cast::<u32>().read_unaligned();
            let clear = vreinterpretq_u8_u32(vdupq_n_u32(clear));
            let qs = bytes(rows, r, qs);
            let bit = vld1q_u8(BIT.as_ptr());
            let mask = each!(2, h => vtstq_u8(vqtbl1q_u8(clear, vld1q_u8(BYTE[h].as_ptr())), bit));
            [nibbles_above(qs, mask[0]), nibbles_below(mask[1], qs)]
        }
    })
}

blocks32! {
    /// `d: f16, qh: u32, qs: [u8; 16]`, `w = d * (q - 16)`; the codes are `q - 16`.
    Q5_0: Short, 16, {} |rows| {
        tile(five_bits(rows, 2, 6), f16(rows, 0), no_mins())
    }
}

blocks32! {
    /// `d: f16, m: f16, qh: u32, qs: [u8; 16]`, `w = d * q + m`; the codes are `q - 16`.
    Q5_1: Short, 16, {
        const MINS: Mins = Mins::Per32;
        const OFFSET: i32 = -16;
    } |rows| {
        tile(five_bits(rows, 4, 8), f16(rows, 0), f16(rows, 2))
    }
}

blocks32! {
    /// `d: f16, qs: [i8; 32]`, `w = d * q`; q may be -128.
    Q8_0: Byte, 128, {
        const CODES32: Option<Codes32> = Some(Codes32::Bytes);
    } |rows| {
        let codes = each!(4, r => [bytes(rows, r, 2), bytes(rows, r, 18)]);
        tile(codes, f16(rows, 0), no_mins())
    }
}

/// [`nibbles`] through a codebook.
#[inline(always)]
unsafe fn codebook(values: &[i8; 16], rows: &Rows, offset: usize) -> [[uint8x16_t; 2]; MR] {
    // SAFETY: the caller's 16 bytes; the codebook is 16 bytes.
    unsafe {
        let values = vreinterpretq_u8_s8(vld1q_s8(values.as_ptr()));
        let q = nibbles(rows, offset);
        each!(4, r => each!(2, h => vqtbl1q_u8(values, q[r][h])))
    }
}

blocks32! {
    /// `d: f16, qs: [u8; 16]`, `w = d * CODEBOOK[q]`.
    IQ4_NL: Byte, 127, {
        const CODES32: Option<Codes32> = Some(Codes32::Codebook);
    } |rows| {
        tile(codebook(&iq4_nl::CODEBOOK, rows, 2), f16(rows, 0), no_mins())
    }
}

blocks32! {
    /// `e: u8, qs: [u8; 16]`, `w = 2^(e - 128) * CODEBOOK[q]`.
    MXFP4: Short, 12, {} |rows| {
        let e = vandq_u32(words(rows, 0), vdupq_n_u32(0xff));
        // The two smallest are subnormal.
        let subnormal = vshlq_u32(vdupq_n_u32(0x0020_0000), vreinterpretq_s32_u32(e));
        let normal = vshlq_n_u32::<23>(vsubq_u32(e, vdupq_n_u32(1)));
        let d = vbslq_u32(vcltq_u32(e, vdupq_n_u32(2)), subnormal, normal);
        tile(codebook(&mxfp4::CODEBOOK, rows, 1), vreinterpretq_f32_u32(d), no_mins())
    }
}

/// `d: f16, scales_h: u16, scales_l: [u8; 4], qs: [[u8; 16]; 8]`, `w = d * (sc - 32) * CODEBOOK[q]`.
pub(crate) struct IQ4_XS;
impl TileFormat for IQ4_XS {
    const LEN: usize = 256;
    const BYTES: usize = Format::IQ4_XS.block_bytes();
    const MAX: i32 = 127;
    type Signed = Byte;
    /// `d * (sc - 32)` of every group.
    type Block = [float32x4_t; 8];
    #[inline(always)]
    unsafe fn block(rows: &Rows, _: Format) -> [float32x4_t; 8] {
        // SAFETY: 8 bytes of the block; NEON is part of the aarch64 baseline.
        unsafe {
            let d = f16(rows, 0);
            let (high, low) = (vshrq_n_u32::<16>(words(rows, 0)), words(rows, 4));
            each!(8, g => {
                let (by4, by2) = (vdupq_n_s32(-4 * g as i32), vdupq_n_s32(-2 * g as i32));
                let low = vandq_u32(vshlq_u32(low, by4), vdupq_n_u32(15));
                let high = vandq_u32(vshlq_u32(high, by2), vdupq_n_u32(3));
                let scale = vreinterpretq_s32_u32(vsliq_n_u32::<4>(low, high));
                vmulq_f32(d, vcvtq_f32_s32(vsubq_s32(scale, vdupq_n_s32(32))))
            })
        }
    }
    #[inline(always)]
    unsafe fn load(rows: &Rows, d: &[float32x4_t; 8], _: &mut Kept, g: usize, _: usize) -> Tile {
        // SAFETY: the block's 136 bytes, g < 8.
        unsafe { tile(codebook(&iq4_nl::CODEBOOK, rows, 8 + 16 * g), d[g], no_mins()) }
    }
}
