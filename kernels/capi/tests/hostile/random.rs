//! Random calls. `KINGLET_FUZZ_RUNS` and `KINGLET_FUZZ_SEED` say how many and which, `KINGLET_FUZZ_MINUTES` how long instead.

use crate::call::{Rng, Wrong};
use crate::emulated::emulated;
use crate::ops::OPS;
use crate::{handles, once, same};
use kinglet_c::*;
use std::time::{Duration, Instant};

/// A handle, or what is none.
fn handle(rng: &mut Rng, good: *const Handle, spoil: usize) -> *const Handle {
    match rng.below(spoil * 4) {
        0 => std::ptr::null(),
        1 => good.wrapping_byte_add(8),
        2 => std::ptr::without_provenance(rng.next() as usize),
        _ => good,
    }
}

#[test]
fn random_calls_are_refused_or_right() {
    let number = |name: &str| Some(std::env::var(name).ok()?.parse::<u64>().unwrap());
    let default = if emulated() { 4_000 } else { 20_000 };
    let until = number("KINGLET_FUZZ_MINUTES").map(|m| Instant::now() + Duration::from_secs(60 * m));
    let most = if until.is_some() { u64::MAX } else { number("KINGLET_FUZZ_RUNS").unwrap_or(default) };
    let first = number("KINGLET_FUZZ_SEED").unwrap_or(1);
    let handles = handles();
    let mut counts = vec![[0u64; 16]; OPS.len()];
    let mut run = 0;
    while run < most && until.is_none_or(|until| run % 64 != 0 || Instant::now() < until) {
        let at = run as usize % OPS.len();
        let fast = handles[1 + run as usize / OPS.len() % (handles.len() - 1)];
        let seed = first.wrapping_mul(0x9e37_79b9).wrapping_add(run);
        run += 1;
        // One call in two is meant to be right.
        let spoil = if Rng::new(seed).one_in(2) { 8 } else { 1 << 20 };
        let with = |good| {
            let mut rng = Rng::new(seed);
            let handle = handle(&mut rng, good, spoil);
            once(OPS[at], handle, rng, spoil, Wrong::Nothing)
        };
        let (portable, fast) = (with(handles[0]), with(fast));
        // Workspaces differ between tiers, so what is too little or overlaps can.
        if portable.status != fast.status {
            let workspace = |s| matches!(s, Status::Workspace | Status::Overlap | Status::NullPointer);
            let (a, b) = (portable.status, fast.status);
            assert!(workspace(a) || workspace(b), "{}, seed {seed}: {a:?} and {b:?}", OPS[at].0);
            continue;
        }
        counts[at][portable.status as usize] += 1;
        if portable.status == Status::Ok {
            assert!(same(&portable, &fast), "{}, seed {seed}: tiers differ", OPS[at].0);
        }
    }
    println!("{run} calls of {} kinds, each on two of {} tiers, from seed {first}", OPS.len(), handles.len());
    for ((name, _), counts) in OPS.iter().zip(&counts) {
        let refused: u64 = counts[1..].iter().sum();
        println!("{name:<18} accepted {:>7}, refused {refused:>7}: {:?}", counts[0], &counts[1..]);
        assert!(run < 2000 || counts[0] > 0 && refused > 0, "{name} was only refused, or never");
    }
}
