//! Floating-point settings of the thread, under which kernels refuse to run.

#![cfg(target_arch = "x86_64")]

use kinglet_kernels::{Error, Kernels};

fn with_mxcsr<T>(value: u32, f: impl FnOnce() -> T) -> T {
    let set = |value: u32| {
        // SAFETY: reserved bits are 0 in all values below.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &value, options(nostack)) };
    };
    let mut before = 0u32;
    // SAFETY: four bytes are written to `before`.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &mut before, options(nostack)) };
    set(value);
    let result = f();
    set(before);
    result
}

#[test]
fn settings_that_change_bits_are_refused_and_others_are_not() {
    let k = Kernels::detect().unwrap();
    let (x, mut y) = ([1.0f32; 32], [0.0f32; 32]);
    for (bits, fits) in [
        (1 << 6, false),
        (1 << 13, false),
        (2 << 13, false),
        (3 << 13, false),
        (1 << 15, false),
        (0, true),
        (0x3f, true),
    ] {
        let result = with_mxcsr(0x1f80 | bits, || k.rms_norm(&x, None, 1e-6, &mut y));
        match result {
            Ok(()) => assert!(fits, "{bits:#x}"),
            Err(Error::FloatEnvironment { what }) => {
                assert!(!fits && what.as_str().contains("MXCSR"), "{what}")
            }
            Err(e) => panic!("{e}"),
        }
    }
}
