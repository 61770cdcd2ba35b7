//! Sixteen lanes in one zmm register (AVX-512 F, BW, DQ, VL and VNNI).

use super::Lanes;
use super::avx2::{max8, sum8};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Zmm(__m512);

#[rustfmt::skip]
#[allow(clippy::undocumented_unsafe_blocks, reason = "one argument for all blocks, at the top of the impl")]
impl Lanes for Zmm {
    // SAFETY (every block in this impl): the caller has the AVX-512 features above, and pointers to 16 values.
    #[inline(always)] unsafe fn splat(x: f32) -> Self { unsafe { Zmm(_mm512_set1_ps(x)) } }
    #[inline(always)] unsafe fn load(p: *const f32) -> Self { unsafe { Zmm(_mm512_loadu_ps(p)) } }
    // `_mm512_cvtph_ps` is the form with `sae`, which cannot read its operand from memory.
    #[inline(always)] unsafe fn load_f16(p: *const u16) -> Self { unsafe { Zmm(_mm512_cvt_roundph_ps::<_MM_FROUND_CUR_DIRECTION>(_mm256_loadu_si256(p.cast()))) } }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            Zmm(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
        }
    }
    #[inline(always)] unsafe fn load_i8(p: *const i8) -> Self { unsafe { Zmm(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast())))) } }
    #[inline(always)]
    unsafe fn splat_f16(p: *const u16) -> Self {
        unsafe { Zmm(_mm512_cvtph_ps(_mm256_set1_epi16(p.cast::<i16>().read_unaligned()))) }
    }
    #[inline(always)]
    unsafe fn load_twice(p: *const f32) -> Self {
        unsafe {
            let v = _mm512_castps256_ps512(_mm256_loadu_ps(p));
            let twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
            Zmm(_mm512_permutexvar_ps(twice, v))
        }
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16) {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT;
        unsafe { _mm256_storeu_si256(p.cast(), _mm512_cvtps_ph::<NEAREST>(self.0)) }
    }
    #[inline(always)] unsafe fn store(self, p: *mut f32) { unsafe { _mm512_storeu_ps(p, self.0) } }
    #[inline(always)] unsafe fn add(self, b: Self) -> Self { unsafe { Zmm(_mm512_add_ps(self.0, b.0)) } }
    #[inline(always)] unsafe fn sub(self, b: Self) -> Self { unsafe { Zmm(_mm512_sub_ps(self.0, b.0)) } }
    #[inline(always)] unsafe fn mul(self, b: Self) -> Self { unsafe { Zmm(_mm512_mul_ps(self.0, b.0)) } }
    #[inline(always)] unsafe fn div(self, b: Self) -> Self { unsafe { Zmm(_mm512_div_ps(self.0, b.0)) } }
    #[inline(always)] unsafe fn fma(self, b: Self, c: Self) -> Self { unsafe { Zmm(_mm512_fmadd_ps(self.0, b.0, c.0)) } }
    // vmaxps is exactly `a > b ? a : b`, also for NaN and zeros; vminps `a < b ? a : b`.
    #[inline(always)] unsafe fn max(self, b: Self) -> Self { unsafe { Zmm(_mm512_max_ps(self.0, b.0)) } }
    #[inline(always)] unsafe fn min(self, b: Self) -> Self { unsafe { Zmm(_mm512_min_ps(self.0, b.0)) } }
    #[inline(always)]
    unsafe fn select_lt(self, limit: Self, a: Self, b: Self) -> Self {
        unsafe { Zmm(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, limit.0), b.0, a.0)) }
    }
    #[inline(always)]
    unsafe fn copysign(self, s: Self) -> Self {
        unsafe {
            let sign = _mm512_set1_ps(-0.0);
            Zmm(_mm512_or_ps(_mm512_andnot_ps(sign, self.0), _mm512_and_ps(sign, s.0)))
        }
    }
    #[inline(always)]
    unsafe fn scale2(self, t: Self) -> Self {
        unsafe {
            // vscalefps multiplies by a power of two with one rounding, through infinity and denormals.
            Zmm(_mm512_scalef_ps(self.0, _mm512_sub_ps(t.0, _mm512_set1_ps(super::SCALE))))
        }
    }
    #[inline(always)] unsafe fn swap_pairs(self) -> Self { unsafe { Zmm(_mm512_permute_ps::<0b10_11_00_01>(self.0)) } }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        unsafe { sum8(_mm256_add_ps(_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0))) }
    }
    #[inline(always)]
    unsafe fn max_of_all(self) -> f32 {
        unsafe { max8(_mm256_max_ps(_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0))) }
    }

    /// Plus 128, which makes them unsigned.
    type Bytes = __m512i;
    type Ints = __m512i;
    #[inline(always)]
    unsafe fn load_bytes(p: *const i8) -> Self::Bytes {
        unsafe { _mm512_xor_si512(_mm512_loadu_si512(p.cast()), _mm512_set1_epi8(-128)) }
    }
    #[inline(always)] unsafe fn zero_ints() -> Self::Ints { unsafe { _mm512_setzero_si512() } }
    #[inline(always)]
    unsafe fn dot4(sums: Self::Ints, k: Self::Bytes, q: i32) -> Self::Ints {
        unsafe {
            let q = _mm512_set1_epi32(q);
            let offset = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(-128), q);
            _mm512_sub_epi32(_mm512_dpbusd_epi32(sums, k, q), offset)
        }
    }
    #[inline(always)] unsafe fn from_ints(sums: Self::Ints) -> Self { unsafe { Zmm(_mm512_cvtepi32_ps(sums)) } }

    // 24 accumulators, 2 registers of keys or values, and broadcasts that are operands in memory.
    const ROWS: usize = 12;
}
