//! The K formats, and TQ2_0, which packs its codes as Q2_K does. Scales of a super-block of 8 rows are decoded once: each row's scale bytes are transposed to dwords, so
//! that one vector operation serves 4 sub-blocks of 8 rows. Codes that share bytes are split from one transposed load.

use super::super::tile::{
    Tile, TileFormat, U2SubMin, U3Minus4Sub, U4Min, U4Minus8, U5Min, U6Minus32Sub, high_nibbles, load_f16,
    load_u32, low_nibbles, split_f16, transpose16,
};
use std::arch::x86_64::*;

/// Byte `SHIFT / 8` of each dword, as a float.
#[inline]
#[target_feature(enable = "avx2")]
fn byte<const SHIFT: i32>(words: __m256i) -> __m256 {
    _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32::<SHIFT>(words), _mm256_set1_epi32(255)))
}

/// Each of the four bytes of each dword as floats, times `d`.
#[inline]
#[target_feature(enable = "avx2")]
fn scaled_bytes(words: __m256i, d: __m256) -> [__m256; 4] {
    [
        _mm256_mul_ps(d, byte::<0>(words)),
        _mm256_mul_ps(d, byte::<8>(words)),
        _mm256_mul_ps(d, byte::<16>(words)),
        _mm256_mul_ps(d, byte::<24>(words)),
    ]
}

/// `-v`, exact and for every v; `(-v) * min` is then `-(v * min)`.
#[inline]
#[target_feature(enable = "avx2")]
fn negate(v: __m256) -> __m256 {
    _mm256_xor_ps(v, _mm256_set1_ps(-0.0))
}

/// 32 bytes of each row: dword `j` of every row in vector `j`.
///
/// # Safety
/// AVX2; 32 bytes are readable at `offset` in every row.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn transpose32(rows: &[*const u8; 8], offset: usize) -> [__m256i; 8] {
    // SAFETY: the caller's.
    let (a, b) = unsafe { (transpose16(rows, offset), transpose16(rows, offset + 16)) };
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]
}

/// `d`, `dmin` and the packed 6-bit scales and mins of Q4_K and Q5_K into all tiles.
///
/// # Safety
/// AVX2 and F16C; 16 bytes are readable at each of `rows`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn scales_and_mins(rows: &[*const u8; 8], tiles: &mut [Tile; 8]) {
    // SAFETY: the caller's.
    let [head, a, b, c] = unsafe { transpose16(rows, 0) };
    let (d, dmin) = split_f16(head);
    let dmin = negate(dmin);
    let six = |v| _mm256_and_si256(v, _mm256_set1_epi8(63));
    // Bits 6-7 of a byte to bits 4-5 of it.
    let top = |v| _mm256_and_si256(_mm256_srli_epi16::<2>(v), _mm256_set1_epi8(48));
    let scales = [six(a), _mm256_or_si256(low_nibbles(c), top(a))];
    let mins = [six(b), _mm256_or_si256(high_nibbles(c), top(b))];
    for half in 0..2 {
        let (d, m) = (scaled_bytes(scales[half], d), scaled_bytes(mins[half], dmin));
        for (k, tile) in tiles[4 * half..4 * half + 4].iter_mut().enumerate() {
            tile.d = d[k];
            tile.m[0] = m[k];
        }
    }
}

/// Bytes `a` and `b` of each dword as the high bytes of its two i16: shifting right then extends the sign.
#[inline]
#[target_feature(enable = "avx2")]
fn pick<const A: i32, const B: i32>(words: __m256i) -> __m256i {
    let base =
        _mm256_broadcastsi128_si256(_mm_setr_epi32(0x0080_0080, 0x0480_0480, 0x0880_0880, 0x0c80_0c80));
    _mm256_shuffle_epi8(words, _mm256_add_epi8(base, _mm256_set1_epi32(A << 8 | B << 24)))
}

/// 16 signed sub-scales per row, the bytes of `words`, into all tiles; with `1 << LOG2` times them where
/// `SHIFT == 8 - LOG2`.
#[inline]
#[target_feature(enable = "avx2")]
fn sub_scales<const SHIFT: i32>(words: [__m256i; 4], tiles: &mut [Tile; 8]) {
    for (i, v) in words.into_iter().enumerate() {
        let tile = &mut tiles[2 * i];
        tile.s = [_mm256_srai_epi16::<8>(pick::<0, 0>(v)), _mm256_srai_epi16::<8>(pick::<1, 1>(v))];
        tile.o = _mm256_srai_epi16::<SHIFT>(pick::<0, 1>(v));
        let tile = &mut tiles[2 * i + 1];
        tile.s = [_mm256_srai_epi16::<8>(pick::<2, 2>(v)), _mm256_srai_epi16::<8>(pick::<3, 3>(v))];
        tile.o = _mm256_srai_epi16::<SHIFT>(pick::<2, 3>(v));
    }
}

/// `VALUE` (a power of two up to 16) in every byte where `bits` has bit `4 + k`, else 0.
#[inline]
#[target_feature(enable = "avx2")]
fn high_bit<const VALUE: i8>(bits: __m256i, k: usize) -> __m256i {
    _mm256_min_epu8(_mm256_and_si256(bits, _mm256_set1_epi8((16u8 << k) as i8)), _mm256_set1_epi8(VALUE))
}

/// The low and high half of each byte of `bits` as high halves, for [`high_bit`]. Other bits are garbage.
#[inline]
#[target_feature(enable = "avx2")]
fn bit_halves(bits: [__m256i; 8]) -> [[__m256i; 8]; 2] {
    [std::array::from_fn(|j| _mm256_slli_epi16::<4>(bits[j])), bits]
}

/// The four 2-bit codes of each byte.
#[inline]
#[target_feature(enable = "avx2")]
fn two_bits(bytes: __m256i) -> [__m256i; 4] {
    let three = |v| _mm256_and_si256(v, _mm256_set1_epi8(3));
    [
        three(bytes),
        three(_mm256_srli_epi16::<2>(bytes)),
        three(_mm256_srli_epi16::<4>(bytes)),
        three(_mm256_srli_epi16::<6>(bytes)),
    ]
}

/// `scales: [u8; 16], qs: [u8; 64], d: f16, dmin: f16`, `w = d * sc * q - dmin * min`.
pub(crate) struct Q2_K;
impl TileFormat for Q2_K {
    type Codes = U2SubMin;
    type Tiles = [Tile; 8];
    const BYTES: usize = 84;
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(rows: &[*const u8; 8], tiles: &mut [Tile; 8]) {
        // SAFETY: a super-block is 84 bytes.
        unsafe {
            let scales = transpose16(rows, 0);
            let (d, dmin) = split_f16(load_u32(rows, 80));
            let dmin = negate(dmin);
            sub_scales::<8>(scales.map(|v| low_nibbles(v)), tiles);
            for (i, v) in scales.into_iter().enumerate() {
                let m = scaled_bytes(high_nibbles(v), dmin);
                tiles[2 * i].m = [m[0], m[1]];
                tiles[2 * i + 1].m = [m[2], m[3]];
            }
            for half in 0..2 {
                for (j, qs) in transpose32(rows, 16 + 32 * half).into_iter().enumerate() {
                    for (k, codes) in two_bits(qs).into_iter().enumerate() {
                        tiles[4 * half + k].codes[j] = codes;
                    }
                }
            }
            for tile in tiles {
                tile.d = d;
            }
        }
    }
}

/// `hmask: [u8; 32], qs: [u8; 64], scales: [u8; 12], d: f16`, `w = d * (sc - 32) * (q - 4)`.
pub(crate) struct Q3_K;
impl TileFormat for Q3_K {
    type Codes = U3Minus4Sub;
    type Tiles = [Tile; 8];
    const BYTES: usize = 110;
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(rows: &[*const u8; 8], tiles: &mut [Tile; 8]) {
        // SAFETY: a super-block is 110 bytes.
        unsafe {
            // The last 16 bytes: two of qs, the scales, d. The scales as dwords are two bytes further.
            let tail = transpose16(rows, 94);
            let join = |i: usize| {
                _mm256_or_si256(_mm256_srli_epi32::<16>(tail[i]), _mm256_slli_epi32::<16>(tail[i + 1]))
            };
            let (a, b, c) = (join(0), join(1), join(2));
            let (_, d) = split_f16(tail[3]);
            let high = two_bits(c).map(|v| _mm256_slli_epi16::<4>(v));
            let low = [low_nibbles(a), low_nibbles(b), high_nibbles(a), high_nibbles(b)];
            let scale = |i: usize| _mm256_sub_epi8(_mm256_or_si256(low[i], high[i]), _mm256_set1_epi8(32));
            sub_scales::<6>([scale(0), scale(1), scale(2), scale(3)], tiles);
            let masks = bit_halves(transpose32(rows, 0));
            for (half, masks) in masks.into_iter().enumerate() {
                for (j, qs) in transpose32(rows, 32 + 32 * half).into_iter().enumerate() {
                    for (k, codes) in two_bits(qs).into_iter().enumerate() {
                        tiles[4 * half + k].codes[j] = _mm256_or_si256(codes, high_bit::<4>(masks[j], k));
                    }
                }
            }
            for tile in tiles {
                tile.d = d;
            }
        }
    }
}

/// `d: f16, dmin: f16, scales: [u8; 12], qs: [u8; 128]`, `w = d * sc * q - dmin * min`.
pub(crate) struct Q4_K;
impl TileFormat for Q4_K {
    type Codes = U4Min;
    type Tiles = [Tile; 8];
    const BYTES: usize = 144;
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(rows: &[*const u8; 8], tiles: &mut [Tile; 8]) {
        // SAFETY: a super-block is 144 bytes.
        unsafe {
            scales_and_mins(rows, tiles);
            for p in 0..4 {
                for (j, qs) in transpose32(rows, 16 + 32 * p).into_iter().enumerate() {
                    tiles[2 * p].codes[j] = low_nibbles(qs);
                    tiles[2 * p + 1].codes[j] = high_nibbles(qs);
                }
            }
        }
    }
}

/// `d: f16, dmin: f16, scales: [u8; 12], qh: [u8; 32], qs: [u8; 128]`, `w = d * sc * q - dmin * min`.
pub(crate) struct Q5_K;
impl TileFormat for Q5_K {
    type Codes = U5Min;
    type Tiles = [Tile; 8];
    const BYTES: usize = 176;
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(rows: &[*const u8; 8], tiles: &mut [Tile; 8]) {
        // SAFETY: a super-block is 176 bytes.
        unsafe {
            scales_and_mins(rows, tiles);
            let bits = bit_halves(transpose32(rows, 16));
            for p in 0..4 {
                let (bits, k) = (&bits[p / 2], 2 * (p % 2));
                for (j, qs) in transpose32(rows, 48 + 32 * p).into_iter().enumerate() {
                    tiles[2 * p].codes[j] = _mm256_or_si256(low_nibbles(qs), high_bit::<16>(bits[j], k));
                    tiles[2 * p + 1].codes[j] =
                        _mm256_or_si256(high_nibbles(qs), high_bit::<16>(bits[j], k + 1));
                }
            }
        }
    }
}

/// `ql: [u8; 128], qh: [u8; 64], scales: [i8; 16], d: f16`, `w = d * sc * (q - 32)`.
pub(crate) struct Q6_K;
impl TileFormat for Q6_K {
    type Codes = U6Minus32Sub;
    type Tiles = [Tile; 8];
    const BYTES: usize = 210;
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(rows: &[*const u8; 8], tiles: &mut [Tile; 8]) {
        // SAFETY: a super-block is 210 bytes.
        unsafe {
            sub_scales::<3>(transpose16(rows, 192), tiles);
            let top = |v| _mm256_and_si256(v, _mm256_set1_epi8(48));
            for half in 0..2 {
                for quarter in 0..2 {
                    let first = transpose16(rows, 64 * half + 16 * quarter);
                    let second = transpose16(rows, 64 * half + 32 + 16 * quarter);
                    let high = transpose16(rows, 128 + 32 * half + 16 * quarter);
                    for i in 0..4 {
                        let (a, b, h) = (first[i], second[i], high[i]);
                        let codes = [
                            _mm256_or_si256(low_nibbles(a), top(_mm256_slli_epi16::<4>(h))),
                            _mm256_or_si256(low_nibbles(b), top(_mm256_slli_epi16::<2>(h))),
                            _mm256_or_si256(high_nibbles(a), top(h)),
                            _mm256_or_si256(high_nibbles(b), top(_mm256_srli_epi16::<2>(h))),
                        ];
                        for (k, codes) in codes.into_iter().enumerate() {
                            tiles[4 * half + k].codes[4 * quarter + i] = codes;
                        }
                    }
                }
            }
            let d = load_f16(rows, 208);
            for tile in tiles {
                tile.d = d;
            }
        }
    }
}

/// `qs: [u8; 64], d: f16`, `w = d * (q - 1)`. Codes are `q + 7`, to share the arithmetic of Q4_0.
pub(crate) struct TQ2_0;
impl TileFormat for TQ2_0 {
    type Codes = U4Minus8;
    type Tiles = [Tile; 8];
    const BYTES: usize = 66;
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(rows: &[*const u8; 8], tiles: &mut [Tile; 8]) {
        // SAFETY: a super-block is 66 bytes.
        unsafe {
            for half in 0..2 {
                for (j, qs) in transpose32(rows, 32 * half).into_iter().enumerate() {
                    for (k, codes) in two_bits(qs).into_iter().enumerate() {
                        tiles[4 * half + k].codes[j] = _mm256_add_epi8(codes, _mm256_set1_epi8(7));
                    }
                }
            }
            let d = load_f16(rows, 64);
            for tile in tiles {
                tile.d = d;
            }
        }
    }
}
