//! Every entry point with arguments right and wrong: a status or a right result, never undefined behaviour.
//!
//! Memory that is said to be there is there, to the byte, so that AddressSanitizer sees a step past any end (`ci/capi.sh` builds this
//! program with it). Each call that is accepted is made on the portable tier and on another, and the results must be equal bit for
//! bit; each that is refused must have written nothing and say why. `random.rs` makes calls of random arguments, `sweep.rs` spoils each
//! argument of a right call in each way, `mistakes.rs` says which status is whose.

#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "one argument for all calls: memory that is said to be there is there"
)]

mod call;
#[path = "../../../tests/support/emulated.rs"]
mod emulated;
mod mistakes;
mod ops;
mod random;
mod sweep;

use call::{Call, Rng, Wrong};
use kinglet_c::*;
use ops::Op;

/// The portable tier, then what the machine can run, or the one that `KINGLET_TIER` names.
fn handles() -> Vec<*const Handle> {
    let mut all = vec![std::ptr::null()];
    let mut options = Options {
        size: size_of::<Options>(),
        tier: c"scalar".as_ptr(),
        cap: std::ptr::null(),
        ignore_environment: 0,
        reserved: 0,
    };
    // SAFETY: as the function says.
    assert_eq!(unsafe { kinglet_detect(&options, &mut all[0]) }, Status::Ok);
    let mut first = std::ptr::null();
    // SAFETY: as above.
    assert_eq!(unsafe { kinglet_detect(std::ptr::null(), &mut first) }, Status::Ok);
    all.push(first);
    for tier in kinglet_kernels::Tier::usable() {
        let name = std::ffi::CString::new(tier.name()).unwrap();
        options.tier = name.as_ptr();
        let mut handle = std::ptr::null();
        // SAFETY: as above; the name lives.
        assert_eq!(unsafe { kinglet_detect(&options, &mut handle) }, Status::Ok);
        if std::env::var_os("KINGLET_TIER").is_none() && !all.contains(&handle) {
            all.push(handle);
        }
    }
    all
}

/// A call of `op` and what came of it.
struct Done {
    status: Status,
    /// What it was to write.
    after: Vec<Vec<u8>>,
    call: Call,
}

/// Calls `op` with the arguments that `seed` and `wrong` make.
fn once((name, op): (&str, Op), handle: *const Handle, rng: Rng, spoil: usize, wrong: Wrong) -> Done {
    let what = format!("{name}, {}, {wrong:?}", rng.describe());
    let mut call = Call { rng, memory: Vec::new(), written: Vec::new(), spoil, wrong, numbers: 0 };
    let status = op(&mut call, handle);
    assert_ne!(status, Status::Internal, "{what}");
    let mut after = Vec::new();
    for (at, before) in &call.written {
        let now = call.memory[*at].bytes().to_vec();
        assert!(status == Status::Ok || *before == now, "{what}: refused with {status:?}, and wrote");
        after.push(now);
    }
    if status != Status::Ok {
        // SAFETY: never null, ends with 0.
        let text = unsafe { std::ffi::CStr::from_ptr(kinglet_last_error()) };
        assert!(text.to_str().is_ok_and(|text| !text.is_empty()), "{what}: refused without a word");
    }
    Done { status, after, call }
}

/// Whether two tiers wrote the same: equal bytes, or floats of which both are NaN.
fn same(a: &Done, b: &Done) -> bool {
    let float = |four: &[u8]| f32::from_ne_bytes(four.try_into().unwrap());
    let floats = |a: &[u8], b: &[u8]| {
        let both = a.chunks_exact(4).zip(b.chunks_exact(4));
        let rest = a.chunks_exact(4).remainder() == b.chunks_exact(4).remainder();
        rest && both.into_iter().all(|(a, b)| a == b || float(a).is_nan() && float(b).is_nan())
    };
    a.after.iter().zip(&b.after).all(|(a, b)| a == b || floats(a, b))
}

#[test]
fn every_function_is_called() {
    let sources = concat!(
        include_str!("main.rs"),
        include_str!("ops.rs"),
        include_str!("call.rs"),
        include_str!("mistakes.rs"),
        include_str!("../header.rs")
    );
    for name in include_str!("../../symbols.txt").lines() {
        assert!(sources.contains(&format!("{name}(")), "{name} is never called: add it to ops.rs");
    }
}
