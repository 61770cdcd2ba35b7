use super::*;
use crate::fingerprint::Fingerprint;
use crate::record::{Header, Layer, Revision, Roof, SCHEMA, Spec, Work};

fn recording(cpu: &str, times: &[(&str, f64)]) -> Recording {
    let unit = |name: &str| if name.contains("neon") { Unit::Instructions } else { Unit::Ns };
    let benchmark = |(name, time): &(&str, f64)| Benchmark {
        schema: SCHEMA,
        spec: Spec {
            name: (*name).to_owned(),
            layer: Layer::Kernel,
            unit: unit(name),
            work: Work { bytes: 1000, multiply_adds: 2000, tokens: 1 },
            expected: None,
        },
        samples: [0.99, 1.0, 1.01, 0.995, 1.0, 1.005].iter().map(|f| f * time).collect(),
        iterations: 1,
        launches: vec![0, 0, 1, 1, 2, 2],
        checksum: String::new(),
        taint: vec![],
    };
    let fingerprint = Fingerprint { cpu: cpu.to_owned(), ..Fingerprint::default() };
    let roof =
        Roof { read_cache: 1e10, multiply_adds: [("avx2".to_owned(), 1e11)].into(), ..Roof::default() };
    Recording {
        header: Header {
            schema: SCHEMA,
            suite: "gate".to_owned(),
            fingerprint,
            revision: Revision::default(),
            time: String::new(),
            version: String::new(),
            taint: vec![],
            roof,
            interrupted: false,
        },
        benchmarks: times.iter().map(benchmark).collect(),
        failures: vec![],
    }
}

#[test]
fn only_what_is_outside_the_spread_is_told() {
    let a = recording(
        "x",
        &[("m.p.q.gemv.avx2", 100.0), ("m.p.q.gemv.scalar", 100.0), ("m.p.q.gemv.neon", 1000.0)],
    );
    let b = recording(
        "x",
        &[("m.p.q.gemv.avx2", 130.0), ("m.p.q.gemv.scalar", 101.0), ("m.p.q.gemv.neon", 1001.0)],
    );
    let rows = compare(&a, &b, 0.02, &[]).unwrap();
    let said: Vec<(&str, Verdict)> =
        rows.iter().map(|r| (r.name.rsplit('.').next().unwrap(), r.verdict)).collect();
    let want = [("avx2", Verdict::Slower), ("scalar", Verdict::NoDifference), ("neon", Verdict::Slower)];
    assert_eq!(said, want, "the worst first, and counts exactly");
    assert!(table(&rows).contains("+30.0 %"), "{}", table(&rows));
}

#[test]
fn unlike_machines_are_refused_by_field() {
    let times = [("m.p.q.gemv.avx2", 100.0), ("m.p.q.gemv.scalar", 1000.0)];
    let (a, b) =
        (recording("x", &times), recording("y", &[("m.p.q.gemv.avx2", 50.0), ("m.p.q.gemv.scalar", 250.0)]));
    let said = compare(&a, &b, 0.02, &[]).unwrap_err();
    assert!(said.contains("cpu (`x`, `y`)") && said.contains("--across-machines"), "{said}");
    assert!(compare(&a, &b, 0.02, &["cpu".to_owned()]).is_ok());
    let [(_, speed_ups), (_, shares)] = across(&a, &b, 0.02);
    // Ten times against five times as fast as scalar.
    assert_eq!(speed_ups.len(), 1);
    assert!(
        (speed_ups[0].ratio - 2.0).abs() < 1e-9 && speed_ups[0].verdict == Verdict::Slower,
        "{speed_ups:?}"
    );
    // 1000 bytes at 10 GB/s are 100 ns at least: the whole roof in A, twice it in B.
    let avx2 = shares.iter().find(|r| r.name.ends_with("avx2")).unwrap();
    assert!((avx2.a - 1.0).abs() < 1e-9 && (avx2.b - 2.0).abs() < 1e-9, "{avx2:?}");
}
