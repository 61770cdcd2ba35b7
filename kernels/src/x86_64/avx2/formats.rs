//! How each hand-written format loads into a [`Tile`]: the legacy formats of 32 weights per block.

use super::tile::{Tile, TileFormat, load_f16, nibbles, transpose16};
use crate::format::Mins;
use std::arch::x86_64::*;

/// Rows advanced to block `g` of `bytes` bytes.
#[inline(always)]
fn at(rows: &[*const u8; 8], g: usize, bytes: usize) -> [*const u8; 8] {
    rows.map(|r| r.wrapping_add(g * bytes))
}

macro_rules! zero {
    () => {
        ([_mm256_setzero_si256(); 2], [_mm256_setzero_ps(); 2])
    };
}

/// `d: f16, qs: [u8; 16]`, `w = d * (q - 8)`.
pub(crate) struct Q4_0;
impl TileFormat for Q4_0 {
    const OFFSET_LOG2: i32 = 3;
    const STEPS: usize = 8;
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(rows: &[*const u8; 8], g: usize) -> Tile {
        let rows = at(rows, g, 18);
        let (s, m) = zero!();
        // SAFETY: block g of each row is 18 bytes.
        unsafe { Tile { codes: nibbles(transpose16(&rows, 2)), d: load_f16(&rows, 0), s, m } }
    }
}

/// `d: f16, m: f16, qs: [u8; 16]`, `w = d * q + m`.
pub(crate) struct Q4_1;
impl TileFormat for Q4_1 {
    const MINS: Mins = Mins::Per32;
    const STEPS: usize = 8;
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(rows: &[*const u8; 8], g: usize) -> Tile {
        let rows = at(rows, g, 20);
        let (s, _) = zero!();
        // SAFETY: block g of each row is 20 bytes.
        unsafe {
            let m = load_f16(&rows, 2);
            Tile { codes: nibbles(transpose16(&rows, 4)), d: load_f16(&rows, 0), s, m: [m, m] }
        }
    }
}

/// The fifth bits of 32 weights of 8 rows (bit i of the dword is weight i), as 16 or 0 per byte.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn fifth_bits(rows: &[*const u8; 8], offset: usize) -> [__m256i; 8] {
    let mut words = [0u32; 8];
    for (word, row) in words.iter_mut().zip(rows) {
        // SAFETY: the caller's 4 bytes at `offset`.
        *word = unsafe { row.add(offset).cast::<u32>().read_unaligned() };
    }
    // SAFETY: 32 bytes.
    let qh = unsafe { _mm256_loadu_si256(words.as_ptr().cast()) };
    let select = _mm256_set1_epi32(0x0804_0201);
    let sixteen = _mm256_set1_epi8(16);
    let mut out = [sixteen; 8];
    for (j, out) in out.iter_mut().enumerate() {
        // Byte j/2 of each dword to all its bytes, then one bit of its nibble per byte.
        let byte = (j / 2) as i32 * 0x0101_0101;
        let spread = _mm256_setr_epi32(
            0,
            0x0404_0404,
            0x0808_0808,
            0x0c0c_0c0c,
            0,
            0x0404_0404,
            0x0808_0808,
            0x0c0c_0c0c,
        );
        let spread = _mm256_add_epi8(spread, _mm256_set1_epi32(byte));
        let bytes = _mm256_shuffle_epi8(qh, spread);
        let bit = if j % 2 == 0 { select } else { _mm256_slli_epi16::<4>(select) };
        let set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
        *out = _mm256_and_si256(set, sixteen);
    }
    out
}

#[inline]
#[target_feature(enable = "avx2")]
fn or8(a: [__m256i; 8], b: [__m256i; 8]) -> [__m256i; 8] {
    std::array::from_fn(|j| _mm256_or_si256(a[j], b[j]))
}

/// `d: f16, qh: u32, qs: [u8; 16]`, `w = d * (q - 16)`.
pub(crate) struct Q5_0;
impl TileFormat for Q5_0 {
    const OFFSET_LOG2: i32 = 4;
    const STEPS: usize = 4;
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(rows: &[*const u8; 8], g: usize) -> Tile {
        let rows = at(rows, g, 22);
        let (s, m) = zero!();
        // SAFETY: block g of each row is 22 bytes.
        unsafe {
            let codes = or8(nibbles(transpose16(&rows, 6)), fifth_bits(&rows, 2));
            Tile { codes, d: load_f16(&rows, 0), s, m }
        }
    }
}

/// `d: f16, m: f16, qh: u32, qs: [u8; 16]`, `w = d * q + m`.
pub(crate) struct Q5_1;
impl TileFormat for Q5_1 {
    const MINS: Mins = Mins::Per32;
    const STEPS: usize = 4;
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(rows: &[*const u8; 8], g: usize) -> Tile {
        let rows = at(rows, g, 24);
        let (s, _) = zero!();
        // SAFETY: block g of each row is 24 bytes.
        unsafe {
            let codes = or8(nibbles(transpose16(&rows, 8)), fifth_bits(&rows, 4));
            let m = load_f16(&rows, 2);
            Tile { codes, d: load_f16(&rows, 0), s, m: [m, m] }
        }
    }
}

/// `d: f16, qs: [i8; 32]`, `w = d * q`; q may be -128.
pub(crate) struct Q8_0;
impl TileFormat for Q8_0 {
    const SIGNED: bool = true;
    const STEPS: usize = 1;
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(rows: &[*const u8; 8], g: usize) -> Tile {
        let rows = at(rows, g, 34);
        let (s, m) = zero!();
        // SAFETY: block g of each row is 34 bytes.
        unsafe {
            let (low, high) = (transpose16(&rows, 2), transpose16(&rows, 18));
            let codes = [low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]];
            Tile { codes, d: load_f16(&rows, 0), s, m }
        }
    }
}
