//! Activation quantization, contract section 1.

use crate::float::fma::nearest;
use crate::format::GROUP;

/// Below this the reciprocal `127 / amax` could overflow; such a block is a zero block.
const SMALLEST: f32 = f32::from_bits((127 - 100) << 23);

/// Quantizes `x` (a multiple of 32 values) into `q`, one scale per 32 in `d` and one sum per 16 in `sums`.
pub(crate) fn quantize(x: &[f32], q: &mut [i8], d: &mut [f32], sums: &mut [i16]) {
    let outputs = q.chunks_exact_mut(GROUP).zip(d.iter_mut()).zip(sums.chunks_exact_mut(2));
    for (x, ((q, d), sums)) in x.chunks_exact(GROUP).zip(outputs) {
        let amax = x.iter().fold(0.0f32, |m, v| if v.abs() > m { v.abs() } else { m });
        // A NaN never wins the maximum above, so look for it by itself.
        let finite = x.iter().all(|v| v.is_finite());
        if !finite || amax < SMALLEST {
            *d = if finite { 0.0 } else { f32::NAN };
            q.fill(0);
            sums.fill(0);
            continue;
        }
        let id = 127.0 / amax;
        *d = amax / 127.0;
        for (half, sum) in sums.iter_mut().enumerate() {
            *sum = 0;
            for i in 16 * half..16 * half + 16 {
                q[i] = nearest(x[i] * id) as i8;
                *sum += i16::from(q[i]);
            }
        }
    }
}
