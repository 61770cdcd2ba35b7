//! Activation quantization, contract section 1.
//!
//! Four blocks at a time, whose largest values and sums are found side by side; and the scales of many blocks before the codes of
//! any, or else each four would wait for a chain of shuffles and divisions.

use crate::format::GROUP;
use std::arch::x86_64::*;

/// Blocks whose largest values or sums are found together.
const BLOCKS: usize = 4;
/// Blocks whose scales are found before their codes: 4 KiB, which stay in L1.
const CHUNK: usize = 32;

/// Below this a block is a zero block, and from infinity on it has no scale; both as integers.
const SMALLEST: i32 = (127 - 100) << 23;
const INFINITY: i32 = 0xff << 23;

/// Quantizes `x` as [`crate::scalar::quantize::quantize`] does.
///
/// # Safety
/// AVX2 is usable; `q`, `d`, `sums` have `x.len()`, `x.len() / 32` and `x.len() / 16` elements.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn quantize(x: &[f32], q: &mut [i8], d: &mut [f32], sums: &mut [i16]) {
    let blocks = d.len();
    let (q, d, sums) = (q.as_mut_ptr(), d.as_mut_ptr(), sums.as_mut_ptr());
    // SAFETY: blocks `b..b + n` are among `blocks`, of which each has 32 values, 32 codes, a scale and two sums.
    unsafe {
        let at = |b: usize| (x.as_ptr().add(b * GROUP), q.add(b * GROUP), d.add(b), sums.add(2 * b));
        if blocks < BLOCKS {
            return (0..blocks).for_each(|b| one(at(b)));
        }
        for b in (0..blocks).step_by(CHUNK) {
            // The last fours may be partly those before them again: what they write is the same.
            let b = b.min(blocks - BLOCKS);
            chunk(at(b), (blocks - b).min(CHUNK));
        }
    }
}

/// Where a block's or several blocks' values are, and where their codes, scales and sums go.
type At = (*const f32, *mut i8, *mut f32, *mut i16);

/// The 32 values of a block.
///
/// # Safety
/// AVX2 is usable, and 32 values can be read.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load(x: *const f32) -> [__m256; 4] {
    // SAFETY: the caller's.
    std::array::from_fn(|i| unsafe { _mm256_loadu_ps(x.add(8 * i)) })
}

/// The largest absolute value of each lane, as an integer: as such |x| orders like the floats and every NaN is above infinity.
///
/// # Safety
/// As [`load`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn largest(x: *const f32) -> __m256i {
    // SAFETY: the caller's.
    let bits =
        unsafe { load(x) }.map(|v| _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(i32::MAX)));
    _mm256_max_epi32(_mm256_max_epi32(bits[0], bits[1]), _mm256_max_epi32(bits[2], bits[3]))
}

/// The codes of a block, in order: `x * id` rounded to the nearest.
///
/// # Safety
/// As [`load`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn codes(x: *const f32, id: __m256) -> __m256i {
    // SAFETY: the caller's.
    let i = unsafe { load(x) }.map(|v| _mm256_cvtps_epi32(_mm256_mul_ps(v, id)));
    let bytes = _mm256_packs_epi16(_mm256_packs_epi32(i[0], i[1]), _mm256_packs_epi32(i[2], i[3]));
    _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
}

/// The sum of each eight codes plus 1024, as an integer of 64 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn sums_of_eight(codes: __m256i) -> __m256i {
    _mm256_sad_epu8(_mm256_xor_si256(codes, _mm256_set1_epi8(-128)), _mm256_setzero_si256())
}

/// `n` blocks, from 4 to [`CHUNK`].
///
/// # Safety
/// AVX2 is usable; so many blocks of values can be read, and their codes, scales and sums written.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn chunk((x, q, d, sums): At, n: usize) {
    let fours = || (0..n).step_by(BLOCKS).map(|b| b.min(n - BLOCKS));
    let mut reciprocals = [0.0; CHUNK];
    // SAFETY: four blocks from `b` on are among the caller's.
    unsafe {
        let mut usual = true;
        for b in fours() {
            usual &= scales(x.add(b * GROUP), d.add(b), &mut reciprocals[b..]);
        }
        if !usual {
            return (0..n).for_each(|b| one((x.add(b * GROUP), q.add(b * GROUP), d.add(b), sums.add(2 * b))));
        }
        for b in fours() {
            let eights = std::array::from_fn(|i| {
                let at = (b + i) * GROUP;
                let codes = codes(x.add(at), _mm256_set1_ps(reciprocals[b + i]));
                _mm256_storeu_si256(q.add(at).cast(), codes);
                sums_of_eight(codes)
            });
            _mm_storeu_si128(sums.add(2 * b).cast(), sums_of_sixteen(eights));
        }
    }
}

/// The scales of four blocks and their reciprocals; whether all of them are neither zero blocks nor without a scale.
///
/// # Safety
/// AVX2 is usable; 128 values can be read and four scales written.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn scales(x: *const f32, d: *mut f32, reciprocals: &mut [f32]) -> bool {
    // SAFETY: the caller's, here and below.
    let m: [__m256i; BLOCKS] = std::array::from_fn(|b| unsafe { largest(x.add(b * GROUP)) });
    let pair = |a, b| _mm256_max_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let (a, b) = (pair(m[0], m[1]), pair(m[2], m[3]));
    let m = _mm256_max_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let amax = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256::<1>(m));
    let usual = _mm_and_si128(
        _mm_cmpgt_epi32(amax, _mm_set1_epi32(SMALLEST - 1)),
        _mm_cmpgt_epi32(_mm_set1_epi32(INFINITY), amax),
    );
    let (amax, most) = (_mm_castsi128_ps(amax), _mm_set1_ps(127.0));
    // SAFETY: four of each.
    unsafe {
        _mm_storeu_ps(d, _mm_div_ps(amax, most));
        _mm_storeu_ps(reciprocals[..BLOCKS].as_mut_ptr(), _mm_div_ps(most, amax));
    }
    _mm_movemask_ps(_mm_castsi128_ps(usual)) == 0b1111
}

/// The sums of each sixteen codes of four blocks.
#[inline]
#[target_feature(enable = "avx2")]
fn sums_of_sixteen(eights: [__m256i; BLOCKS]) -> __m128i {
    let [a, b, c, d] = eights;
    // Within each half: the first and the second eight of a, of b, of c and of d.
    let words = _mm256_packus_epi32(_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d));
    let sums = _mm256_madd_epi16(words, _mm256_set1_epi16(1));
    let sums = _mm256_sub_epi32(sums, _mm256_set1_epi32(2 * 1024));
    let halves = _mm_packs_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    _mm_unpacklo_epi16(halves, _mm_unpackhi_epi64(halves, halves))
}

/// One block. Not inline: [`chunk`] would keep registers for it.
///
/// # Safety
/// AVX2 is usable; 32 values can be read; 32 codes, a scale and two sums can be written.
#[inline(never)]
#[target_feature(enable = "avx2")]
unsafe fn one((x, q, d, sums): At) {
    // SAFETY: the caller's.
    let m = unsafe { largest(x) };
    let m = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256::<1>(m));
    let m = _mm_max_epi32(m, _mm_shuffle_epi32::<0b01_00_11_10>(m));
    let m = _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32::<0b10_11_00_01>(m)));
    let amax = f32::from_bits(m as u32);
    let (scale, codes) = match m {
        INFINITY.. => (f32::NAN, _mm256_setzero_si256()),
        ..SMALLEST => (0.0, _mm256_setzero_si256()),
        // SAFETY: the caller's.
        _ => (amax / 127.0, unsafe { codes(x, _mm256_set1_ps(127.0 / amax)) }),
    };
    // SAFETY: the block's codes, scale and sums.
    unsafe {
        _mm256_storeu_si256(q.cast(), codes);
        *d = scale;
        let sum = sums_of_sixteen([sums_of_eight(codes); BLOCKS]);
        sums.cast::<i32>().write_unaligned(_mm_cvtsi128_si32(sum));
    }
}
