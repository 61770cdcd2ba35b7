//! A right call of each kind, and then each of its arguments spoilt in each way: every pointer null, misaligned and on top of every
//! other, every size so large that it wraps, every number one that names nothing.

use crate::call::{HUGE, Rng, Wrong};
use crate::ops::{OPS, Op};
use crate::{Done, handles, once};
use kinglet_c::*;

/// So rarely that it does not happen.
const NEVER: usize = 1 << 40;

/// A seed whose call is right and has as many arguments as such a call can have, none of them of nothing.
fn right(op: (&str, Op), handle: *const Handle) -> (u64, Done) {
    let calls = (0..400).map(|seed| (seed, once(op, handle, Rng::new(seed), NEVER, Wrong::Nothing)));
    let full = calls
        .filter(|(_, d)| d.status == Status::Ok && d.call.memory.iter().all(|m| m.claimed || m.unneeded));
    full.max_by_key(|(_, d)| d.call.memory.len()).unwrap_or_else(|| panic!("{}: no right call in 400", op.0))
}

#[test]
fn each_argument_is_checked() {
    let mut total = [0; 5];
    // The portable tier needs no workspace; the last is the fastest, which may be the portable one.
    let handle = *handles().last().unwrap();
    for &op in OPS {
        let (seed, good) = right(op, handle);
        let call = |wrong| once(op, handle, Rng::new(seed), NEVER, wrong).status;
        let (pointers, mut optional, mut in_place) = (good.call.memory.len(), 0, 0);
        for i in (0..pointers).filter(|i| !good.call.memory[*i].unneeded) {
            match call(Wrong::Null(i)) {
                Status::NullPointer => total[0] += 1,
                // What may be left out: a bias, weights of a norm, the next matrix.
                Status::Ok => optional += 1,
                other => panic!("{}: pointer {i} is null: {other:?}", op.0),
            }
            match call(Wrong::Misaligned(i)) {
                Status::Misaligned => total[1] += 1,
                // Bytes.
                Status::Ok => {}
                other => panic!("{}: pointer {i} is misaligned: {other:?}", op.0),
            }
            for j in 0..i {
                let (a, b) = (&good.call.memory[i], &good.call.memory[j]);
                if b.unneeded || !a.writable && !b.writable {
                    continue;
                }
                match call(Wrong::Overlap(i, j)) {
                    Status::Overlap => total[2] += 1,
                    // A norm of a row onto itself.
                    Status::Ok => in_place += 1,
                    other => panic!("{}: pointers {i} and {j} overlap: {other:?}", op.0),
                }
            }
        }
        let norms = [("rms_norm", 1), ("layer_norm", 2)].iter().find(|(name, _)| *name == op.0);
        let may_lack = match op.0 {
            "matmul" | "linear" => 2,
            "matmul_id" | "matmul_float" | "dequantize_row" => 1,
            _ => norms.map_or(0, |n| n.1),
        };
        assert_eq!(optional, may_lack, "{}: pointers that may be null", op.0);
        assert_eq!(in_place, usize::from(norms.is_some()), "{}: pointers that may be equal", op.0);
        for size in 0..good.call.rng.sizes {
            for huge in HUGE {
                let rng = Rng { huge: Some((size, huge)), ..Rng::new(seed) };
                // Whatever it says: nothing is read or written that is not there, and a refused call writes nothing.
                once(op, handle, rng, NEVER, Wrong::Nothing);
                total[3] += 1;
            }
        }
        for i in 0..good.call.numbers {
            for value in [5, 9, 36, 40, 255, 256, 1 << 31, u32::MAX - 1] {
                // 5 is no activation and no format; 36 and on nothing at all.
                let got = call(Wrong::Number(i, value));
                assert_eq!(got, Status::UnknownValue, "{}: number {i} is {value}", op.0);
                total[4] += 1;
            }
        }
    }
    println!(
        "refused: {} null pointers, {} misaligned, {} overlaps, {} numbers that name nothing; {} sizes that wrap",
        total[0], total[1], total[2], total[4], total[3]
    );
}

/// Flushing to zero, denormals that are zero, rounding up: whatever computes refuses.
#[test]
#[cfg(target_arch = "x86_64")]
fn other_float_settings_are_refused() {
    let set = |value: u32| {
        // SAFETY: reserved bits are 0 in all values below.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &value, options(nostack)) };
    };
    let handle = *handles().last().unwrap();
    for &op in OPS {
        let computes = !["kernel_for", "detect", "row_size", "cache_sizes"].contains(&op.0);
        let (seed, _) = right(op, handle);
        for bits in [1 << 15, 1 << 6, 2 << 13] {
            set(0x1f80 | bits);
            let status = once(op, handle, Rng::new(seed), NEVER, Wrong::Nothing).status;
            set(0x1f80);
            assert_eq!(status == Status::FloatEnvironment, computes, "{}, {bits:#x}: {status:?}", op.0);
        }
    }
}
