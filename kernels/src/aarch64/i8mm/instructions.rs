//! `smmla`, with the name that std gives it where it is not yet stable.
//!
//! Assembler for the same reason as in [`crate::aarch64::dotprod::instructions`].

use std::arch::aarch64::{int8x16_t, int32x4_t};
use std::arch::asm;

/// `sum[2i + j] + w[8i] * x[8j] + … + w[8i + 7] * x[8j + 7]`: two rows of 8 weights times two columns of 8 activations.
///
/// # Safety
/// The CPU has `i8mm`.
#[inline(always)]
pub(crate) unsafe fn vmmlaq_s32(mut sum: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: registers only.
    unsafe {
        asm!(".arch_extension i8mm", "smmla {s:v}.4s, {w:v}.16b, {x:v}.16b", s = inout(vreg) sum,
            w = in(vreg) w, x = in(vreg) x, options(pure, nomem, nostack, preserves_flags));
    }
    sum
}
