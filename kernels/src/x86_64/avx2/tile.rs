//! Eight rows by 32 weights in registers, and their exact integer dot product with one activation group.
//!
//! | instruction | per 8 x 32 weights and column | note |
//! |---|---|---|
//! | vpbroadcastd (load) | 8 | 4 activations to every row |
//! | vpmaddubsw | 8 | unsigned codes x signed activations, i16 |
//! | vpaddw | 8 - 8/STEPS | STEPS products fit an i16 |
//! | vpmaddwd | 8/STEPS | widens to i32; sub-scales ride along free |
//! | vcvtdq2ps, vmulps, vfmadd | 3 | the float step |

use crate::format::Mins;
use std::arch::x86_64::*;

/// 32 weights of 8 rows. `codes[j]` holds weights `4j .. 4j+4` of each row, one dword per row.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// Unsigned codes (`q + OFFSET`), or signed ones where `SIGNED`.
    pub codes: [__m256i; 8],
    /// Scale of each row.
    pub d: __m256,
    /// Sub-scales of each half as i16 pairs `(s, s)` per row; unused without `SUB_SCALES`.
    pub s: [__m256i; 2],
    /// Mins of each half; unused without mins, equal for one min per 32.
    pub m: [__m256; 2],
}

/// How a format's blocks load into tiles on AVX2.
pub(crate) trait TileFormat {
    /// Whether and how the format has mins.
    const MINS: Mins = Mins::None;
    /// Whether halves have integer sub-scales.
    const SUB_SCALES: bool = false;
    /// `codes = q + (1 << OFFSET_LOG2)`, or 0 for no offset.
    const OFFSET_LOG2: i32 = 0;
    /// Codes are signed bytes: |w| becomes the unsigned side and its sign goes to x.
    const SIGNED: bool = false;
    /// How many vpmaddubsw results one i16 can hold: 8 for codes up to 15, 4 up to 31, 2 up to 63, 1 up to 127
    /// and for signed codes.
    const STEPS: usize;

    /// Loads group `g` of the rows whose first bytes are `rows`.
    ///
    /// # Safety
    /// AVX2, FMA and F16C; each row holds at least `32 * (g + 1)` weights.
    unsafe fn load(rows: &[*const u8; 8], g: usize) -> Tile;
}

/// The integer sum of contract section 2 for 8 rows and one column.
///
/// # Safety
/// AVX2; `x` points to 32 activations, none of them -128; `sums` to their two half sums.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn isum<F: TileFormat>(t: &Tile, x: *const i8, sums: *const i16) -> __m256i {
    let mut total = _mm256_setzero_si256();
    for part in 0..8 / F::STEPS {
        let mut products = _mm256_setzero_si256();
        for j in part * F::STEPS..(part + 1) * F::STEPS {
            // SAFETY: j < 8, so these 4 bytes are within the 32 activations.
            let xj = _mm256_set1_epi32(unsafe { x.add(4 * j).cast::<i32>().read_unaligned() });
            let w = t.codes[j];
            let product = if F::SIGNED {
                _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(xj, w))
            } else {
                _mm256_maddubs_epi16(w, xj)
            };
            products = _mm256_add_epi16(products, product);
        }
        let s = if F::SUB_SCALES { t.s[part * F::STEPS / 4] } else { _mm256_set1_epi16(1) };
        total = _mm256_add_epi32(total, _mm256_madd_epi16(products, s));
    }
    if F::OFFSET_LOG2 > 0 {
        // SAFETY: the caller's two half sums.
        let (low, high) = unsafe { (*sums, *sums.add(1)) };
        let extra = if F::SUB_SCALES {
            let s = _mm256_blend_epi16::<0b1010_1010>(t.s[0], t.s[1]);
            let pair = (i32::from(high) << 16) | i32::from(low as u16);
            _mm256_madd_epi16(s, _mm256_set1_epi32(pair))
        } else {
            _mm256_set1_epi32(i32::from(low) + i32::from(high))
        };
        let extra = _mm256_sll_epi32(extra, _mm_cvtsi32_si128(F::OFFSET_LOG2));
        total = _mm256_sub_epi32(total, extra);
    }
    total
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

/// Splits 16 bytes per row into nibbles: weights 0..16 are the low ones, 16..32 the high ones.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn nibbles(bytes: [__m256i; 4]) -> [__m256i; 8] {
    let mask = _mm256_set1_epi8(15);
    let mut codes = [mask; 8];
    for j in 0..4 {
        codes[j] = _mm256_and_si256(bytes[j], mask);
        codes[j + 4] = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes[j]), mask);
    }
    codes
}
