//! IQ4_NL, IQ4_XS and MXFP4: nibbles through a codebook of 16 bytes, which one vpshufb looks up.

use super::super::tile::{I8, Tile, TileFormat, U5Minus16, load_f16, nibbles, split_f16, transpose16};
use crate::format::iq4_nl::CODEBOOK;
use crate::format::mxfp4;
use std::arch::x86_64::*;

/// 16 bytes of nibbles of each row, looked up.
///
/// # Safety
/// AVX2; 16 bytes are readable at `offset` in every row.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn codes(rows: &[*const u8; 8], offset: usize, book: &[i8; 16]) -> [__m256i; 8] {
    // SAFETY: the codebook is 16 bytes; the caller's for the rest.
    unsafe {
        let book = _mm256_broadcastsi128_si256(_mm_loadu_si128(book.as_ptr().cast()));
        let nibbles = nibbles(transpose16(rows, offset));
        std::array::from_fn(|j| _mm256_shuffle_epi8(book, nibbles[j]))
    }
}

/// `d: f16, qs: [u8; 16]`, `w = d * CODEBOOK[q]`.
pub(crate) struct IQ4_NL;
impl TileFormat for IQ4_NL {
    type Codes = I8;
    type Tiles = [Tile; 1];
    const BYTES: usize = 18;
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(rows: &[*const u8; 8], [tile]: &mut [Tile; 1]) {
        // SAFETY: a block is 18 bytes.
        unsafe {
            tile.codes = codes(rows, 2, &CODEBOOK);
            tile.d = load_f16(rows, 0);
        }
    }
}

/// `d: f16, scales_h: u16, scales_l: [u8; 4], qs: [[u8; 16]; 8]`, `w = d * (sc - 32) * CODEBOOK[q]`.
pub(crate) struct IQ4_XS;
impl TileFormat for IQ4_XS {
    type Codes = I8;
    type Tiles = [Tile; 8];
    const BYTES: usize = 136;
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(rows: &[*const u8; 8], tiles: &mut [Tile; 8]) {
        // SAFETY: a super-block is 136 bytes, 16 of them per group from the eighth on.
        unsafe {
            let [head, mut low, ..] = transpose16(rows, 0);
            let (d, _) = split_f16(head);
            let mut high = _mm256_srli_epi32::<16>(head);
            for (g, tile) in tiles.iter_mut().enumerate() {
                let low4 = _mm256_and_si256(low, _mm256_set1_epi32(15));
                let high2 = _mm256_slli_epi32::<4>(_mm256_and_si256(high, _mm256_set1_epi32(3)));
                let scale = _mm256_sub_epi32(_mm256_or_si256(low4, high2), _mm256_set1_epi32(32));
                low = _mm256_srli_epi32::<4>(low);
                high = _mm256_srli_epi32::<2>(high);
                tile.d = _mm256_mul_ps(d, _mm256_cvtepi32_ps(scale));
                tile.codes = codes(rows, 8 + 16 * g, &CODEBOOK);
            }
        }
    }
}

/// `e: u8, qs: [u8; 16]`, `w = 2^(e - 128) * CODEBOOK[q]`. Codes of -12..=12 are offset to meet the faster unsigned path.
pub(crate) struct MXFP4;
impl TileFormat for MXFP4 {
    type Codes = U5Minus16;
    type Tiles = [Tile; 1];
    const BYTES: usize = 17;
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(rows: &[*const u8; 8], [tile]: &mut [Tile; 1]) {
        const BOOK: [i8; 16] = {
            let (mut book, mut i) = (mxfp4::CODEBOOK, 0);
            while i < 16 {
                book[i] += 16;
                i += 1;
            }
            book
        };
        // SAFETY: a block is 17 bytes.
        unsafe {
            tile.codes = codes(rows, 1, &BOOK);
            let e: [i32; 8] = std::array::from_fn(|i| i32::from(*rows[i]));
            let e = _mm256_loadu_si256(e.as_ptr().cast());
            // `(e - 1) << 23`, or 2^-128 and 2^-127, which are subnormal, for the smallest two.
            let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(e, _mm256_set1_epi32(1)));
            let subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), e);
            let small = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
            tile.d = _mm256_castsi256_ps(_mm256_blendv_epi8(normal, subnormal, small));
        }
    }
}
