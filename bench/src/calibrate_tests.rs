use super::*;
use crate::comparison::Compared;
use crate::fingerprint::Fingerprint;
use crate::record::{Revision, SCHEMA, Unit};

const RULE: Rule = Rule { min_effect: 0.02, alpha: 0.01 };

fn run(injected: &[(&str, f64)], results: &[(&str, Verdict, Vec<f64>)]) -> LiveRun {
    let compared = |(name, verdict, rounds): &(&str, Verdict, Vec<f64>)| Compared {
        name: (*name).to_owned(),
        unit: Unit::Ns,
        verdict: *verdict,
        ratio: 1.0,
        low: 0.9,
        high: 1.1,
        bound: 0.1,
        a: 1.0,
        b: 1.0,
        rounds: rounds.clone(),
        pairs: 1,
        discarded: 0,
        bimodal: false,
        drift: false,
    };
    LiveRun {
        injected: injected.iter().map(|(n, p)| ((*n).to_owned(), *p)).collect(),
        comparison: Comparison {
            schema: SCHEMA,
            kind: "comparison".to_owned(),
            suite: "gate".to_owned(),
            a: "self".to_owned(),
            b: "self".to_owned(),
            a_revision: Revision::default(),
            b_revision: Revision::default(),
            fingerprint: Fingerprint::default(),
            time: String::new(),
            seconds: 10.0,
            min_effect: 0.02,
            alpha: 0.01,
            taint: vec![],
            results: results.iter().map(compared).collect(),
            failures: vec![],
            interrupted: false,
        },
    }
}

fn quiet(random: &mut Random, n: usize) -> Vec<f64> {
    (0..n).map(|_| 0.006 * random.normal()).collect()
}

#[test]
fn rates_count_what_happened() {
    let mut random = Random::new(2);
    let mut runs = Vec::new();
    for i in 0..10 {
        let odd = if i == 3 { Verdict::Faster } else { Verdict::NoDifference };
        let rounds = [quiet(&mut random, 30), quiet(&mut random, 30)];
        runs.push(run(
            &[],
            &[("x", odd, rounds[0].clone()), ("y", Verdict::NoDifference, rounds[1].clone())],
        ));
    }
    let found = if runs.len() > 1 { Verdict::Slower } else { Verdict::Faster };
    runs.push(run(
        &[("x", 5.0)],
        &[("x", found, vec![0.05; 12]), ("y", Verdict::NoDifference, vec![0.0; 12])],
    ));
    runs.push(run(
        &[("x", 5.0)],
        &[("x", Verdict::Inconclusive, vec![]), ("y", Verdict::Slower, vec![0.0; 12])],
    ));
    let rates = rates(&runs, RULE, 200, 1);
    assert_eq!(rates.false_live, Rate { k: 1, n: 10 });
    assert_eq!(rates.bystanders, Rate { k: 1, n: 2 });
    assert_eq!(rates.rounds, 30);
    assert_eq!(rates.false_replayed, Rate { k: 0, n: 200 });
    let at = |p: f64| rates.found.iter().find(|f| f.0 == p).unwrap();
    assert_eq!(at(5.0).1, Rate { k: 1, n: 2 });
    assert!(at(5.0).2.k > 195 && at(10.0).2.k == 200, "{rates:?}");
    assert!(at(1.0).2.k == 0, "below the least effect: {rates:?}");
    let text = markdown(&rates, &runs);
    for words in ["1 of 10, 10.0 % (0.3 .. 44.5 %)", "5 % slower", "| `x` | 300 |"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn every_level_meets_every_benchmark_in_turn() {
    let names: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
    let mut seen = std::collections::BTreeSet::new();
    for turn in 0..10 {
        let injected = injections(&names, turn);
        assert_eq!(injected.len(), 2, "half of them stay as they are");
        seen.extend(injected.into_iter().map(|(n, p)| (n, p as u64)));
    }
    assert_eq!(seen.len(), 4 * LEVELS.len(), "{seen:?}");
}

#[test]
fn a_log_is_read_as_it_was_written() {
    let log = std::env::temp_dir().join(format!("kinglet-bench-calibrate-{}.jsonl", std::process::id()));
    let _ = std::fs::remove_file(&log);
    assert_eq!(read(&log), Ok(vec![]));
    let runs = [run(&[("x", 5.0)], &[("x", Verdict::Slower, vec![0.05])]), run(&[], &[])];
    runs.iter().for_each(|r| append(&log, r).unwrap());
    assert_eq!(read(&log).unwrap(), runs);
    std::fs::write(&log, "{}\n").unwrap();
    assert!(read(&log).unwrap_err().contains("line 1"));
    let _ = std::fs::remove_file(&log);
}
