//! The decoder against an independent oracle (transformers in f32), case by case.
//!
//! Cases lie in `reference/fixtures`; `KINGLET_CONFORMANCE=DIR` points the same test at a larger set. The rule: F32 models
//! within 2e-5 of the largest logit; quantized models on geometric average no farther from the exact result of their
//! dequantized weights than llama.cpp is, and none beyond 1.5 times its distance. With `--nocapture` the table is printed.

use kinglet::decoder::{Session, SessionOptions, Want};
use kinglet::gguf::Gguf;
use kinglet::model::{Model, arch};
use kinglet::team::Team;
use kinglet_kernels::{Kernels, KvType};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Distance of logits from the oracle's.
struct Distance {
    architecture: String,
    rms: f64,
    max: f64,
    /// `max` over the largest logit.
    rel_max: f64,
}

fn distance(architecture: &str, logits: &[f32], expected: &[f32]) -> Distance {
    assert_eq!(logits.len(), expected.len());
    let errors = logits.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b));
    // A NaN must not pass: `max` below would skip it.
    assert!(logits.iter().all(|l| l.is_finite()), "logits are not finite");
    let (square, max) = errors.fold((0.0, 0.0f64), |(s, m), e| (s + e * e, m.max(e.abs())));
    let largest = expected.iter().fold(0.0f64, |m, l| m.max(f64::from(l.abs())));
    let architecture = architecture.to_owned();
    Distance { architecture, rms: (square / logits.len() as f64).sqrt(), max, rel_max: max / largest }
}

fn floats(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Runs a case, or says why it cannot be run.
fn run(dir: &Path, case: &Value) -> Result<Distance, String> {
    let gguf = Gguf::open(&dir.join("model.gguf")).unwrap();
    let name = gguf.string("general.architecture").unwrap().unwrap();
    if arch::find(name).is_none() {
        return Err(format!("architecture `{name}` is not supported yet"));
    }
    let model = Model::new(&gguf).unwrap();
    let defaults = SessionOptions::for_model(&model);
    let n_ctx = case["n_ctx"].as_u64().map_or(defaults.n_ctx, |n| n as usize);
    let options = SessionOptions { n_ctx, kv: KvType::F32, ..defaults };
    let mut session = Session::new(&model, Kernels::detect().unwrap(), options).unwrap();
    let tokens: Vec<u32> = json(&dir.join("tokens.json"))
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t.as_u64().unwrap() as u32)
        .collect();
    let mut logits = Vec::new();
    let sink = |_: usize, row: &[f32]| logits.extend_from_slice(row);
    session.eval_with(&Team::new(2).unwrap(), &tokens, Want::From(0), sink).unwrap();
    // A `gpt2` file cannot say which GELU it was trained with, unless it has our key: tanh is the default.
    let tanh = dir.join("logits_tanh_gelu.f32");
    let default = name == "gpt2" && tanh.exists() && gguf.get("kinglet.activation").is_none();
    Ok(distance(name, &logits, &floats(&if default { tanh } else { dir.join("logits.f32") })))
}

#[test]
fn matches_the_oracle() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reference/fixtures");
    let root = std::env::var_os("KINGLET_CONFORMANCE").map_or(fixtures.clone(), PathBuf::from);
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(&root).unwrap().map(|e| e.unwrap().path()).collect();
    dirs.retain(|d| d.join("case.json").exists());
    dirs.sort();
    let (mut failures, mut ratios, mut proven) = (Vec::new(), Vec::new(), BTreeSet::new());
    println!("{:<28} {:>10} {:>10} {:>10} {:>10}", "case", "rms", "rel_max", "llama.cpp", "ratio");
    for dir in &dirs {
        let case = json(&dir.join("case.json"));
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        let d = match run(dir, &case) {
            Err(why) => {
                println!("{name:<28} NOT RUN: {why}");
                continue;
            }
            Ok(d) => d,
        };
        proven.insert(d.architecture.clone());
        let theirs = case["llamacpp_vs_oracle"]["rms"].as_f64().unwrap_or(f64::NAN);
        let ratio = d.rms / theirs;
        println!("{name:<28} {:>10.2e} {:>10.2e} {theirs:>10.2e} {ratio:>10.3}", d.rms, d.rel_max);
        let tolerance = &case["suggested_tolerance"];
        let (rms, max) = (tolerance["rms"].as_f64().unwrap(), tolerance["max_abs"].as_f64().unwrap());
        if d.rms > rms || d.max > max {
            failures.push(format!("{name}: rms {:.3e} (<= {rms}), max {:.3e} (<= {max})", d.rms, d.max));
        } else if !name.contains("-q-") && d.rel_max > 2e-5 {
            failures.push(format!("{name}: {:.2e} of the largest logit (<= 2e-5)", d.rel_max));
        } else if name.contains("-q-") {
            // F16 and BF16 weights meet activations that we leave in f32; averaging them in would flatter the rest.
            if !name.ends_with("f16") {
                ratios.push(ratio);
            }
            if ratio > 1.5 {
                failures.push(format!("{name}: {ratio:.3} times llama.cpp's distance (<= 1.5)"));
            }
        }
    }
    let logs: f64 = ratios.iter().map(|r| libm::log(*r)).sum();
    let mean = libm::exp(logs / ratios.len() as f64);
    println!("{} quantized cases, geometric mean of our rms over llama.cpp's: {mean:.3}", ratios.len());
    if mean > 1.0 {
        failures.push(format!("geometric mean {mean:.3} (<= 1)"));
    }
    if root == fixtures {
        let without = arch::REGISTRY.iter().map(|a| a.name).filter(|a| !proven.contains(*a));
        assert_eq!(without.collect::<Vec<_>>(), [""; 0], "architectures without a case");
    }
    assert!(!ratios.is_empty(), "no case ran in {}", root.display());
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
