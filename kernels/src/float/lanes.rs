//! Sixteen f32 lanes on every tier: an array, two ymm registers, four NEON registers.
//!
//! The contract's reductions use sixteen strided accumulators, so sixteen lanes are the natural unit on every machine, and
//! a kernel written over this trait returns the same bits on all of them: only operations that IEEE 754 rounds
//! correctly appear here. pulp's `Simd` is not used for these: its lane count differs per machine, it has no f16, and its
//! reductions are not the contract's tree.

/// Sixteen f32.
///
/// Methods are `unsafe` because their instructions need the tier's CPU features; call them only from
/// functions that enable those, after detection.
#[allow(clippy::missing_safety_doc, reason = "stated once, above")]
pub(crate) trait Lanes: Copy {
    unsafe fn splat(x: f32) -> Self;
    /// 16 values at `p`, unaligned.
    unsafe fn load(p: *const f32) -> Self;
    /// 16 f16 values at `p`, unaligned, widened.
    unsafe fn load_f16(p: *const u16) -> Self;
    unsafe fn store(self, p: *mut f32);
    unsafe fn add(self, b: Self) -> Self;
    unsafe fn sub(self, b: Self) -> Self;
    unsafe fn mul(self, b: Self) -> Self;
    unsafe fn div(self, b: Self) -> Self;
    /// The correctly rounded `self * b + c`.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    /// `if self > b { self } else { b }`.
    unsafe fn max(self, b: Self) -> Self;
    /// To nearest, ties to even.
    unsafe fn round(self) -> Self;
    /// `if self < limit { a } else { b }`.
    unsafe fn select_lt(self, limit: Self, a: Self, b: Self) -> Self;
    /// `|self|` with the sign of `s`.
    unsafe fn copysign(self, s: Self) -> Self;
    /// `self * 2^n` for integral `n` in [-126, 127].
    unsafe fn scale2(self, n: Self) -> Self;
    /// The tree of contract section 3.
    unsafe fn sum(self) -> f32;
}

/// The portable lanes.
#[derive(Clone, Copy)]
pub(crate) struct Array16([f32; 16]);

impl Array16 {
    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Array16(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }
}

#[rustfmt::skip]
impl Lanes for Array16 {
    #[inline(always)] unsafe fn splat(x: f32) -> Self { Array16([x; 16]) }
    // SAFETY (here and below): the caller's 16 values.
    #[inline(always)] unsafe fn load(p: *const f32) -> Self { Array16(unsafe { p.cast::<[f32; 16]>().read_unaligned() }) }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        // SAFETY: the caller's.
        let bits = unsafe { p.cast::<[u16; 16]>().read_unaligned() };
        Array16(bits.map(|b| half::f16::from_bits(b).to_f32()))
    }
    // SAFETY: the caller's.
    #[inline(always)] unsafe fn store(self, p: *mut f32) { unsafe { p.cast::<[f32; 16]>().write_unaligned(self.0) } }
    #[inline(always)] unsafe fn add(self, b: Self) -> Self { self.zip(b, |a, b| a + b) }
    #[inline(always)] unsafe fn sub(self, b: Self) -> Self { self.zip(b, |a, b| a - b) }
    #[inline(always)] unsafe fn mul(self, b: Self) -> Self { self.zip(b, |a, b| a * b) }
    #[inline(always)] unsafe fn div(self, b: Self) -> Self { self.zip(b, |a, b| a / b) }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        Array16(std::array::from_fn(|i| super::fma::fma(self.0[i], b.0[i], c.0[i])))
    }
    #[inline(always)] unsafe fn max(self, b: Self) -> Self { self.zip(b, |a, b| if a > b { a } else { b }) }
    #[inline(always)] unsafe fn round(self) -> Self { Array16(self.0.map(f32::round_ties_even)) }
    #[inline(always)]
    unsafe fn select_lt(self, limit: Self, a: Self, b: Self) -> Self {
        Array16(std::array::from_fn(|i| if self.0[i] < limit.0[i] { a.0[i] } else { b.0[i] }))
    }
    #[inline(always)] unsafe fn copysign(self, s: Self) -> Self { self.zip(s, f32::copysign) }
    #[inline(always)]
    unsafe fn scale2(self, n: Self) -> Self {
        self.zip(n, |a, n| a * f32::from_bits(((n as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let mut l = self.0;
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                l[i] += l[i + half];
            }
        }
        l[0]
    }
}

/// Two ymm registers.
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2 {
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
        // SAFETY: see above.
        #[inline(always)] unsafe fn store(self, p: *mut f32) { unsafe { _mm256_storeu_ps(p, self.0); _mm256_storeu_ps(p.add(8), self.1) } }
        #[inline(always)] unsafe fn add(self, b: Self) -> Self { both!(_mm256_add_ps, self, b) }
        #[inline(always)] unsafe fn sub(self, b: Self) -> Self { both!(_mm256_sub_ps, self, b) }
        #[inline(always)] unsafe fn mul(self, b: Self) -> Self { both!(_mm256_mul_ps, self, b) }
        #[inline(always)] unsafe fn div(self, b: Self) -> Self { both!(_mm256_div_ps, self, b) }
        #[inline(always)] unsafe fn fma(self, b: Self, c: Self) -> Self { both!(_mm256_fmadd_ps, self, b, c) }
        // vmaxps is exactly `a > b ? a : b`, also for NaN and zeros.
        #[inline(always)] unsafe fn max(self, b: Self) -> Self { both!(_mm256_max_ps, self, b) }
        #[inline(always)]
        unsafe fn round(self) -> Self {
            const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
            // SAFETY: see above.
            unsafe { Ymm2(_mm256_round_ps::<NEAREST>(self.0), _mm256_round_ps::<NEAREST>(self.1)) }
        }
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
            unsafe {
                let sign = _mm256_set1_ps(-0.0);
                let one = |a, s| _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, s));
                Ymm2(one(self.0, s.0), one(self.1, s.1))
            }
        }
        #[inline(always)]
        unsafe fn scale2(self, n: Self) -> Self {
            // SAFETY: see above.
            unsafe {
                let power = |n| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127))));
                Ymm2(_mm256_mul_ps(self.0, power(n.0)), _mm256_mul_ps(self.1, power(n.1)))
            }
        }
        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            // SAFETY: see above.
            unsafe {
                let l8 = _mm256_add_ps(self.0, self.1);
                let l4 = _mm_add_ps(_mm256_castps256_ps128(l8), _mm256_extractf128_ps::<1>(l8));
                let l2 = _mm_add_ps(l4, _mm_movehl_ps(l4, l4));
                _mm_cvtss_f32(_mm_add_ss(l2, _mm_shuffle_ps::<1>(l2, l2)))
            }
        }
    }
}

/// Four NEON registers.
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon {
    use super::Lanes;
    use std::arch::aarch64::*;

    #[derive(Clone, Copy)]
    pub(crate) struct Q4([float32x4_t; 4]);

    macro_rules! each {
        // SAFETY: NEON is part of the aarch64 baseline.
        (|$i:ident| $e:expr) => {
            Q4(std::array::from_fn(|$i| unsafe { $e }))
        };
    }

    #[rustfmt::skip]
    #[allow(unused_unsafe, reason = "some intrinsics are safe where NEON is statically enabled")]
    impl Lanes for Q4 {
        #[inline(always)] unsafe fn splat(x: f32) -> Self { each!(|_i| vdupq_n_f32(x)) }
        #[inline(always)] unsafe fn load(p: *const f32) -> Self { each!(|i| vld1q_f32(p.add(4 * i))) }
        #[inline(always)]
        unsafe fn load_f16(p: *const u16) -> Self {
            each!(|i| {
                let mut out: float32x4_t;
                // fcvtl is ARMv8.0; the f16 vector type is not stable in std yet.
                std::arch::asm!("fcvtl {o:v}.4s, {i:v}.4h", o = out(vreg) out, i = in(vreg) vld1_u16(p.add(4 * i)), options(pure, nomem, nostack));
                out
            })
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            for (i, v) in self.0.into_iter().enumerate() {
                // SAFETY: the caller's 16 values.
                unsafe { vst1q_f32(p.add(4 * i), v) }
            }
        }
        #[inline(always)] unsafe fn add(self, b: Self) -> Self { each!(|i| vaddq_f32(self.0[i], b.0[i])) }
        #[inline(always)] unsafe fn sub(self, b: Self) -> Self { each!(|i| vsubq_f32(self.0[i], b.0[i])) }
        #[inline(always)] unsafe fn mul(self, b: Self) -> Self { each!(|i| vmulq_f32(self.0[i], b.0[i])) }
        #[inline(always)] unsafe fn div(self, b: Self) -> Self { each!(|i| vdivq_f32(self.0[i], b.0[i])) }
        #[inline(always)] unsafe fn fma(self, b: Self, c: Self) -> Self { each!(|i| vfmaq_f32(c.0[i], self.0[i], b.0[i])) }
        #[inline(always)] unsafe fn max(self, b: Self) -> Self { each!(|i| vbslq_f32(vcgtq_f32(self.0[i], b.0[i]), self.0[i], b.0[i])) }
        #[inline(always)] unsafe fn round(self) -> Self { each!(|i| vrndnq_f32(self.0[i])) }
        #[inline(always)]
        unsafe fn select_lt(self, limit: Self, a: Self, b: Self) -> Self {
            each!(|i| vbslq_f32(vcltq_f32(self.0[i], limit.0[i]), a.0[i], b.0[i]))
        }
        #[inline(always)] unsafe fn copysign(self, s: Self) -> Self { each!(|i| vbslq_f32(vdupq_n_u32(1 << 31), s.0[i], self.0[i])) }
        #[inline(always)]
        unsafe fn scale2(self, n: Self) -> Self {
            each!(|i| {
                let power = vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(n.0[i]), vdupq_n_s32(127)));
                vmulq_f32(self.0[i], vreinterpretq_f32_s32(power))
            })
        }
        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            // SAFETY: NEON is part of the aarch64 baseline.
            unsafe {
                let [a, b, c, d] = self.0;
                let l4 = vaddq_f32(vaddq_f32(a, c), vaddq_f32(b, d));
                let l2 = vadd_f32(vget_low_f32(l4), vget_high_f32(l4));
                vget_lane_f32::<0>(l2) + vget_lane_f32::<1>(l2)
            }
        }
    }
}
