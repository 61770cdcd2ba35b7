//! Activation quantization, contract section 1.

use crate::format::GROUP;
use std::arch::aarch64::*;

/// Quantizes `x` as [`crate::scalar::quantize::quantize`] does.
///
/// # Safety
/// `q`, `d`, `sums` have `x.len()`, `x.len() / 32` and `x.len() / 16` elements.
pub(crate) unsafe fn quantize(x: &[f32], q: &mut [i8], d: &mut [f32], sums: &mut [i16]) {
    for (b, d) in d.iter_mut().enumerate() {
        let (x, q) = (&x[b * GROUP..][..GROUP], &mut q[b * GROUP..][..GROUP]);
        let sums = &mut sums[2 * b..][..2];
        // SAFETY: eight vectors of 4 within 32 values; NEON is part of the aarch64 baseline.
        let v: [float32x4_t; 8] = std::array::from_fn(|i| unsafe { vld1q_f32(x.as_ptr().add(4 * i)) });
        // SAFETY: NEON is part of the aarch64 baseline.
        let amax = unsafe {
            // As integers, |x| orders like the floats and every NaN is above infinity.
            let bits = v.map(|v| vreinterpretq_u32_f32(vabsq_f32(v)));
            let max: [uint32x4_t; 4] = std::array::from_fn(|i| vmaxq_u32(bits[i], bits[i + 4]));
            f32::from_bits(vmaxvq_u32(vmaxq_u32(vmaxq_u32(max[0], max[1]), vmaxq_u32(max[2], max[3]))))
        };
        if !(amax < f32::INFINITY && amax >= f32::from_bits((127 - 100) << 23)) {
            *d = if amax < f32::INFINITY { 0.0 } else { f32::NAN };
            q.fill(0);
            sums.fill(0);
            continue;
        }
        *d = amax / 127.0;
        let id = 127.0 / amax;
        // SAFETY: two vectors of 16 within the 32 bytes of q; NEON is part of the aarch64 baseline.
        unsafe {
            let i = v.map(|v| vcvtnq_s32_f32(vmulq_n_f32(v, id)));
            for h in 0..2 {
                let pair = |j: usize| vmovn_high_s32(vmovn_s32(i[4 * h + j]), i[4 * h + j + 1]);
                let (low, high) = (pair(0), pair(2));
                sums[h] = vaddvq_s16(vaddq_s16(low, high));
                vst1q_s8(q.as_mut_ptr().add(16 * h), vmovn_high_s16(vmovn_s16(low), high));
            }
        }
    }
}
