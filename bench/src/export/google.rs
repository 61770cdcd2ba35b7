//! Google Benchmark's JSON: a context, and one object per repetition and benchmark.

use super::{benchmark, header, number, ours, text};
use crate::record::{Benchmark, Header, Layer, Recording, Spec, Unit, Work};
use serde_json::{Value, json};

pub(super) fn export(recording: &Recording) -> Value {
    let h = &recording.header;
    let context = json!({
        "date": h.time, "host_name": "", "executable": "kinglet-bench", "num_cpus": h.fingerprint.cores,
        "mhz_per_cpu": (h.roof.cycles / 1e6).round() as u64, "cpu_scaling_enabled": h.fingerprint.governor != "performance"
            && !h.fingerprint.governor.is_empty(),
        "caches": [], "load_avg": [], "library_build_type": "release", "kinglet": h,
    });
    let mut rows = Vec::new();
    for (family, b) in recording.benchmarks.iter().enumerate() {
        for (i, sample) in b.samples.iter().enumerate() {
            let mut row = json!({
                "name": b.name(), "family_index": family, "per_family_instance_index": 0, "run_name": b.name(),
                "run_type": "iteration", "repetitions": b.samples.len(), "repetition_index": i, "threads": 1,
                "iterations": b.iterations,
            });
            if b.spec.unit == Unit::Ns {
                (row["real_time"], row["cpu_time"], row["time_unit"]) =
                    (json!(sample), json!(sample), json!("ns"));
                let per_second = |amount: u64| amount as f64 / sample.max(1e-9) * 1e9;
                if b.spec.work.bytes > 0 {
                    row["bytes_per_second"] = json!(per_second(b.spec.work.bytes));
                }
                if b.spec.work.multiply_adds > 0 {
                    row["items_per_second"] = json!(per_second(b.spec.work.multiply_adds));
                }
            } else {
                // A user counter; time was not measured.
                (row["real_time"], row["cpu_time"], row["time_unit"]) = (json!(0.0), json!(0.0), json!("ns"));
                row[b.spec.unit.name()] = json!(sample);
            }
            if i == 0 {
                let Benchmark { spec, checksum, launches, taint, .. } = b;
                row["kinglet"] =
                    json!({ "spec": spec, "checksum": checksum, "launches": launches, "taint": taint });
            }
            rows.push(row);
        }
    }
    json!({ "context": context, "benchmarks": rows })
}

pub(super) fn import(value: &Value) -> Result<Recording, String> {
    let (context, rows) = (value.get("context"), value.get("benchmarks").and_then(Value::as_array));
    let rows = rows.ok_or("Google Benchmark's JSON has an array `benchmarks`")?;
    let mut head: Header =
        ours(context.and_then(|c| c.get("kinglet"))).unwrap_or_else(|| header("google-benchmark"));
    if head.time.is_empty() {
        context.and_then(|c| text(c, "date")).unwrap_or_default().clone_into(&mut head.time);
    }
    let mut benchmarks: Vec<Benchmark> = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        // Aggregates (mean, median, stddev) repeat what the iterations say; skipped ones and errors have no time.
        if text(row, "run_type") == Some("aggregate") || row.get("error_occurred") == Some(&Value::Bool(true))
        {
            continue;
        }
        let lacks = |what| format!("benchmark {} has no {what}", i + 1);
        let name = text(row, "run_name").or(text(row, "name")).ok_or_else(|| lacks("name"))?;
        let name = name.split_whitespace().collect::<Vec<_>>().join("_");
        let kept = row.get("kinglet");
        let spec: Option<Spec> = ours(kept.and_then(|k| k.get("spec")));
        let unit = spec.as_ref().map(|s| s.unit);
        let known = benchmarks.iter().position(|b| b.spec.name == name);
        let unit = unit.or(known.map(|at| benchmarks[at].spec.unit)).unwrap_or(Unit::Ns);
        let sample = match unit {
            Unit::Ns => {
                let time = number(row, "real_time").ok_or_else(|| lacks("real_time"))?;
                time * match text(row, "time_unit").unwrap_or("ns") {
                    "ns" => 1.0,
                    "us" => 1e3,
                    "ms" => 1e6,
                    "s" => 1e9,
                    other => return Err(format!("benchmark {} has the unknown time_unit `{other}`", i + 1)),
                }
            }
            unit => number(row, unit.name()).ok_or_else(|| lacks(unit.name()))?,
        };
        if let Some(at) = known {
            benchmarks[at].samples.push(sample);
            continue;
        }
        let work = |rate: &str| (number(row, rate).unwrap_or(0.0) * sample / 1e9).round().max(0.0) as u64;
        let guessed =
            Work { bytes: work("bytes_per_second"), multiply_adds: work("items_per_second"), tokens: 0 };
        let mut b = benchmark(name, Layer::Operation, unit, guessed, vec![sample]);
        b.iterations = row.get("iterations").and_then(Value::as_u64).unwrap_or(1);
        if let Some(spec) = spec {
            b.spec = spec;
            b.checksum = ours(kept.and_then(|k| k.get("checksum"))).unwrap_or_default();
            b.launches = ours(kept.and_then(|k| k.get("launches"))).unwrap_or_default();
            b.taint = ours(kept.and_then(|k| k.get("taint"))).unwrap_or_default();
        }
        benchmarks.push(b);
    }
    Ok(Recording { header: head, benchmarks, failures: Vec::new() })
}
