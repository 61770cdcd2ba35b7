//! The decoder against an independent oracle (transformers in f32 and others), case by case, by the rule in `oracle/mod.rs`.
//!
//! Cases lie in `reference/fixtures`; `cargo run --release -p kinglet --example conformance -- DIR` judges any other set.

mod oracle;

use kinglet::model::arch;
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn matches_the_oracle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reference/fixtures");
    let cases: Vec<_> = oracle::folders(&root).unwrap().iter().map(|f| oracle::Case::run(f)).collect();
    let verdict = oracle::judge(&cases);
    println!("{}", verdict.table);
    let proven: BTreeSet<&str> = cases.iter().map(|c| c.architecture.as_str()).collect();
    let without = arch::REGISTRY.iter().map(|a| a.name).filter(|a| !proven.contains(*a));
    assert_eq!(without.collect::<Vec<_>>(), [""; 0], "architectures without a case");
    let compared = cases.iter().filter(|c| c.quantized && c.theirs.is_some()).count();
    assert!(compared >= 5, "only {compared} quantized cases are compared with llama.cpp");
    assert!(verdict.failures.is_empty(), "\n{}", verdict.failures.join("\n"));
}

#[test]
fn what_is_too_far_fails() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reference/fixtures");
    let run = |name: &str| oracle::Case::run(&root.join(name));
    let mut float = run("tiny-gemma2");
    float.ours.as_mut().unwrap().rel_max = 3e-5;
    let mut far = run("smollm2-q-q5_0");
    far.ours.as_mut().unwrap().rms = 1.6 * far.theirs.unwrap().rms;
    let said = oracle::judge(&[float, far, run("no such case")]).failures.join("\n");
    assert_eq!(said.lines().count(), 4, "{said}");
    for word in [
        "tiny-gemma2: 3.00e-5 of the largest",
        "smollm2-q-q5_0: 1.600 times",
        "no such case: ",
        "geometric mean 1.600",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
}
