//! The host's floating-point settings. Kernels assume what every program starts with: round to nearest even, denormals kept.
//!
//! Audio libraries, other engines and `-ffast-math` set flush-to-zero for their threads, and interval arithmetic changes the
//! rounding mode. Then no kernel can return the contract's bits, so every entry point reads the control register first: one
//! instruction of a few cycles.

use crate::Error;
use crate::error::message;

/// Rounding control (13, 14), flush to zero (15), denormals are zero (6).
///
/// Source: Intel SDM, volume 1, 10.2.3, MXCSR.
#[cfg(target_arch = "x86_64")]
const CHANGES_BITS: u32 = 0b11 << 13 | 1 << 15 | 1 << 6;
/// Flush inputs to zero (0), alternate handling (1), only the low element (2), rounding mode (22, 23), flush to zero
/// (24), alternative half precision (26).
///
/// Source: Arm ARM, FPCR.
#[cfg(target_arch = "aarch64")]
const CHANGES_BITS: u32 = 0b111 | 0b11 << 22 | 1 << 24 | 1 << 26;

/// The control register.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn control() -> u32 {
    let mut value = 0u32;
    // SAFETY: SSE is part of x86-64; four bytes are written to `value`.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &mut value, options(nostack, preserves_flags));
    }
    value
}
#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn control() -> u32 {
    let value: u64;
    // SAFETY: FPCR may be read by any program.
    unsafe {
        std::arch::asm!("mrs {}, fpcr", out(reg) value, options(nomem, nostack, preserves_flags));
    }
    value as u32
}

/// An error when the settings of this thread change bits.
#[inline(always)]
pub(crate) fn check() -> Result<(), Error> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if !cfg!(miri) {
        let control = control();
        if control & CHANGES_BITS != 0 {
            return Err(report(control));
        }
    }
    Ok(())
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[cold]
fn report(control: u32) -> Error {
    let (register, rounding, flush) = if cfg!(target_arch = "x86_64") {
        ("MXCSR", 0b11 << 13, 1 << 15 | 1 << 6)
    } else {
        ("FPCR", 0b11 << 22, 1 << 24 | 1)
    };
    let what = match (control & rounding != 0, control & flush != 0) {
        (true, _) => "rounds other than to nearest",
        (false, true) => "flushes denormals to zero",
        _ => "has alternate arithmetic on",
    };
    Error::FloatEnvironment {
        what: message!("{register} is {control:#x}, which {what}; reset it around calls"),
    }
}
