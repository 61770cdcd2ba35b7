//! What tile registers need beside the instructions: an operating system that saves them, and its permission.
//!
//! Tile data is 8 KiB of state for each thread, so Linux (5.16 and later) saves it only for processes that have asked for it.
//!
//! Source: Linux, Documentation/arch/x86/xstate.rst.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod system {
    const ARCH_GET_XCOMP_SUPP: usize = 0x1021;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    /// The number of the state component.
    const TILE_DATA: usize = 18;

    /// The system call of these two codes; 0 when it succeeds.
    fn arch_prctl(code: usize, argument: usize) -> isize {
        const ARCH_PRCTL: isize = 158;
        let result;
        // SAFETY: both codes read or write nothing but the u64 that the first one's argument is the address of; a system
        // call overwrites rcx and r11.
        unsafe {
            std::arch::asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL => result,
                in("rdi") code,
                in("rsi") argument,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        result
    }

    pub(crate) fn missing() -> Option<&'static str> {
        let mut components = 0u64;
        let known = arch_prctl(ARCH_GET_XCOMP_SUPP, (&raw mut components).expose_provenance()) == 0;
        (!known || components >> TILE_DATA & 1 == 0)
            .then_some("this Linux does not save tile registers (5.16 and later can)")
    }

    pub(crate) fn ask() -> Result<(), &'static str> {
        match arch_prctl(ARCH_REQ_XCOMP_PERM, TILE_DATA) {
            0 => Ok(()),
            _ => Err("Linux refuses the permission to use tile registers (ARCH_REQ_XCOMP_PERM)"),
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod system {
    pub(crate) fn missing() -> Option<&'static str> {
        Some("tile registers are supported on Linux only")
    }

    pub(crate) fn ask() -> Result<(), &'static str> {
        missing().map_or(Ok(()), Err)
    }
}

/// What the operating system lacks. Changes nothing.
pub(super) fn missing() -> Option<&'static str> {
    system::missing()
}

/// Asks for the permission, for all threads that there are and will be; asking again changes nothing.
///
/// Linux refuses it to a program that has an alternate signal stack too small for the registers.
pub(super) fn ask() -> Result<(), &'static str> {
    system::ask()
}
