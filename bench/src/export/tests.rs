use super::*;
use crate::taint::{Taint, TaintKind};

fn recording() -> Recording {
    let mut head = header("gate");
    head.fingerprint.cpu = "A CPU".to_owned();
    head.time = "2026-11-24T16:00:00Z".to_owned();
    head.revision.commit = "0123456789abcdef".to_owned();
    head.roof.read_one = 14e9;
    let work = Work { bytes: 1000, multiply_adds: 2000, tokens: 0 };
    let tokens = Work { tokens: 512, ..Work::default() };
    let mut kernel =
        benchmark("m.ffn_down.q4_k.gemv.avx2".to_owned(), Layer::Kernel, Unit::Ns, work, vec![3.5, 2.0, 4.0]);
    kernel.checksum = "ab12".to_owned();
    kernel.launches = vec![0, 0, 1];
    kernel.taint = vec![Taint::new(TaintKind::Steal, "8 % stolen")];
    let pp = benchmark(
        "m-0.5b.pp512_d4096.f16.t2.avx2".to_owned(),
        Layer::EndToEnd,
        Unit::Ns,
        tokens,
        vec![1e9, 2e9],
    );
    let rss = benchmark(
        "m-0.5b.rss.f16.t2.avx2".to_owned(),
        Layer::EndToEnd,
        Unit::Bytes,
        Work::default(),
        vec![5e8],
    );
    let counted = Unit::Instructions;
    let count =
        benchmark("m.x.q4_k.gemv.neon".to_owned(), Layer::Kernel, counted, Work::default(), vec![77.0]);
    Recording { header: head, benchmarks: vec![kernel, pp, rss, count], failures: Vec::new() }
}

fn round_trip(format: Format) -> Recording {
    let text = to_value(&recording(), format).unwrap().to_string();
    parse(&text, None).unwrap()
}

#[test]
fn google_benchmark_returns_all_of_it() {
    let value = to_value(&recording(), Format::GoogleBenchmark).unwrap();
    assert_eq!(value["benchmarks"].as_array().unwrap().len(), 7, "a row per sample");
    assert_eq!(value["benchmarks"][1]["bytes_per_second"], 5e11);
    assert_eq!(round_trip(Format::GoogleBenchmark), recording());
}

#[test]
fn llama_bench_returns_pp_and_tg() {
    let value = to_value(&recording(), Format::LlamaBench).unwrap();
    assert_eq!(
        (&value[0]["n_prompt"], &value[0]["n_gen"], &value[0]["n_depth"]),
        (&512.into(), &0.into(), &4096.into())
    );
    assert_eq!((&value[0]["avg_ts"], &value[0]["n_threads"]), (&384.0.into(), &2.into()));
    let expected = Recording { benchmarks: vec![recording().benchmarks.remove(1)], ..recording() };
    assert_eq!(round_trip(Format::LlamaBench), expected);
    let kernels = Recording { benchmarks: vec![recording().benchmarks.remove(0)], ..recording() };
    assert!(to_value(&kernels, Format::LlamaBench).unwrap_err().contains("none"));
}

#[test]
fn bencher_returns_medians_and_bounds() {
    let value = to_value(&recording(), Format::Bencher).unwrap();
    assert_eq!(value["m.ffn_down.q4_k.gemv.avx2"]["latency"]["value"], 3.5);
    assert_eq!(value["m-0.5b.rss.f16.t2.avx2"]["memory-bytes"]["value"], 5e8);
    let back = round_trip(Format::Bencher);
    for b in recording().benchmarks {
        let found = back.get(b.name()).unwrap();
        assert_eq!((found.median(), found.spec.unit), (b.median(), b.spec.unit), "{}", b.name());
    }
    // And once more nothing is lost.
    assert_eq!(to_value(&back, Format::Bencher).unwrap(), value);
}

#[test]
fn other_tools_own_files_are_read() {
    let llama = r#"[{"build_commit": "d1", "cpu_info": "Pi", "backends": "CPU", "model_filename": "/m/My Model.gguf",
        "model_size": 9, "n_threads": 4, "type_k": "f16", "n_prompt": 0, "n_gen": 128, "n_depth": 0, "avg_ns": 2e9,
        "avg_ts": 64.0, "samples_ns": [1900000000, 2100000000], "samples_ts": [67.3, 60.9]}]"#;
    let r = parse(llama, None).unwrap();
    assert_eq!(r.benchmarks[0].name(), "My_Model.tg128.f16.t4.cpu");
    assert_eq!((r.benchmarks[0].median(), r.benchmarks[0].spec.work.tokens), (2e9, 128));
    let google = r#"{"context": {"date": "2026-01-01", "num_cpus": 2}, "benchmarks": [
        {"name": "BM_x/8", "run_name": "BM_x/8", "run_type": "iteration", "iterations": 5, "real_time": 2.5, "time_unit": "us",
         "bytes_per_second": 4e9},
        {"name": "BM_x/8", "run_name": "BM_x/8", "run_type": "iteration", "iterations": 5, "real_time": 3.5, "time_unit": "us"},
        {"name": "BM_x/8_mean", "run_name": "BM_x/8", "run_type": "aggregate", "real_time": 3.0, "time_unit": "us"}]}"#;
    let r = parse(google, None).unwrap();
    assert_eq!(
        (r.benchmarks[0].samples.clone(), r.benchmarks[0].spec.work.bytes),
        (vec![2500.0, 3500.0], 10_000)
    );
    assert_eq!(r.header.time, "2026-01-01");
    let bencher = r#"{"adapter::a b": {"latency": {"value": 88.0}, "throughput": {"value": 5}}}"#;
    let r = parse(bencher, None).unwrap();
    assert_eq!((r.benchmarks[0].name(), r.benchmarks[0].median()), ("adapter::a_b", 88.0));
}

#[test]
fn damaged_files_are_one_line() {
    for (text, says) in [
        ("", "not JSON"),
        ("7", "see --format"),
        ("[]", "no benchmark"),
        ("{}", "no benchmark"),
        (r#"[{"n_prompt": 3}]"#, "test 1 lacks"),
        (r#"[{"n_prompt": 3, "n_gen": 0, "model_filename": "a", "avg_ns": -1}]"#, "no number of 0 or more"),
        (r#"{"a": {"latency": {}}}"#, "no value"),
        (r#"{"a": 3}"#, "no object"),
        (r#"{"context": {}, "benchmarks": 3}"#, "array"),
        (r#"{"context": {}, "benchmarks": [{"name": "a"}]}"#, "real_time"),
        (r#"{"context": {}, "benchmarks": [{"name": "a", "real_time": 1, "time_unit": "h"}]}"#, "time_unit"),
    ] {
        let e = parse(text, None).unwrap_err();
        assert!(e.contains(says) && !e.contains('\n'), "{text}: {e}");
    }
}
