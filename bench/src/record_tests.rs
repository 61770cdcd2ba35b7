use super::*;
use crate::taint::TaintKind;

fn recording() -> Recording {
    let spec = |name: &str, unit| Spec {
        name: name.to_owned(),
        layer: Layer::Kernel,
        unit,
        work: Work { bytes: 1000, multiply_adds: 2000, tokens: 1 },
        expected: Some("0a".to_owned()),
    };
    let benchmark = |name, unit, samples: &[f64]| Benchmark {
        schema: SCHEMA,
        spec: spec(name, unit),
        samples: samples.to_vec(),
        iterations: 3,
        launches: vec![],
        checksum: "0a".to_owned(),
        taint: vec![Taint::new(TaintKind::Steal, "2.0 % of CPU time stolen")],
    };
    Recording {
        header: Header {
            schema: SCHEMA,
            suite: "gate".to_owned(),
            fingerprint: Fingerprint { cpu: "Some CPU".to_owned(), cores: 2, ..Fingerprint::default() },
            revision: Revision { commit: "0123456789abcdef".to_owned(), dirty: true },
            time: "2026-01-02T03:04:05Z".to_owned(),
            version: "0.1.0".to_owned(),
            taint: vec![],
            roof: Roof {
                read_one: 1e10,
                multiply_adds: [("avx2".to_owned(), 1e11)].into(),
                ..Roof::default()
            },
            interrupted: false,
        },
        benchmarks: vec![
            benchmark("qwen2.5-0.5b.ffn_down.q4_k.gemv.avx2", Unit::Ns, &[500.0, 400.0, 600.0]),
            benchmark("m.ffn_down.q4_k.gemv.neon", Unit::Instructions, &[123_456.0]),
        ],
        failures: vec![Failure {
            schema: SCHEMA,
            name: "a.b.c.d.e".to_owned(),
            reason: FailureKind::WrongAnswer,
            detail: "0b where 0a is expected".to_owned(),
        }],
    }
}

#[test]
fn a_recording_is_read_as_it_was_written() {
    let written = recording();
    let text = written.to_lines();
    assert_eq!(text.lines().count(), 4);
    assert!(text.lines().all(|l| l.contains("\"schema\":1")), "{text}");
    assert!(text.starts_with("{\"kind\":\"header\""), "{text}");
    assert_eq!(Recording::parse(&text).unwrap(), written);
    let b = written.get("qwen2.5-0.5b.ffn_down.q4_k.gemv.avx2").unwrap();
    assert_eq!(b.median(), 500.0);
    assert_eq!(b.per_second(|w| w.bytes), Some(2e9));
    assert_eq!(written.benchmarks[1].per_second(|w| w.bytes), None, "instructions are no time");
    assert_eq!(written.header.revision.to_string(), "012345678 (dirty)");
}

#[test]
fn fields_of_later_versions_are_ignored_and_later_schemas_refused() {
    let text = recording().to_lines();
    assert!(Recording::parse(&text.replace("\"interrupted\"", "\"later\":[1],\"interrupted\"")).is_ok());
    let said = Recording::parse(&text.replacen("\"schema\":1", "\"schema\":2", 1)).unwrap_err();
    assert!(said.contains("line 1") && said.contains("newer kinglet-bench"), "{said}");
}

#[test]
fn what_is_no_recording_is_refused_by_line() {
    let text = recording().to_lines();
    for (broken, word) in [
        (text[..text.len() - 20].to_owned(), "line 4"),
        (String::new(), "no header"),
        ("hello\n".to_owned(), "line 1"),
        (text.lines().skip(1).collect::<Vec<_>>().join("\n"), "no header"),
        (text.clone() + &text, "second header"),
        (text.replace("neon", "avx2").replace("\"m.ffn", "\"qwen2.5-0.5b.ffn"), "repeats"),
        (text.replace("400.0", "-400.0"), "no number"),
        (text.replace("400.0", "1e999"), "line 2"),
    ] {
        let said = Recording::parse(&broken).unwrap_err();
        assert!(said.contains(word), "{word}: {said}");
        assert!(!said.contains('\n'), "{said}");
    }
}

#[test]
fn names_are_read_from_the_right() {
    let name = Name::parse("qwen2.5-0.5b.ffn_down.q4_k.gemv.avx2").unwrap();
    let want = Name { model: "qwen2.5-0.5b", part: "ffn_down", kind: "q4_k", op: "gemv", tier: "avx2" };
    assert_eq!(name, want);
    assert_eq!(name.with_tier("scalar"), "qwen2.5-0.5b.ffn_down.q4_k.gemv.scalar");
    for other in ["", "sort", "a.b.c.d", ".a.b.c.d"] {
        assert_eq!(Name::parse(other), None, "{other}");
    }
}
