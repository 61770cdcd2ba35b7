//! The self-test: it covers every operation, finds nothing on this machine, and its hashes are those of every other machine.
//! `KINGLET_WRITE_DOCS=1` writes `data/verify.txt` anew, after a change of the contract or of the self-test.

mod support;

use kinglet_kernels::list::Op;
use kinglet_kernels::verify;
use std::fmt::Write;
use std::path::Path;

#[test]
fn every_operation_is_right_here_and_hashes_as_everywhere() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/verify.txt");
    for k in support::tiers() {
        let report = verify::tier(k.tier(), 0).unwrap();
        assert_eq!(report.differences().collect::<Vec<_>>(), Vec::<&str>::new(), "{}", k.tier());
        for op in Op::ALL {
            assert!(
                report.outcomes.iter().any(|o| o.ops.contains(op) && o.results > 0),
                "{op} is not covered"
            );
        }
        let mut hashes = String::new();
        for o in &report.outcomes {
            writeln!(hashes, "{:016x} {:>4} {}", o.hash, o.results, o.name).unwrap();
        }
        if std::env::var_os("KINGLET_WRITE_DOCS").is_some() {
            std::fs::write(&path, &hashes).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(hashes == committed, "{}: not tests/data/verify.txt:\n{hashes}", k.tier());
    }
}

/// The words, the reference and the crate are of one version.
#[test]
fn the_contract_has_the_version_that_it_says() {
    let text = kinglet_reference::CONTRACT;
    let title = format!("# The numerical contract, version {}\n", kinglet_kernels::CONTRACT_VERSION);
    assert!(text.starts_with(&title), "{:?} is not {title:?}", text.lines().next());
}
