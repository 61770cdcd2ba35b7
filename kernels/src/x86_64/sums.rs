//! What the sums of activations add to a product (contract section 2), made once for all rows of weights: what mins are multiplied by, or
//! what the offset of codes adds. No kind of codes has both.

#![allow(clippy::needless_range_loop, reason = "a half indexes several arrays at once")]

use super::dot::offset;
use super::simd::Simd;
use super::tile::Codes;
use crate::format::{GROUP, Mins};
use crate::matrix::QuantizedRows;
use std::arch::x86_64::*;

/// What there is of each group of 32.
enum Made {
    Nothing,
    /// An f32 for the whole group, or for each half: `dx * sum`.
    Scaled,
    ScaledHalves,
    /// An i32 for the whole group, or for each half: `-offset * sum`.
    Offset,
    OffsetHalves,
    /// Two i16, `-offset * sum`: one of the first two of each four activations, one of the others, as `vpmaddubsw` pairs them.
    OffsetPair,
}

/// By the kind of codes, and by the instruction that multiplies them.
const fn made<S: Simd, C: Codes>() -> Made {
    match C::MINS {
        Mins::Per32 => Made::Scaled,
        Mins::Per16 => Made::ScaledHalves,
        Mins::None if S::VNNI && offset::<C>() == 0 || !S::VNNI && C::OFFSET_LOG2 == 0 => Made::Nothing,
        Mins::None if S::VNNI && C::SUB_SCALES => Made::OffsetHalves,
        // Sub-scales are in the tile: `super::dot::maddubs_first`.
        Mins::None if C::SUB_SCALES => Made::Nothing,
        Mins::None if !S::VNNI && C::STEPS == 8 => Made::OffsetPair,
        Mins::None => Made::Offset,
    }
}

/// How many values of 32 bits each group has.
pub(crate) const fn per_group<S: Simd, C: Codes>() -> usize {
    match made::<S, C>() {
        Made::Nothing => 0,
        Made::Scaled | Made::Offset | Made::OffsetPair => 1,
        Made::ScaledHalves | Made::OffsetHalves => 2,
    }
}

/// The values of each group, [`per_group`] of them, of columns one after the other.
#[derive(Clone, Copy)]
pub(crate) struct GroupSums {
    pub start: *const i32,
    /// Values per column.
    pub stride: usize,
}

impl GroupSums {
    /// The same from column `c` on.
    pub(crate) fn skip_columns(self, c: usize) -> GroupSums {
        GroupSums { start: self.start.wrapping_add(c * self.stride), ..self }
    }
}

/// Writes the values of every column of `x` to `out`, which has room for just them.
///
/// # Safety
/// AVX2.
#[inline(always)]
pub(crate) unsafe fn make<S: Simd, C: Codes>(x: &QuantizedRows<'_>, out: &mut [i32]) {
    let per = per_group::<S, C>();
    // Columns follow each other without a gap, so that groups may be taken as they come.
    let whole = x.d.len() / 8 * 8;
    for g in (0..whole).step_by(8) {
        // SAFETY: 8 groups from `g` on: 256 codes, 8 scales, 16 sums and 8 or 16 results.
        unsafe {
            let from = (x.q[GROUP * g..].as_ptr(), x.d[g..].as_ptr(), x.sums[2 * g..].as_ptr());
            eight::<S, C>(from, out[per * g..].as_mut_ptr());
        }
    }
    let rest = x.d.len() - whole;
    if rest > 0 {
        let (mut q, mut d, mut sums, mut values) = ([0; 8 * GROUP], [0.0; 8], [0; 16], [0; 16]);
        q[..GROUP * rest].copy_from_slice(&x.q[GROUP * whole..]);
        d[..rest].copy_from_slice(&x.d[whole..]);
        sums[..2 * rest].copy_from_slice(&x.sums[2 * whole..]);
        // SAFETY: as above.
        unsafe { eight::<S, C>((q.as_ptr(), d.as_ptr(), sums.as_ptr()), values.as_mut_ptr()) };
        out[per * whole..].copy_from_slice(&values[..per * rest]);
    }
}

/// Those of 8 groups. No closures here and below: not all are inlined into the functions of a tier.
///
/// # Safety
/// AVX2; 256 codes, 8 scales and 16 sums can be read, and 8 values for each of [`per_group`] written.
#[inline(always)]
unsafe fn eight<S: Simd, C: Codes>((q, d, sums): (*const i8, *const f32, *const i16), out: *mut i32) {
    // SAFETY: the caller's.
    unsafe {
        let sums = _mm256_loadu_si256(sums.cast());
        let halves = [_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums)];
        let mut values = [_mm256_setzero_si256(); 2];
        match const { made::<S, C>() } {
            Made::Nothing => {}
            Made::Scaled => {
                let both = _mm256_cvtepi32_ps(_mm256_madd_epi16(sums, _mm256_set1_epi16(1)));
                values[0] = _mm256_castps_si256(_mm256_mul_ps(_mm256_loadu_ps(d), both));
            }
            Made::ScaledHalves => {
                for i in 0..2 {
                    let first = _mm256_set1_epi32(4 * i as i32);
                    let group = _mm256_add_epi32(_mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3), first);
                    let half = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(halves[i]));
                    let scaled = _mm256_mul_ps(_mm256_permutevar8x32_ps(_mm256_loadu_ps(d), group), half);
                    values[i] = _mm256_castps_si256(scaled);
                }
            }
            Made::Offset => {
                values[0] = _mm256_madd_epi16(sums, _mm256_set1_epi16(-offset::<C>() as i16));
            }
            Made::OffsetHalves => {
                for i in 0..2 {
                    let offset = _mm256_set1_epi32(-offset::<C>());
                    values[i] = _mm256_mullo_epi32(_mm256_cvtepi16_epi32(halves[i]), offset);
                }
            }
            Made::OffsetPair => {
                values[0] = _mm256_mullo_epi16(sums_of_pairs(q), _mm256_set1_epi16(-offset::<C>() as i16));
            }
        }
        for i in 0..per_group::<S, C>() {
            _mm256_storeu_si256(out.add(8 * i).cast(), values[i]);
        }
    }
}

/// Two i16 for each of 8 groups: the sum of the first two of each four codes, and of the other two.
///
/// # Safety
/// AVX2; 256 codes can be read.
#[inline(always)]
unsafe fn sums_of_pairs(q: *const i8) -> __m256i {
    // SAFETY: the caller's.
    unsafe {
        let a = _mm256_castsi256_ps(fold(quarters(q, 0), quarters(q, 1)));
        let b = _mm256_castsi256_ps(fold(quarters(q, 2), quarters(q, 3)));
        _mm256_add_epi16(
            _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(a, b)),
            _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(a, b)),
        )
    }
}

/// Of group `g` in the low half and `g + 4` in the high half: four dwords of both sums, which are to be added.
///
/// # Safety
/// As [`sums_of_pairs`].
#[inline(always)]
unsafe fn quarters(q: *const i8, g: usize) -> __m256i {
    // SAFETY: the caller's; activations are not -128, so that 16 of them fit into an i16.
    unsafe {
        let ones = _mm256_set1_epi8(1);
        let low = _mm256_maddubs_epi16(ones, _mm256_loadu_si256(q.add(GROUP * g).cast()));
        let high = _mm256_maddubs_epi16(ones, _mm256_loadu_si256(q.add(GROUP * (g + 4)).cast()));
        _mm256_add_epi16(
            _mm256_permute2x128_si256::<0x20>(low, high),
            _mm256_permute2x128_si256::<0x31>(low, high),
        )
    }
}

/// In each half, the first two dwords of `a` plus its other two, then those of `b`.
///
/// # Safety
/// AVX2.
#[inline(always)]
unsafe fn fold(a: __m256i, b: __m256i) -> __m256i {
    // SAFETY: the caller's.
    unsafe { _mm256_add_epi16(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b)) }
}
