//! Sixteen f32 lanes on every tier: an array, two ymm registers, four NEON registers.
//!
//! The contract's reductions use sixteen strided accumulators, so sixteen lanes are the natural unit on every machine, and
//! a kernel written over this trait returns the same bits on all of them: only operations that IEEE 754 rounds
//! correctly appear here. pulp's `Simd` is not used for these: its lane count differs per machine, it has no f16, and its
//! reductions are not the contract's tree.

mod array;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;

pub(crate) use array::Array16;

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
    /// 16 bf16 values at `p`, unaligned, widened.
    unsafe fn load_bf16(p: *const u16) -> Self;
    /// 16 i8 values at `p`, unaligned, converted.
    unsafe fn load_i8(p: *const i8) -> Self;
    /// The f16 value at `p`, unaligned, widened, in every lane.
    unsafe fn splat_f16(p: *const u16) -> Self;
    /// 8 values at `p`, unaligned, each in two neighbouring lanes.
    unsafe fn load_twice(p: *const f32) -> Self;
    /// Rounds to nearest even f16 and stores 16 of them at `p`, unaligned.
    unsafe fn store_f16(self, p: *mut u16);
    unsafe fn store(self, p: *mut f32);
    unsafe fn add(self, b: Self) -> Self;
    unsafe fn sub(self, b: Self) -> Self;
    unsafe fn mul(self, b: Self) -> Self;
    unsafe fn div(self, b: Self) -> Self;
    /// The correctly rounded `self * b + c`.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    /// `if self > b { self } else { b }`.
    unsafe fn max(self, b: Self) -> Self;
    /// `if self < b { self } else { b }`.
    unsafe fn min(self, b: Self) -> Self;
    /// `if self < limit { a } else { b }`.
    unsafe fn select_lt(self, limit: Self, a: Self, b: Self) -> Self;
    /// `|self|` with the sign of `s`.
    unsafe fn copysign(self, s: Self) -> Self;
    /// `self * 2^n`, rounded once, where `t` is [`SCALE`]` + n` and `n` is an integer in [-152, 128]; `|self|` is in
    /// [1/2, 2] or NaN.
    unsafe fn scale2(self, t: Self) -> Self;
    /// Lanes `2i` and `2i + 1` exchanged.
    unsafe fn swap_pairs(self) -> Self;
    /// The tree of contract section 3.
    unsafe fn sum(self) -> f32;
    /// The same tree with `if a > b { a } else { b }`, `a` being the lower lane.
    unsafe fn max_of_all(self) -> f32;

    /// 16 x 4 bytes.
    type Bytes: Copy;
    /// 16 i32 sums.
    type Ints: Copy;
    /// 64 bytes at `p`, unaligned: four for each lane.
    unsafe fn load_bytes(p: *const i8) -> Self::Bytes;
    /// Sixteen zeros.
    unsafe fn zero_ints() -> Self::Ints;
    /// Adds to each lane its four bytes times the four in `q`, all of them within [-127, 127]; exact.
    unsafe fn dot4(sums: Self::Ints, k: Self::Bytes, q: i32) -> Self::Ints;
    /// Converted to f32.
    unsafe fn from_ints(sums: Self::Ints) -> Self;

    /// Query rows (or others) that a register tile takes at once, each with one `Self` of accumulators, or two of them where there are 12: 1, 4, 6 or 12.
    const ROWS: usize;
}

/// Added to `n`, `n + 254` stands in the low bits of the sum: see [`Lanes::scale2`].
pub(crate) const SCALE: f32 = 12_582_912.0 + 254.0;

/// The first `n < 16` values at `p`; the other lanes are `+0`. Reads nothing past them.
#[inline(always)]
pub(crate) unsafe fn load_n<L: Lanes>(p: *const f32, n: usize) -> L {
    let mut lanes = [0.0f32; 16];
    // SAFETY: the caller's `n < 16` values.
    unsafe {
        std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), n);
        L::load(lanes.as_ptr())
    }
}

/// Stores the first `n < 16` lanes at `p`. Writes nothing past them.
#[inline(always)]
pub(crate) unsafe fn store_n<L: Lanes>(v: L, p: *mut f32, n: usize) {
    let mut lanes = [0.0f32; 16];
    // SAFETY: the caller's `n < 16` values.
    unsafe {
        v.store(lanes.as_mut_ptr());
        std::ptr::copy_nonoverlapping(lanes.as_ptr(), p, n);
    }
}
