//! Sixteen lanes in an array: the portable tier.

use super::Lanes;
use crate::float::fma::fma;
use half::{bf16, f16};

/// The portable lanes.
#[derive(Clone, Copy)]
pub(crate) struct Array16([f32; 16]);

impl Array16 {
    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Array16(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }
}

// Sixteen software multiply-adds or conversions are long: kept out of line, or the attention kernel alone is 1.9 MB and takes
// the compiler a minute and a half.

#[inline(never)]
fn fma_each(a: &[f32; 16], b: &[f32; 16], c: &[f32; 16]) -> [f32; 16] {
    // A loop, which is vectorized as one: `from_fn` is unrolled first, and then it is by chance that steps are joined again.
    let mut out = [0.0; 16];
    for i in 0..16 {
        out[i] = fma(a[i], b[i], c[i]);
    }
    out
}

#[inline(never)]
fn widen_each(bits: &[u16; 16]) -> [f32; 16] {
    bits.map(|b| f16::from_bits(b).to_f32())
}

#[inline(never)]
fn narrow_each(x: &[f32; 16]) -> [u16; 16] {
    x.map(|x| f16::from_f32(x).to_bits())
}

#[rustfmt::skip]
#[allow(clippy::undocumented_unsafe_blocks, reason = "one argument for all blocks, at the top of the impl")]
impl Lanes for Array16 {
    #[inline(always)] unsafe fn splat(x: f32) -> Self { Array16([x; 16]) }
    // SAFETY (here and below): the caller's 16 values.
    #[inline(always)] unsafe fn load(p: *const f32) -> Self { Array16(unsafe { p.cast::<[f32; 16]>().read_unaligned() }) }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        // SAFETY: the caller's.
        let bits = unsafe { p.cast::<[u16; 16]>().read_unaligned() };
        Array16(widen_each(&bits))
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self {
        // SAFETY: the caller's.
        let bits = unsafe { p.cast::<[u16; 16]>().read_unaligned() };
        Array16(bits.map(|b| bf16::from_bits(b).to_f32()))
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self {
        // SAFETY: the caller's.
        Array16(unsafe { p.cast::<[i8; 16]>().read_unaligned() }.map(f32::from))
    }
    #[inline(always)]
    unsafe fn splat_f16(p: *const u16) -> Self {
        // SAFETY: the caller's.
        Array16([f16::from_bits(unsafe { p.read_unaligned() }).to_f32(); 16])
    }
    #[inline(always)]
    unsafe fn load_twice(p: *const f32) -> Self {
        // SAFETY: the caller's 8 values.
        let x = unsafe { p.cast::<[f32; 8]>().read_unaligned() };
        Array16(std::array::from_fn(|i| x[i / 2]))
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16) {
        // SAFETY: the caller's.
        unsafe { p.cast::<[u16; 16]>().write_unaligned(narrow_each(&self.0)) }
    }
    // SAFETY: the caller's.
    #[inline(always)] unsafe fn store(self, p: *mut f32) { unsafe { p.cast::<[f32; 16]>().write_unaligned(self.0) } }
    #[inline(always)] unsafe fn add(self, b: Self) -> Self { self.zip(b, |a, b| a + b) }
    #[inline(always)] unsafe fn sub(self, b: Self) -> Self { self.zip(b, |a, b| a - b) }
    #[inline(always)] unsafe fn mul(self, b: Self) -> Self { self.zip(b, |a, b| a * b) }
    #[inline(always)] unsafe fn div(self, b: Self) -> Self { self.zip(b, |a, b| a / b) }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        Array16(fma_each(&self.0, &b.0, &c.0))
    }
    #[inline(always)] unsafe fn max(self, b: Self) -> Self { self.zip(b, |a, b| if a > b { a } else { b }) }
    #[inline(always)] unsafe fn min(self, b: Self) -> Self { self.zip(b, |a, b| if a < b { a } else { b }) }
    #[inline(always)]
    unsafe fn select_lt(self, limit: Self, a: Self, b: Self) -> Self {
        Array16(std::array::from_fn(|i| if self.0[i] < limit.0[i] { a.0[i] } else { b.0[i] }))
    }
    #[inline(always)] unsafe fn copysign(self, s: Self) -> Self { self.zip(s, f32::copysign) }
    #[inline(always)]
    unsafe fn scale2(self, t: Self) -> Self {
        self.zip(t, |p, t| {
            let e = t.to_bits() & 511;
            p * f32::from_bits((e >> 1) << 23) * f32::from_bits((e - (e >> 1)) << 23)
        })
    }
    #[inline(always)] unsafe fn swap_pairs(self) -> Self { Array16(std::array::from_fn(|i| self.0[i ^ 1])) }
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
    #[inline(always)]
    unsafe fn max_of_all(self) -> f32 {
        let mut l = self.0;
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                l[i] = if l[i] > l[i + half] { l[i] } else { l[i + half] };
            }
        }
        l[0]
    }

    type Bytes = [[i8; 4]; 16];
    type Ints = [i32; 16];
    // SAFETY: the caller's.
    #[inline(always)] unsafe fn load_bytes(p: *const i8) -> Self::Bytes { unsafe { p.cast::<Self::Bytes>().read_unaligned() } }
    #[inline(always)] unsafe fn zero_ints() -> Self::Ints { [0; 16] }
    #[inline(always)]
    unsafe fn dot4(sums: Self::Ints, k: Self::Bytes, q: i32) -> Self::Ints {
        let q = q.to_ne_bytes().map(|b| i32::from(b as i8));
        std::array::from_fn(|i| sums[i] + (0..4).map(|t| i32::from(k[i][t]) * q[t]).sum::<i32>())
    }
    #[inline(always)] unsafe fn from_ints(sums: Self::Ints) -> Self { Array16(sums.map(|s| s as f32)) }

    const ROWS: usize = 1;
}
