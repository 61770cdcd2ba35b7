//! Sixteen lanes in four NEON registers (ARMv8.0).

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
#[allow(clippy::undocumented_unsafe_blocks, reason = "one argument for all blocks, at the top of the impl")]
#[allow(unused_unsafe, reason = "some intrinsics are safe where NEON is statically enabled")]
impl Lanes for Q4 {
    // SAFETY (every block in this impl): NEON is part of the aarch64 baseline; the caller has pointers to 16 values.
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
    unsafe fn load_bf16(p: *const u16) -> Self { each!(|i| vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(p.add(4 * i))))) }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self {
        // SAFETY: the caller's 16 values.
        unsafe {
            let v = vld1q_s8(p);
            let (a, b) = (vmovl_s8(vget_low_s8(v)), vmovl_s8(vget_high_s8(v)));
            let quarters = [vget_low_s16(a), vget_high_s16(a), vget_low_s16(b), vget_high_s16(b)];
            Q4(quarters.map(|q| vcvtq_f32_s32(vmovl_s16(q))))
        }
    }
    #[inline(always)]
    unsafe fn splat_f16(p: *const u16) -> Self {
        // SAFETY: the caller's value; fcvtl as in `load_f16`.
        unsafe {
            let mut out: float32x4_t;
            std::arch::asm!("fcvtl {o:v}.4s, {i:v}.4h", o = out(vreg) out, i = in(vreg) vdup_n_u16(p.read_unaligned()), options(pure, nomem, nostack));
            Q4([out; 4])
        }
    }
    #[inline(always)]
    unsafe fn load_twice(p: *const f32) -> Self {
        // SAFETY: the caller's 8 values.
        unsafe {
            let (a, b) = (vld1q_f32(p), vld1q_f32(p.add(4)));
            Q4([vzip1q_f32(a, a), vzip2q_f32(a, a), vzip1q_f32(b, b), vzip2q_f32(b, b)])
        }
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16) {
        for (i, v) in self.0.into_iter().enumerate() {
            // SAFETY: the caller's 16 values; fcvtn is ARMv8.0.
            unsafe {
                let mut out: uint16x4_t;
                std::arch::asm!("fcvtn {o:v}.4h, {i:v}.4s", o = out(vreg) out, i = in(vreg) v, options(pure, nomem, nostack));
                vst1_u16(p.add(4 * i), out);
            }
        }
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
    #[inline(always)] unsafe fn min(self, b: Self) -> Self { each!(|i| vbslq_f32(vcltq_f32(self.0[i], b.0[i]), self.0[i], b.0[i])) }
    #[inline(always)]
    unsafe fn select_lt(self, limit: Self, a: Self, b: Self) -> Self {
        each!(|i| vbslq_f32(vcltq_f32(self.0[i], limit.0[i]), a.0[i], b.0[i]))
    }
    #[inline(always)] unsafe fn copysign(self, s: Self) -> Self { each!(|i| vbslq_f32(vdupq_n_u32(1 << 31), s.0[i], self.0[i])) }
    #[inline(always)]
    unsafe fn scale2(self, t: Self) -> Self {
        each!(|i| {
            // The low 9 bits are n + 254; each half of it is a biased exponent, and shifting drops the rest.
            let e = vreinterpretq_u32_f32(t.0[i]);
            let half = vshrq_n_u32::<1>(e);
            let (a, b) = (vshlq_n_u32::<23>(half), vshlq_n_u32::<23>(vsubq_u32(e, half)));
            vmulq_f32(vmulq_f32(self.0[i], vreinterpretq_f32_u32(a)), vreinterpretq_f32_u32(b))
        })
    }
    #[inline(always)] unsafe fn swap_pairs(self) -> Self { each!(|i| vrev64q_f32(self.0[i])) }
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
    #[inline(always)]
    unsafe fn max_of_all(self) -> f32 {
        // SAFETY: NEON is part of the aarch64 baseline.
        unsafe {
            let max = |a, b| vbslq_f32(vcgtq_f32(a, b), a, b);
            let [a, b, c, d] = self.0;
            let l4 = max(max(a, c), max(b, d));
            let l2 = max(l4, vextq_f32::<2>(l4, l4));
            let (x, y) = (vgetq_lane_f32::<0>(l2), vgetq_lane_f32::<1>(l2));
            if x > y { x } else { y }
        }
    }

    type Bytes = [int8x16_t; 4];
    type Ints = [int32x4_t; 4];
    // SAFETY: the caller's 64 bytes.
    #[inline(always)] unsafe fn load_bytes(p: *const i8) -> Self::Bytes { std::array::from_fn(|i| unsafe { vld1q_s8(p.add(16 * i)) }) }
    // SAFETY: NEON is part of the aarch64 baseline.
    #[inline(always)] unsafe fn zero_ints() -> Self::Ints { [unsafe { vdupq_n_s32(0) }; 4] }
    #[inline(always)]
    unsafe fn dot4(sums: Self::Ints, k: Self::Bytes, q: i32) -> Self::Ints {
        // SAFETY: NEON is part of the aarch64 baseline.
        std::array::from_fn(|i| unsafe {
            let q = vreinterpretq_s8_s32(vdupq_n_s32(q));
            let (a, b) = (vmull_s8(vget_low_s8(k[i]), vget_low_s8(q)), vmull_high_s8(k[i], q));
            // A pair is at most 2 * 127 * 127, which an i16 holds.
            vpadalq_s16(sums[i], vpaddq_s16(a, b))
        })
    }
    // SAFETY: NEON is part of the aarch64 baseline.
    #[inline(always)] unsafe fn from_ints(sums: Self::Ints) -> Self { Q4(sums.map(|s| unsafe { vcvtq_f32_s32(s) })) }

    // 16 accumulators, 4 registers of keys or values and the broadcasts, of 32.
    const ROWS: usize = 4;
}
