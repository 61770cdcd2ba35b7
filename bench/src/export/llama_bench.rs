//! The JSON of `llama-bench -o json`, and of `kinglet bench --json`: one object per pp or tg test.

use super::{benchmark, header, number, ours, text};
use crate::record::{Benchmark, Layer, Name, Recording, Unit, Work};
use serde_json::{Value, json};

/// Prompt tokens, generated tokens and depth of a test such as `pp512` or `tg32_d4096`.
fn test(part: &str) -> Option<(u64, u64, u64)> {
    let mut words = part.split('_');
    let first = words.next()?;
    let depth = words.find_map(|w| w.strip_prefix('d')?.parse().ok()).unwrap_or(0);
    let n = |prefix| first.strip_prefix(prefix).and_then(|n| n.parse().ok());
    match (n("pp"), n("tg")) {
        (Some(p), _) => Some((p, 0, depth)),
        (_, Some(g)) => Some((0, g, depth)),
        _ => None,
    }
}

pub(super) fn export(recording: &Recording) -> Result<Value, String> {
    let records: Vec<Value> = recording.benchmarks.iter().filter_map(|b| record(recording, b)).collect();
    if records.is_empty() {
        return Err(
            "llama-bench's JSON holds pp and tg of whole models, and there is none in this recording"
                .to_owned(),
        );
    }
    Ok(Value::Array(records))
}

fn record(recording: &Recording, b: &Benchmark) -> Option<Value> {
    let name =
        Name::parse(b.name()).filter(|_| b.spec.layer == Layer::EndToEnd && b.spec.unit == Unit::Ns)?;
    let (n_prompt, n_gen, n_depth) = test(name.part)?;
    let header = &recording.header;
    let tokens = (n_prompt + n_gen) as f64;
    let speeds: Vec<f64> = b.samples.iter().map(|ns| tokens / ns * 1e9).collect();
    let threads: u64 = name.op.strip_prefix('t').and_then(|t| t.parse().ok()).unwrap_or(0);
    let commit = header.revision.commit.get(..9).unwrap_or(&header.revision.commit);
    Some(json!({
        "build_commit": commit, "build_number": 0, "cpu_info": header.fingerprint.cpu, "gpu_info": "", "backends": "CPU",
        "model_filename": name.model, "model_type": name.model, "model_size": b.spec.work.bytes, "model_n_params": 0,
        "n_batch": 512, "n_ubatch": 512, "n_threads": threads, "type_k": name.kind, "type_v": name.kind, "n_gpu_layers": 0,
        "n_prompt": n_prompt, "n_gen": n_gen, "n_depth": n_depth, "test_time": header.time,
        "avg_ns": mean(&b.samples), "stddev_ns": deviation(&b.samples),
        "avg_ts": mean(&speeds), "stddev_ts": deviation(&speeds),
        "samples_ns": b.samples, "samples_ts": speeds,
        "tier": name.tier, "kinglet": { "header": header, "benchmark": b },
    }))
}

fn mean(x: &[f64]) -> f64 {
    if x.is_empty() { 0.0 } else { x.iter().sum::<f64>() / x.len() as f64 }
}

fn deviation(x: &[f64]) -> f64 {
    let mean = mean(x);
    let squares: f64 = x.iter().map(|s| (s - mean) * (s - mean)).sum();
    if x.len() < 2 { 0.0 } else { libm::sqrt(squares / (x.len() - 1) as f64) }
}

pub(super) fn import(value: &Value) -> Result<Recording, String> {
    let records = value.as_array().ok_or("llama-bench's JSON is an array of tests")?;
    let mut head = header("llama-bench");
    let mut benchmarks = Vec::new();
    for (i, record) in records.iter().enumerate() {
        let kept = record.get("kinglet");
        if let (Some(h), Some(b)) =
            (ours(kept.and_then(|k| k.get("header"))), ours(kept.and_then(|k| k.get("benchmark"))))
        {
            head = h;
            benchmarks.push(b);
            continue;
        }
        if i == 0 {
            text(record, "build_commit").unwrap_or_default().clone_into(&mut head.revision.commit);
            text(record, "cpu_info").unwrap_or_default().clone_into(&mut head.fingerprint.cpu);
            text(record, "test_time").unwrap_or_default().clone_into(&mut head.time);
            text(record, "version").unwrap_or_default().clone_into(&mut head.version);
        }
        benchmarks.push(foreign(record).ok_or_else(|| {
            format!("test {} lacks a field that llama-bench writes (n_prompt, n_gen, samples_ns or avg_ns, model_filename)", i + 1)
        })?);
    }
    Ok(Recording { header: head, benchmarks, failures: Vec::new() })
}

fn foreign(record: &Value) -> Option<Benchmark> {
    let count = |key| record.get(key).and_then(Value::as_u64);
    let (prompt, generated, depth) = (count("n_prompt")?, count("n_gen")?, count("n_depth").unwrap_or(0));
    let file = text(record, "model_filename")?;
    let model = file.rsplit(['/', '\\']).next()?.trim_end_matches(".gguf").replace(char::is_whitespace, "_");
    let mut part = if generated == 0 { format!("pp{prompt}") } else { format!("tg{generated}") };
    if prompt > 0 && generated > 0 {
        part = format!("pp{prompt}+tg{generated}");
    }
    if depth > 0 {
        part += &format!("_d{depth}");
    }
    let tier = text(record, "tier").or(text(record, "backends")).unwrap_or("cpu").to_lowercase();
    let tier = tier.replace(['.', ' ', ','], "_");
    let (kind, threads) = (text(record, "type_k").unwrap_or("f16"), count("n_threads").unwrap_or(0));
    let samples = match record.get("samples_ns").and_then(Value::as_array) {
        Some(all) => all.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>()?,
        None => vec![number(record, "avg_ns")?],
    };
    let work = Work { bytes: count("model_size").unwrap_or(0), multiply_adds: 0, tokens: prompt + generated };
    let name = format!("{model}.{part}.{kind}.t{threads}.{tier}");
    Some(benchmark(name, Layer::EndToEnd, Unit::Ns, work, samples))
}
