//! The legacy formats of 32 weights per block.

use super::super::tile::{
    I8, Tile, TileFormat, U4Min, U4Minus8, U5Min, U5Minus16, load_f16, load_u32, nibbles, split_f16,
    transpose16,
};
use std::arch::x86_64::*;

/// The fifth bits of 32 weights of 8 rows (bit i of the dword is weight i), as 16 or 0 per byte.
#[inline]
#[target_feature(enable = "avx2")]
fn fifth_bits(qh: __m256i) -> [__m256i; 8] {
    let spread = _mm256_broadcastsi128_si256(_mm_setr_epi32(0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c));
    let (bit, sixteen) = (_mm256_set1_epi32(0x8040_2010u32 as i32), _mm256_set1_epi8(16));
    // The nibble of 4 weights as the high half of a byte.
    let nibbles = [_mm256_slli_epi32::<4>(qh), qh];
    std::array::from_fn(|j| {
        // Byte j/2 of each dword to all its bytes, then one bit of its high nibble per byte, then that bit as 16.
        let bytes =
            _mm256_shuffle_epi8(nibbles[j % 2], _mm256_add_epi8(spread, _mm256_set1_epi8(j as i8 / 2)));
        _mm256_min_epu8(_mm256_and_si256(bytes, bit), sixteen)
    })
}

#[inline]
#[target_feature(enable = "avx2")]
fn or8(a: [__m256i; 8], b: [__m256i; 8]) -> [__m256i; 8] {
    std::array::from_fn(|j| _mm256_or_si256(a[j], b[j]))
}

/// `d: f16, qs: [u8; 16]`, `w = d * (q - 8)`.
pub(crate) struct Q4_0;
impl TileFormat for Q4_0 {
    type Codes = U4Minus8;
    type Tiles = [Tile; 1];
    const BYTES: usize = 18;
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(rows: &[*const u8; 8], [tile]: &mut [Tile; 1]) {
        // SAFETY: a block is 18 bytes.
        unsafe {
            tile.codes = nibbles(transpose16(rows, 2));
            tile.d = load_f16(rows, 0);
        }
    }
}

/// `d: f16, m: f16, qs: [u8; 16]`, `w = d * q + m`.
pub(crate) struct Q4_1;
impl TileFormat for Q4_1 {
    type Codes = U4Min;
    type Tiles = [Tile; 1];
    const BYTES: usize = 20;
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(rows: &[*const u8; 8], [tile]: &mut [Tile; 1]) {
        // SAFETY: a block is 20 bytes.
        unsafe {
            tile.codes = nibbles(transpose16(rows, 4));
            (tile.d, tile.m[0]) = split_f16(load_u32(rows, 0));
        }
    }
}

/// `d: f16, qh: u32, qs: [u8; 16]`, `w = d * (q - 16)`.
pub(crate) struct Q5_0;
impl TileFormat for Q5_0 {
    type Codes = U5Minus16;
    type Tiles = [Tile; 1];
    const BYTES: usize = 22;
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(rows: &[*const u8; 8], [tile]: &mut [Tile; 1]) {
        // SAFETY: a block is 22 bytes.
        unsafe {
            tile.codes = or8(nibbles(transpose16(rows, 6)), fifth_bits(load_u32(rows, 2)));
            tile.d = load_f16(rows, 0);
        }
    }
}

/// `d: f16, m: f16, qh: u32, qs: [u8; 16]`, `w = d * q + m`.
pub(crate) struct Q5_1;
impl TileFormat for Q5_1 {
    type Codes = U5Min;
    type Tiles = [Tile; 1];
    const BYTES: usize = 24;
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(rows: &[*const u8; 8], [tile]: &mut [Tile; 1]) {
        // SAFETY: a block is 24 bytes.
        unsafe {
            tile.codes = or8(nibbles(transpose16(rows, 8)), fifth_bits(load_u32(rows, 4)));
            (tile.d, tile.m[0]) = split_f16(load_u32(rows, 0));
        }
    }
}

/// `d: f16, qs: [i8; 32]`, `w = d * q`; q may be -128.
pub(crate) struct Q8_0;
impl TileFormat for Q8_0 {
    type Codes = I8;
    type Tiles = [Tile; 1];
    const BYTES: usize = 34;
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(rows: &[*const u8; 8], [tile]: &mut [Tile; 1]) {
        // SAFETY: a block is 34 bytes.
        unsafe {
            let (low, high) = (transpose16(rows, 2), transpose16(rows, 18));
            tile.codes = [low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]];
            tile.d = load_f16(rows, 0);
        }
    }
}
