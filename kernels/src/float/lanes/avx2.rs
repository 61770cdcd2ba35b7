//! Sixteen lanes in two ymm registers (AVX2, FMA, F16C).

use super::Lanes;
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Ymm2(__m256, __m256);

macro_rules! both {
    ($f:ident, $a:expr $(, $b:expr)*) => {
        // SAFETY: the caller has AVX2, FMA and F16C (see `Lanes`).
        unsafe { Ymm2($f($a.0 $(, $b.0)*), $f($a.1 $(, $b.1)*)) }
    };
}

#[rustfmt::skip]
#[allow(clippy::undocumented_unsafe_blocks, reason = "one argument for all blocks, at the top of the impl")]
impl Lanes for Ymm2 {
    // SAFETY (every block in this impl): the caller has AVX2, FMA and F16C, and pointers to 16 values.
    #[inline(always)] unsafe fn splat(x: f32) -> Self { unsafe { Ymm2(_mm256_set1_ps(x), _mm256_set1_ps(x)) } }
    // SAFETY: see above.
    #[inline(always)] unsafe fn load(p: *const f32) -> Self { unsafe { Ymm2(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) } }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        // SAFETY: see above.
        unsafe { Ymm2(_mm256_cvtph_ps(_mm_loadu_si128(p.cast())), _mm256_cvtph_ps(_mm_loadu_si128(p.add(8).cast()))) }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self {
        // SAFETY: see above.
        unsafe { Ymm2(load_bf16(p), load_bf16(p.add(8))) }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self {
        // SAFETY: see above.
        unsafe { Ymm2(load_i8(p), load_i8(p.add(8))) }
    }
    #[inline(always)]
    unsafe fn splat_f16(p: *const u16) -> Self {
        // SAFETY: see above.
        unsafe {
            let v = _mm256_cvtph_ps(_mm_set1_epi16(p.cast::<i16>().read_unaligned()));
            Ymm2(v, v)
        }
    }
    #[inline(always)]
    unsafe fn load_twice(p: *const f32) -> Self {
        // SAFETY: see above; 8 values.
        unsafe {
            let v = _mm256_loadu_ps(p);
            let (low, high) = (_mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3), _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7));
            Ymm2(_mm256_permutevar8x32_ps(v, low), _mm256_permutevar8x32_ps(v, high))
        }
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16) {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT;
        // SAFETY: see above.
        unsafe {
            _mm_storeu_si128(p.cast(), _mm256_cvtps_ph::<NEAREST>(self.0));
            _mm_storeu_si128(p.add(8).cast(), _mm256_cvtps_ph::<NEAREST>(self.1));
        }
    }
    // SAFETY: see above.
    #[inline(always)] unsafe fn store(self, p: *mut f32) { unsafe { _mm256_storeu_ps(p, self.0); _mm256_storeu_ps(p.add(8), self.1) } }
    #[inline(always)] unsafe fn add(self, b: Self) -> Self { both!(_mm256_add_ps, self, b) }
    #[inline(always)] unsafe fn sub(self, b: Self) -> Self { both!(_mm256_sub_ps, self, b) }
    #[inline(always)] unsafe fn mul(self, b: Self) -> Self { both!(_mm256_mul_ps, self, b) }
    #[inline(always)] unsafe fn div(self, b: Self) -> Self { both!(_mm256_div_ps, self, b) }
    #[inline(always)] unsafe fn fma(self, b: Self, c: Self) -> Self { both!(_mm256_fmadd_ps, self, b, c) }
    // vmaxps is exactly `a > b ? a : b`, also for NaN and zeros; vminps `a < b ? a : b`.
    #[inline(always)] unsafe fn max(self, b: Self) -> Self { both!(_mm256_max_ps, self, b) }
    #[inline(always)] unsafe fn min(self, b: Self) -> Self { both!(_mm256_min_ps, self, b) }
    #[inline(always)]
    unsafe fn select_lt(self, limit: Self, a: Self, b: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            let (m0, m1) = (_mm256_cmp_ps::<_CMP_LT_OQ>(self.0, limit.0), _mm256_cmp_ps::<_CMP_LT_OQ>(self.1, limit.1));
            Ymm2(_mm256_blendv_ps(b.0, a.0, m0), _mm256_blendv_ps(b.1, a.1, m1))
        }
    }
    #[inline(always)]
    unsafe fn copysign(self, s: Self) -> Self {
        // SAFETY: see above.
        unsafe { Ymm2(copysign(self.0, s.0), copysign(self.1, s.1)) }
    }
    #[inline(always)]
    unsafe fn scale2(self, t: Self) -> Self {
        // SAFETY: see above.
        unsafe { Ymm2(scale2(self.0, t.0), scale2(self.1, t.1)) }
    }
    #[inline(always)] unsafe fn swap_pairs(self) -> Self { both!(swap_pairs, self) }
    // SAFETY: see above.
    #[inline(always)] unsafe fn sum(self) -> f32 { unsafe { sum8(_mm256_add_ps(self.0, self.1)) } }
    // SAFETY: see above.
    #[inline(always)] unsafe fn max_of_all(self) -> f32 { unsafe { max8(_mm256_max_ps(self.0, self.1)) } }

    type Bytes = (__m256i, __m256i);
    type Ints = (__m256i, __m256i);
    // SAFETY: see above.
    #[inline(always)] unsafe fn load_bytes(p: *const i8) -> Self::Bytes { unsafe { (_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(32).cast())) } }
    // SAFETY: see above.
    #[inline(always)] unsafe fn zero_ints() -> Self::Ints { unsafe { (_mm256_setzero_si256(), _mm256_setzero_si256()) } }
    #[inline(always)]
    unsafe fn dot4(sums: Self::Ints, k: Self::Bytes, q: i32) -> Self::Ints {
        // SAFETY: see above.
        unsafe { (dot4(sums.0, k.0, _mm256_set1_epi32(q)), dot4(sums.1, k.1, _mm256_set1_epi32(q))) }
    }
    // SAFETY: see above.
    #[inline(always)] unsafe fn from_ints(sums: Self::Ints) -> Self { unsafe { Ymm2(_mm256_cvtepi32_ps(sums.0), _mm256_cvtepi32_ps(sums.1)) } }

    // 12 accumulators, 2 registers of keys or values and one broadcast.
    const ROWS: usize = 6;
}

// Free functions and not closures: only functions can be forced inline into the caller that has the features.

/// The last three levels of the tree of contract section 3.
#[inline(always)]
pub(super) unsafe fn sum8(l8: __m256) -> f32 {
    // SAFETY: the caller has AVX2.
    unsafe {
        let l4 = _mm_add_ps(_mm256_castps256_ps128(l8), _mm256_extractf128_ps::<1>(l8));
        let l2 = _mm_add_ps(l4, _mm_movehl_ps(l4, l4));
        _mm_cvtss_f32(_mm_add_ss(l2, _mm_shuffle_ps::<1>(l2, l2)))
    }
}

/// As [`sum8`], of maxima.
#[inline(always)]
pub(super) unsafe fn max8(l8: __m256) -> f32 {
    // SAFETY: the caller has AVX2.
    unsafe {
        let l4 = _mm_max_ps(_mm256_castps256_ps128(l8), _mm256_extractf128_ps::<1>(l8));
        let l2 = _mm_max_ps(l4, _mm_movehl_ps(l4, l4));
        _mm_cvtss_f32(_mm_max_ss(l2, _mm_shuffle_ps::<1>(l2, l2)))
    }
}

#[inline(always)]
unsafe fn copysign(a: __m256, s: __m256) -> __m256 {
    // SAFETY: the caller has AVX2.
    unsafe {
        let sign = _mm256_set1_ps(-0.0);
        _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, s))
    }
}

#[inline(always)]
unsafe fn scale2(p: __m256, t: __m256) -> __m256 {
    // SAFETY: the caller has AVX2.
    unsafe {
        // The low 9 bits are n + 254; each half of it is a biased exponent, and shifting drops the rest.
        let e = _mm256_castps_si256(t);
        let half = _mm256_srli_epi32::<1>(e);
        let (a, b) = (_mm256_slli_epi32::<23>(half), _mm256_slli_epi32::<23>(_mm256_sub_epi32(e, half)));
        _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b))
    }
}

#[inline(always)]
unsafe fn swap_pairs(x: __m256) -> __m256 {
    // SAFETY: the caller has AVX2.
    unsafe { _mm256_permute_ps::<0b10_11_00_01>(x) }
}

#[inline(always)]
unsafe fn load_bf16(p: *const u16) -> __m256 {
    // SAFETY: the caller has AVX2 and 8 values.
    unsafe {
        let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
    }
}

#[inline(always)]
unsafe fn load_i8(p: *const i8) -> __m256 {
    // SAFETY: the caller has AVX2 and 8 values.
    unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast()))) }
}

#[inline(always)]
unsafe fn dot4(sum: __m256i, k: __m256i, q: __m256i) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe {
        // |k| times q with k's sign: a pair is at most 2 * 127 * 127, which an i16 holds.
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(k), _mm256_sign_epi8(q, k));
        _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }
}
