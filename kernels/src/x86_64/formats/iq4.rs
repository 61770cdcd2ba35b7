//! IQ4_NL, IQ4_XS and MXFP4: nibbles through a codebook of 16 bytes, which one vpshufb looks up.

use super::super::simd::Simd;
use super::super::tile::{I8, Rows, Tile, TileFormat, U5Minus16, head_f16, nibbles, signed, transpose16};
use crate::format::iq4_nl::CODEBOOK;
use crate::format::mxfp4;

/// 16 bytes of nibbles of each row, looked up.
///
/// # Safety
/// The tier's features; 16 bytes are readable at `offset` in every row.
#[inline(always)]
unsafe fn codes<S: Simd>(rows: Rows<'_>, offset: usize, book: S::I) -> [S::I; 8] {
    // SAFETY: the caller's.
    unsafe {
        let mut codes = nibbles::<S>(transpose16::<S>(rows, offset));
        for code in &mut codes {
            *code = S::shuffle(book, *code);
        }
        codes
    }
}

/// The codebook of IQ4_NL and IQ4_XS.
#[inline(always)]
unsafe fn codebook<S: Simd>() -> S::I {
    const BOOK: [u8; 16] = bytes(CODEBOOK, 0);
    // SAFETY: the caller has the tier's features.
    unsafe { signed::<S>(S::table(&BOOK)) }
}

const fn bytes(book: [i8; 16], offset: i8) -> [u8; 16] {
    let (mut bytes, mut i) = ([0; 16], 0);
    while i < 16 {
        bytes[i] = (book[i] + offset) as u8;
        i += 1;
    }
    bytes
}

/// `d: f16, qs: [u8; 16]`, `w = d * CODEBOOK[q]`.
pub(crate) struct IQ4_NL;
impl<S: Simd> TileFormat<S> for IQ4_NL {
    type Codes = I8;
    const BYTES: usize = 18;
    const GROUPS: usize = 1;
    const HEAD: usize = 2;
    #[inline(always)]
    unsafe fn scales(rows: Rows<'_>, tiles: *mut Tile<S>) {
        // SAFETY: the caller's tile; a block is 18 bytes (here and below).
        unsafe { (*tiles).d = head_f16::<S>(rows) }
    }
    #[inline(always)]
    unsafe fn codes(rows: Rows<'_>, _: usize, tiles: *mut Tile<S>) {
        // SAFETY: as above.
        unsafe { (*tiles).codes = codes::<S>(rows, 2, codebook::<S>()) }
    }
}

/// `d: f16, scales_h: u16, scales_l: [u8; 4], qs: [[u8; 16]; 8]`, `w = d * (sc - 32) * CODEBOOK[q]`.
pub(crate) struct IQ4_XS;
impl<S: Simd> TileFormat<S> for IQ4_XS {
    type Codes = I8;
    const BYTES: usize = 136;
    const GROUPS: usize = 8;
    const WIDTH: usize = 1;
    #[inline(always)]
    unsafe fn scales(rows: Rows<'_>, tiles: *mut Tile<S>) {
        // SAFETY: the caller's 8 tiles; a super-block is 136 bytes, 16 of them per group from the eighth on (here and below).
        unsafe {
            let [head, low, ..] = transpose16::<S>(rows, 0);
            let (d, _) = S::split_f16(head);
            let high = S::shr32(head, 16);
            for g in 0..8 {
                let low4 = S::and(S::shr32(low, 4 * g), S::splat32(15));
                let high2 = S::and(S::shr32(high, 2 * g), S::splat32(3));
                let scale = S::sub32(S::or(low4, S::shl32(high2, 4)), S::splat32(32));
                (*tiles.add(g as usize)).d = S::mul(d, S::to_f32(scale));
            }
        }
    }
    #[inline(always)]
    unsafe fn codes(rows: Rows<'_>, part: usize, tiles: *mut Tile<S>) {
        // SAFETY: as above.
        unsafe { (*tiles).codes = codes::<S>(rows, 8 + 16 * part, codebook::<S>()) }
    }
}

/// `e: u8, qs: [u8; 16]`, `w = 2^(e - 128) * CODEBOOK[q]`. Codes of -12..=12 are offset to meet the faster unsigned path.
pub(crate) struct MXFP4;
impl<S: Simd> TileFormat<S> for MXFP4 {
    type Codes = U5Minus16;
    const BYTES: usize = 17;
    const GROUPS: usize = 1;
    #[inline(always)]
    unsafe fn scales(rows: Rows<'_>, tiles: *mut Tile<S>) {
        // SAFETY: the caller's tile; a block is 17 bytes (here and below).
        unsafe {
            let e: [i32; 16] =
                std::array::from_fn(|i| if i < S::ROWS { i32::from(*rows.at(i, 0)) } else { 0 });
            let e = S::load(e.as_ptr());
            // 2^(e - 128) is `(e - 1) << 23`, or 2^-128 and 2^-127, which are subnormal, for the smallest two.
            let normal = S::shl32(S::sub32(e, S::splat32(1)), 23);
            let subnormal = S::shl32(S::add32(S::min32(e, S::splat32(1)), S::splat32(1)), 21);
            (*tiles).d = S::as_f32(S::max32(normal, subnormal));
        }
    }
    #[inline(always)]
    unsafe fn codes(rows: Rows<'_>, _: usize, tiles: *mut Tile<S>) {
        const BOOK: [u8; 16] = bytes(mxfp4::CODEBOOK, 16);
        // SAFETY: as above.
        unsafe { (*tiles).codes = codes::<S>(rows, 1, S::table(&BOOK)) }
    }
}
