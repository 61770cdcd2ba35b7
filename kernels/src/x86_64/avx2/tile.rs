//! Eight rows by 32 weights, the unit that every format unpacks to and that [`super::dot`] multiplies.

use crate::format::Mins;
use std::arch::x86_64::*;

/// 32 weights of 8 rows. `codes[j]` holds weights `4j .. 4j+4` of each row, one dword per row.
///
/// Fields that a format's [`Codes`] do not use are neither written nor read.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Tile {
    /// Unsigned codes (`q + OFFSET`), or signed ones where `SIGNED`.
    pub codes: [__m256i; 8],
    /// Scale of each row.
    pub d: __m256,
    /// With `SUB_SCALES`, those of each half as i16 pairs `(s, s)` per row.
    pub s: [__m256i; 2],
    /// With `SUB_SCALES` and an offset, `OFFSET * (s[0], s[1])` as an i16 pair per row.
    pub o: __m256i,
    /// Mins of each half; equal, and only the first used, for one min per 32.
    pub m: [__m256; 2],
}

/// What kind of codes a tile holds: all that the arithmetic depends on, so formats of one kind share its code.
pub(crate) trait Codes {
    /// Whether and how there are mins.
    const MINS: Mins = Mins::None;
    /// Whether halves have integer sub-scales.
    const SUB_SCALES: bool = false;
    /// `codes = q + (1 << OFFSET_LOG2)`, or 0 for no offset.
    const OFFSET_LOG2: i32 = 0;
    /// Codes are signed bytes: |w| becomes the unsigned side and its sign goes to x.
    const SIGNED: bool = false;
    /// How many vpmaddubsw results one i16 can hold, each at most `2 * 127 * code`: 8 for codes up to 15 (30480), 4 up
    /// to 31 (31496), 2 up to 63 (32004), 1 up to 128, also for signed codes. At most 4 with sub-scales, which cover 16.
    const STEPS: usize;
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty = $value:expr),* })*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;
        impl Codes for $name {
            $(const $field: $type = $value;)*
        }
    )*};
}
codes! {
    /// Q4_0: `0..=15`, minus 8.
    U4Minus8 { STEPS: usize = 8, OFFSET_LOG2: i32 = 3 }
    /// Q4_1, Q4_K: `0..=15`.
    U4Min { STEPS: usize = 8, MINS: Mins = Mins::Per32 }
    /// Q5_0: `0..=31`, minus 16.
    U5Minus16 { STEPS: usize = 4, OFFSET_LOG2: i32 = 4 }
    /// Q5_1, Q5_K: `0..=31`.
    U5Min { STEPS: usize = 4, MINS: Mins = Mins::Per32 }
    /// Q2_K: `0..=3`, a sub-scale and a min per 16.
    U2SubMin { STEPS: usize = 4, SUB_SCALES: bool = true, MINS: Mins = Mins::Per16 }
    /// Q3_K: `0..=7`, minus 4, a sub-scale per 16.
    U3Minus4Sub { STEPS: usize = 4, SUB_SCALES: bool = true, OFFSET_LOG2: i32 = 2 }
    /// Q6_K: `0..=63`, minus 32, a sub-scale per 16.
    U6Minus32Sub { STEPS: usize = 2, SUB_SCALES: bool = true, OFFSET_LOG2: i32 = 5 }
    /// Q8_0, codebooks: any signed byte.
    I8 { STEPS: usize = 1, SIGNED: bool = true }
    /// Codebooks with a sub-scale per 16.
    I8Sub { STEPS: usize = 1, SIGNED: bool = true, SUB_SCALES: bool = true }
}

/// How a format's blocks unpack into tiles on AVX2.
pub(crate) trait TileFormat {
    /// What the tiles hold.
    type Codes: Codes;
    /// The tiles of one block of 8 rows: `[Tile; 1]` or, for super-blocks, `[Tile; 8]`.
    type Tiles: bytemuck::Pod;
    /// Bytes per block.
    const BYTES: usize;
    /// Groups of 32 per block.
    const GROUPS: usize = size_of::<Self::Tiles>() / size_of::<Tile>();

    /// Unpacks the block that begins at each of `rows`.
    ///
    /// # Safety
    /// AVX2, FMA and F16C; `BYTES` bytes are readable at each of `rows`.
    unsafe fn unpack(rows: &[*const u8; 8], tiles: &mut Self::Tiles);
}

/// Transposes 16 bytes of each of 8 rows: result `j` holds dword `j` of every row.
///
/// # Safety
/// AVX2; 16 bytes are readable at `offset` in every row.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn transpose16(rows: &[*const u8; 8], offset: usize) -> [__m256i; 4] {
    let pair = |i: usize| {
        // SAFETY: the caller's 16 bytes in rows i and i + 4.
        unsafe {
            let low = _mm_loadu_si128(rows[i].add(offset).cast());
            let high = _mm_loadu_si128(rows[i + 4].add(offset).cast());
            _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high)
        }
    };
    let (r0, r1, r2, r3) = (pair(0), pair(1), pair(2), pair(3));
    let (a, b) = (_mm256_unpacklo_epi32(r0, r1), _mm256_unpackhi_epi32(r0, r1));
    let (c, d) = (_mm256_unpacklo_epi32(r2, r3), _mm256_unpackhi_epi32(r2, r3));
    [
        _mm256_unpacklo_epi64(a, c),
        _mm256_unpackhi_epi64(a, c),
        _mm256_unpacklo_epi64(b, d),
        _mm256_unpackhi_epi64(b, d),
    ]
}

/// Eight f16 scales, one per row, widened.
///
/// # Safety
/// F16C; 2 bytes are readable at `offset` in every row.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn load_f16(rows: &[*const u8; 8], offset: usize) -> __m256 {
    let mut bits = [0u16; 8];
    for (bits, row) in bits.iter_mut().zip(rows) {
        // SAFETY: the caller's 2 bytes.
        *bits = unsafe { row.add(offset).cast::<u16>().read_unaligned() };
    }
    // SAFETY: `bits` is 16 bytes.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(bits.as_ptr().cast()) })
}

/// Eight dwords, one per row.
///
/// # Safety
/// AVX2; 4 bytes are readable at `offset` in every row.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn load_u32(rows: &[*const u8; 8], offset: usize) -> __m256i {
    let mut words = [0u32; 8];
    for (word, row) in words.iter_mut().zip(rows) {
        // SAFETY: the caller's 4 bytes.
        *word = unsafe { row.add(offset).cast::<u32>().read_unaligned() };
    }
    // SAFETY: `words` is 32 bytes.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

/// The low 16 bits of each dword, and the high ones, as f16.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn split_f16(words: __m256i) -> (__m256, __m256) {
    let low = _mm256_and_si256(words, _mm256_set1_epi32(0xffff));
    let packed = _mm256_packus_epi32(low, _mm256_srli_epi32::<16>(words));
    let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
    (_mm256_cvtph_ps(_mm256_castsi256_si128(packed)), _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(packed)))
}

/// The low nibble of every byte.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn low_nibbles(bytes: __m256i) -> __m256i {
    _mm256_and_si256(bytes, _mm256_set1_epi8(15))
}

/// The high nibble of every byte.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn high_nibbles(bytes: __m256i) -> __m256i {
    low_nibbles(_mm256_srli_epi16::<4>(bytes))
}

/// Splits 16 bytes per row into nibbles: weights 0..16 are the low ones, 16..32 the high ones.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn nibbles(b: [__m256i; 4]) -> [__m256i; 8] {
    [
        low_nibbles(b[0]),
        low_nibbles(b[1]),
        low_nibbles(b[2]),
        low_nibbles(b[3]),
        high_nibbles(b[0]),
        high_nibbles(b[1]),
        high_nibbles(b[2]),
        high_nibbles(b[3]),
    ]
}
