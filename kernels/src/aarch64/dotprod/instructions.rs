//! `sdot`, with the names that std gives it where it is not yet stable, and loads of pairs of vectors.
//!
//! Assembler, so that it inlines into the code that all tiers share, which is compiled for ARMv8.0; reached only from the
//! tables of tiers that are handed out where the CPU has it.

use std::arch::aarch64::{int8x16_t, int32x4_t};
use std::arch::asm;

/// `sum[i] + w[4i] * x[4i] + … + w[4i + 3] * x[4i + 3]`.
///
/// # Safety
/// The CPU has `dotprod`.
#[inline(always)]
pub(crate) unsafe fn vdotq_s32(mut sum: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: registers only.
    unsafe {
        asm!(".arch_extension dotprod", "sdot {s:v}.4s, {w:v}.16b, {x:v}.16b", s = inout(vreg) sum,
            w = in(vreg) w, x = in(vreg) x, options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

/// `sum[i] + w[4i] * x[4 * LANE] + … + w[4i + 3] * x[4 * LANE + 3]`.
///
/// # Safety
/// The CPU has `dotprod`.
#[inline(always)]
pub(crate) unsafe fn vdotq_laneq_s32<const LANE: i32>(
    mut sum: int32x4_t,
    w: int8x16_t,
    x: int8x16_t,
) -> int32x4_t {
    // SAFETY: registers only.
    unsafe {
        asm!(".arch_extension dotprod", "sdot {s:v}.4s, {w:v}.16b, {x:v}.4b[{lane}]", s = inout(vreg) sum,
            w = in(vreg) w, x = in(vreg) x, lane = const LANE, options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

/// 32 bytes at `p`, which moves past them: one instruction, where the compiler would add to `p` with another.
///
/// # Safety
/// They are readable.
#[inline(always)]
pub(crate) unsafe fn next_pair(p: &mut *const i8) -> [int8x16_t; 2] {
    let (a, b);
    // SAFETY: the caller's 32 bytes.
    unsafe {
        asm!("ldp {a:q}, {b:q}, [{p}], #32", a = out(vreg) a, b = out(vreg) b, p = inout(reg) *p,
            options(pure, readonly, nostack, preserves_flags));
    }
    [a, b]
}

/// The first two vectors of what sums start from, by the load unit, which has time, where moves would take a vector pipe.
///
/// Not `pure`: the compiler would load once before a loop and move within it.
#[inline(always)]
pub(crate) fn copies<const N: usize>(v: &[[i32; 4]; N]) -> [int32x4_t; 2] {
    const { assert!(N >= 2) }
    let (a, b);
    // SAFETY: 32 readable bytes.
    unsafe {
        asm!("ldp {a:q}, {b:q}, [{p}]", a = out(vreg) a, b = out(vreg) b, p = in(reg) v,
            options(readonly, nostack, preserves_flags));
    }
    [a, b]
}
