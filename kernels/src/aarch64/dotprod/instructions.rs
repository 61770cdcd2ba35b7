//! `sdot`, with the names that std gives it where it is not yet stable.
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
