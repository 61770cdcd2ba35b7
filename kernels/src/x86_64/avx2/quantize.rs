//! Activation quantization, contract section 1.

use crate::format::GROUP;
use std::arch::x86_64::*;

/// Quantizes `x` as [`crate::scalar::quantize::quantize`] does.
///
/// # Safety
/// AVX2 is usable; `q`, `d`, `sums` have `x.len()`, `x.len() / 32` and `x.len() / 16` elements.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn quantize(x: &[f32], q: &mut [i8], d: &mut [f32], sums: &mut [i16]) {
    let absolute = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fff_ffff));
    for (b, d) in d.iter_mut().enumerate() {
        let (x, q) = (&x[b * GROUP..][..GROUP], &mut q[b * GROUP..][..GROUP]);
        let sums = &mut sums[2 * b..][..2];
        // SAFETY: four vectors of 8 within 32 values.
        let v: [__m256; 4] = std::array::from_fn(|i| unsafe { _mm256_loadu_ps(x.as_ptr().add(8 * i)) });
        // As integers, |x| orders like the floats and every NaN is above infinity.
        let bits = v.map(|v| _mm256_castps_si256(_mm256_and_ps(v, absolute)));
        let max = _mm256_max_epi32(_mm256_max_epi32(bits[0], bits[1]), _mm256_max_epi32(bits[2], bits[3]));
        let max = _mm_max_epi32(_mm256_castsi256_si128(max), _mm256_extracti128_si256::<1>(max));
        let max = _mm_max_epi32(max, _mm_shuffle_epi32::<0b01_00_11_10>(max));
        let max = _mm_max_epi32(max, _mm_shuffle_epi32::<0b10_11_00_01>(max));
        let amax = f32::from_bits(_mm_cvtsi128_si32(max) as u32);
        if !(amax < f32::INFINITY && amax >= f32::from_bits((127 - 100) << 23)) {
            *d = if amax < f32::INFINITY { 0.0 } else { f32::NAN };
            q.fill(0);
            sums.fill(0);
            continue;
        }
        *d = amax / 127.0;
        let id = _mm256_set1_ps(127.0 / amax);
        let i = v.map(|v| _mm256_cvtps_epi32(_mm256_mul_ps(v, id)));
        let halves = [_mm256_packs_epi32(i[0], i[1]), _mm256_packs_epi32(i[2], i[3])];
        for (sum, half) in sums.iter_mut().zip(halves) {
            let pairs = _mm256_madd_epi16(half, _mm256_set1_epi16(1));
            let s = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
            let s = _mm_add_epi32(s, _mm_shuffle_epi32::<0b01_00_11_10>(s));
            let s = _mm_add_epi32(s, _mm_shuffle_epi32::<0b10_11_00_01>(s));
            *sum = _mm_cvtsi128_si32(s) as i16;
        }
        let bytes = _mm256_packs_epi16(halves[0], halves[1]);
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        // SAFETY: 32 bytes of q.
        unsafe {
            _mm256_storeu_si256(q.as_mut_ptr().cast(), _mm256_permutevar8x32_epi32(bytes, order));
        }
    }
}
