//! Exit codes: a script can tell what happened.

use crate::comparison::{Comparison, Verdict};
use crate::record::{FailureKind, Recording};

/// Nothing is wrong: no slowdown, all answers right.
pub const OK: u8 = 0;
/// The program itself failed: a file that cannot be written.
pub const FAILURE: u8 = 1;
/// The command line or its input makes no sense, a revision does not build, machines are unlike.
pub const USAGE: u8 = 2;
/// A benchmark is slower.
pub const REGRESSION: u8 = 3;
/// The budget was not enough to say.
pub const INCONCLUSIVE: u8 = 4;
/// As 4, and the machine was disturbed: try again when it is quiet. With `--refuse-taint` also where there is a verdict.
pub const TAINTED: u8 = 5;
/// An answer is wrong.
pub const WRONG_ANSWER: u8 = 6;
/// A benchmark crashed or did not answer in time.
pub const CRASHED: u8 = 7;
/// Stopped by Ctrl-C; what had been measured is kept.
pub const INTERRUPTED: u8 = 130;

/// The table under `--help`.
pub const HELP: &str = "\
Exit codes:
    0  no slowdown, all answers right
    1  kinglet-bench itself failed
    2  the command line, an input file or a build is wrong, or the machines are unlike
    3  a benchmark is slower
    4  inconclusive: the budget was not enough
    5  inconclusive on a disturbed machine (with --refuse-taint: any result of one)
    6  a wrong answer
    7  a benchmark crashed or timed out
  130  interrupted; what had been measured is kept";

fn failures(kinds: impl Iterator<Item = FailureKind>) -> Option<u8> {
    let code = |kind| match kind {
        FailureKind::WrongAnswer => Some(WRONG_ANSWER),
        FailureKind::Crashed | FailureKind::TimedOut => Some(CRASHED),
        FailureKind::Skipped => None,
    };
    // A wrong answer comes before all else.
    kinds.filter_map(code).min()
}

/// The code of a comparison.
pub fn of_comparison(c: &Comparison, refuse_taint: bool) -> u8 {
    if let Some(code) = failures(c.failures.iter().map(|f| f.reason)) {
        return code;
    }
    if c.interrupted && c.overall() != Verdict::Slower {
        return INTERRUPTED;
    }
    let tainted = !c.taint.is_empty();
    match c.overall() {
        _ if refuse_taint && tainted => TAINTED,
        Verdict::Slower => REGRESSION,
        Verdict::Inconclusive if tainted => TAINTED,
        Verdict::Inconclusive => INCONCLUSIVE,
        Verdict::Faster | Verdict::NoDifference => OK,
    }
}

/// The code of a recording.
pub fn of_recording(r: &Recording, refuse_taint: bool) -> u8 {
    let tainted = !r.header.taint.is_empty() || r.benchmarks.iter().any(|b| !b.taint.is_empty());
    match failures(r.failures.iter().map(|f| f.reason)) {
        Some(code) => code,
        None if r.header.interrupted => INTERRUPTED,
        None if refuse_taint && tainted => TAINTED,
        None => OK,
    }
}
