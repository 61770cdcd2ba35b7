//! How TQ1_0 and TQ2_0 load into a [`Tile`].

#![allow(non_camel_case_types, reason = "the names are the field's own")]

use super::formats::{no_mins, tile};
use super::load::{bytes, each, f16, field};
use super::tile::{Kept, Rows, Short, Tile, TileFormat};
use crate::Format;
use std::arch::aarch64::*;

/// `qs: [[u8; 32]; 2], d: f16`, `w = d * (q - 1)`.
pub(crate) struct TQ2_0;
impl TileFormat for TQ2_0 {
    const LEN: usize = 256;
    const BYTES: usize = Format::TQ2_0.block_bytes();
    const PARTS: usize = 4;
    const MAX: i32 = 3;
    const OFFSET: i32 = 1;
    type Signed = Short;
    type Block = float32x4_t;
    #[inline(always)]
    unsafe fn block(rows: &Rows, _: Format) -> float32x4_t {
        // SAFETY: 2 bytes at 64.
        unsafe { f16(rows, 64) }
    }
    #[inline(always)]
    unsafe fn load(rows: &Rows, d: &float32x4_t, _: &mut Kept, g: usize, part: usize) -> Tile {
        let codes = each!(4, r => {
            // SAFETY: each half of 128 weights has 32 bytes.
            each!(2, h => field(unsafe { bytes(rows, r, 32 * (g / 4) + 16 * h) }, 2 * part, 3))
        });
        tile(codes, *d, no_mins())
    }
}

/// The first base-3 digits of bytes that are fractions of 256, less one: thirds begin at 85 1/3 and 170 2/3.
#[inline(always)]
fn digits(fractions: uint8x16_t) -> uint8x16_t {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe {
        // Where it holds, a comparison is -1.
        let one = vsubq_u8(vdupq_n_u8(!0), vcgtq_u8(fractions, vdupq_n_u8(85)));
        vsubq_u8(one, vcgtq_u8(fractions, vdupq_n_u8(170)))
    }
}

/// `qs: [u8; 48], qh: [u8; 4], d: f16`, `w = d * (digit - 1)`; the codes are `digit - 1`.
pub(crate) struct TQ1_0;
impl TileFormat for TQ1_0 {
    const LEN: usize = 256;
    const BYTES: usize = Format::TQ1_0.block_bytes();
    const PARTS: usize = 8;
    const MAX: i32 = 1;
    type Signed = Short;
    type Block = float32x4_t;
    #[inline(always)]
    unsafe fn block(rows: &Rows, _: Format) -> float32x4_t {
        // SAFETY: 2 bytes at 52.
        unsafe { f16(rows, 52) }
    }
    #[inline(always)]
    unsafe fn load(rows: &Rows, d: &float32x4_t, _: &mut Kept, _: usize, part: usize) -> Tile {
        const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
        /// Of the last four bytes, digit after digit.
        const LAST: [u8; 16] = [1, 1, 1, 1, 3, 3, 3, 3, 9, 9, 9, 9, 27, 27, 27, 27];
        let codes = each!(4, r => each!(2, h => {
            // SAFETY: 48 bytes at 0 and 4 at 48; a constant of 16 bytes; NEON is part of the aarch64 baseline.
            unsafe {
                let (bytes, powers) = match part {
                    // 32 bytes of five digits, then 16 bytes of five digits, then 4 bytes of four.
                    0..5 => (bytes(rows, r, 16 * h), vdupq_n_u8(POWERS[part])),
                    5 | 6 => (bytes(rows, r, 32), vdupq_n_u8(POWERS[2 * (part - 5) + h])),
                    _ if h == 0 => (bytes(rows, r, 32), vdupq_n_u8(POWERS[4])),
                    _ => {
                        let word = rows[r].add(48).cast::<u32>().read_unaligned();
                        (vreinterpretq_u8_u32(vdupq_n_u32(word)), vld1q_u8(LAST.as_ptr()))
                    }
                };
                digits(vmulq_u8(bytes, powers))
            }
        }));
        tile(codes, *d, no_mins())
    }
}
