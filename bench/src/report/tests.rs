use super::*;
use crate::comparison::{Compared, Verdict};
use crate::record::*;
use crate::taint::{Taint, TaintKind};

fn bench(name: &str, layer: Layer, work: Work, samples: &[f64]) -> Benchmark {
    let spec = Spec { name: name.to_owned(), layer, unit: Unit::Ns, work, expected: None };
    let (launches, taint, checksum) = (Vec::new(), Vec::new(), String::new());
    Benchmark { schema: SCHEMA, spec, samples: samples.to_vec(), iterations: 1, launches, checksum, taint }
}

fn recording(commit: &str, time: &str, slow: f64) -> Recording {
    let work = Work { bytes: 1000, multiply_adds: 2000, tokens: 0 };
    let roof = Roof {
        read_one: 10e9,
        read_all: 20e9,
        read_cache: 50e9,
        cycles: 3e9,
        multiply_adds: [("avx2".to_owned(), 96e9)].into_iter().collect(),
    };
    let header = Header {
        schema: SCHEMA,
        suite: "gate".to_owned(),
        fingerprint: Default::default(),
        revision: Revision { commit: commit.to_owned(), dirty: false },
        time: time.to_owned(),
        version: "0.1.0".to_owned(),
        taint: Vec::new(),
        roof,
        interrupted: false,
    };
    let around = |m: f64| [m * 0.99, m, m * 1.01, m * 1.3];
    let mut benchmarks = vec![
        bench("m.ffn.q4_k.gemv.avx2", Layer::Kernel, work, &around(100.0 * slow)),
        bench("m.ffn.q4_k.gemm64.avx2", Layer::Kernel, work, &around(50.0)),
        bench("m.ffn.q4_k.gemv.scalar", Layer::Kernel, work, &around(800.0)),
        bench("m<b>.tg32.f16.t2.avx2", Layer::EndToEnd, Work { tokens: 32, ..work }, &around(1e9)),
    ];
    benchmarks[1].taint = vec![Taint::new(TaintKind::Steal, "9 % stolen")];
    let failure = Failure {
        schema: SCHEMA,
        name: "m.x".to_owned(),
        reason: FailureKind::WrongAnswer,
        detail: "ab is not cd".to_owned(),
    };
    Recording { header, benchmarks, failures: vec![failure] }
}

fn report() -> Report {
    let (old, new) = (recording("aaaaaaa", "2026-01-01", 1.0), recording("bbbbbbb", "2026-01-02", 1.2));
    Report { recordings: vec![old.clone(), new], base: Some(old), comparison: None }
}

#[test]
fn the_worst_comes_first_with_its_share_and_speed_up() {
    let rows = rows::rows(&report());
    assert_eq!(rows[0].name, "m.ffn.q4_k.gemv.avx2");
    assert!((rows[0].ratio.unwrap() - 1.2).abs() < 1e-9);
    // 2000 multiply-adds in 120.6 ns of 3 GHz.
    assert!((rows[0].per_cycle.unwrap() - 2000.0 / 120.6 / 3.0).abs() < 1e-2, "{:?}", rows[0].per_cycle);
    // 1000 bytes in 120.6 ns of 50 GB/s.
    assert!((rows[0].roof.unwrap() - 8.29e9 / 50e9).abs() < 1e-3, "{:?}", rows[0].roof);
    assert!((rows[0].speedup.unwrap() - 800.0 / 120.0).abs() < 1e-9);
    let alone = Report { base: None, ..report() };
    let shares: Vec<f64> = rows::rows(&alone).iter().filter_map(|r| r.roof).collect();
    assert!(shares.is_sorted(), "farthest from the roof first: {shares:?}");
}

#[test]
fn tables_say_what_is_tainted_and_what_failed() {
    for text in [text::terminal(&report(), None), text::markdown(&report(), None)] {
        for part in [
            "+20.0 %",
            "9 % stolen",
            "WrongAnswer",
            "ab is not cd",
            "Gmadd/s",
            "GB/s",
            "t/s",
            "bbbbbbb",
            "aaaaaaa",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
    assert!(text::terminal(&report(), Some(1)).contains("and 3 more"));
    let unlike = {
        let mut r = report();
        r.recordings[1].header.fingerprint.cpu = "other".to_owned();
        text::terminal(&r, None)
    };
    assert!(unlike.contains("unlike machines: cpu"), "{unlike}");
}

#[test]
fn the_page_is_self_contained_and_escaped() {
    let page = html::page(&report());
    for part in
        ["Roofline", "Tiers", "Samples", "History", "m&lt;b&gt;.tg32", "9 % stolen", "prefers-color-scheme"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("<svg").count(), 3 + 4, "three plots and a history of each benchmark");
    for outside in ["http://", "https://", "src=", "href=", "<b>", "NaN", "inf"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn a_slow_down_of_long_ago_is_still_on_top_of_the_history() {
    let mut recordings: Vec<_> = [1.0, 1.3, 1.3]
        .iter()
        .zip(["a", "b", "c"])
        .map(|(slow, commit)| recording(commit, &format!("2026-01-0{commit}"), *slow))
        .collect();
    for r in &mut recordings {
        r.benchmarks[3].spec.unit = Unit::Bytes;
    }
    let page = html::page(&Report { recordings, base: None, comparison: None });
    let plots: Vec<&str> = page.split("aria-label=\"History of ").skip(1).collect();
    assert!(plots[0].starts_with("m.ffn.q4_k.gemv.avx2"), "{}", plots[0]);
    assert!(plots[0].contains("last step +0.0 %") && plots[0].contains("since the first +30.0 %"));
    // 1e9 bytes: ticks are round in MiB.
    let bytes = plots.iter().find(|p| p.starts_with("m&lt;b&gt;.tg32")).unwrap();
    assert!(bytes.contains(">900 MiB<"), "{bytes}");
}

#[test]
fn tiers_are_compared_where_scalar_was_not_measured() {
    let mut r = recording("a", "2026-01-01", 1.0);
    r.benchmarks[2].spec.name = "m.ffn.q4_k.gemv.avx512_vnni".to_owned();
    let page = html::page(&Report { recordings: vec![r], base: None, comparison: None });
    assert!(page.contains("times as fast as avx2") && page.contains("0.12 times as fast as avx2"));
}

fn comparison() -> Comparison {
    let result = |name: &str, verdict, ratio: f64| Compared {
        name: name.to_owned(),
        unit: Unit::Ns,
        verdict,
        ratio,
        low: ratio - 0.01,
        high: ratio + 0.01,
        bound: 0.02,
        a: 100.0,
        b: 100.0 * ratio,
        rounds: vec![0.0],
        pairs: 10,
        discarded: 0,
        bimodal: false,
        drift: true,
    };
    Comparison {
        schema: SCHEMA,
        kind: "comparison".to_owned(),
        suite: "gate".to_owned(),
        a: "main".to_owned(),
        b: "WORKTREE".to_owned(),
        a_revision: Revision::default(),
        b_revision: Revision::default(),
        fingerprint: Default::default(),
        time: "2026-01-01".to_owned(),
        seconds: 60.0,
        min_effect: 0.02,
        alpha: 0.01,
        taint: vec![Taint::new(TaintKind::Load, "load 3")],
        results: vec![result("a.slow", Verdict::Slower, 1.1), result("b.same", Verdict::NoDifference, 1.0)],
        failures: Vec::new(),
        interrupted: false,
    }
}

#[test]
fn comparisons_are_reported_too() {
    let json = serde_json::to_string(&comparison()).unwrap();
    let report = Report { recordings: Vec::new(), base: None, comparison: as_comparison(&json).unwrap() };
    let text = text::terminal(&report, None);
    for part in
        ["SLOWER (1 slower, 1 no difference larger than 2.0 %)", "TAINTED: load 3", "+10.0 %", "drifts"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let page = html::page(&report);
    assert!(page.contains("Intervals") && page.contains("v-slower") && !page.contains("NaN"));
    assert!(as_comparison(&json.replace("\"schema\":1", "\"schema\":9")).unwrap_err().contains("newer"));
    assert!(as_comparison(&json.replace("\"ratio\"", "\"x\"")).unwrap_err().contains("damaged"));
    assert_eq!(as_comparison("{}"), Ok(None));
}

#[test]
fn a_filter_that_leaves_nothing_is_an_error() {
    assert!(report().filtered("gemm").is_ok_and(|r| r.recordings[1].benchmarks.len() == 1));
    assert!(report().filtered("nothing").unwrap_err().contains("`nothing`"));
}
