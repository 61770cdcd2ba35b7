//! `MODELS.md` is what the registry and the conformance cases say. `KINGLET_WRITE_DOCS=1` writes it anew.

use kinglet::decoder::{Session, SessionOptions, Want};
use kinglet::gguf::Gguf;
use kinglet::model::{Model, arch};
use kinglet::team::Team;
use kinglet_kernels::{Kernels, KvType};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const HEAD: &str = "# Models\n
The decoder runs every GGUF model of these architectures (`general.architecture` in the file; `kinglet inspect` tells it, and how a model
will run or the first thing that keeps it from running). This page is written by a test from `runtime/src/model/arch/mod.rs` and the cases in
`reference/fixtures`.\n
*Distance*: the largest difference of any logit from an independent oracle, over the largest logit; unquantized weights, cache in f32. 2e-5 is the
limit. *Memory*: weights as Q4_K_M plus keys and values of 4096 positions in f16, estimated; the weights are pages of the file, which
the system can drop and read again.\n
| architecture | models | apart from Llama | distance | memory |
|---|---|---|---:|---|
";

/// How far a case is from its oracle.
fn distance(folder: &Path) -> Option<(String, f64)> {
    let gguf = Gguf::open(&folder.join("model.gguf")).unwrap();
    let name = gguf.string("general.architecture").unwrap()?.to_owned();
    let json = |file: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(folder.join(file)).unwrap()).unwrap()
    };
    let model = Model::new(&gguf).unwrap();
    let defaults = SessionOptions::for_model(&model);
    let n_ctx = json("case.json")["n_ctx"].as_u64().map_or(defaults.n_ctx, |n| n as usize);
    let options = SessionOptions { n_ctx, kv: KvType::F32, ..defaults };
    let mut session = Session::new(&model, Kernels::detect().unwrap(), options).unwrap();
    let tokens: Vec<u32> = serde_json::from_value(json("tokens.json")).unwrap();
    let mut logits: Vec<f32> = Vec::new();
    let sink = |_: usize, row: &[f32]| logits.extend_from_slice(row);
    session.eval_with(&Team::new(1).unwrap(), &tokens, Want::From(0), sink).unwrap();
    let bytes = std::fs::read(folder.join("logits.f32")).unwrap();
    let expected = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    let (mut far, mut largest) = (0.0f64, 0.0f64);
    for (a, b) in logits.iter().zip(expected) {
        far = far.max((f64::from(*a) - f64::from(b)).abs());
        largest = largest.max(f64::from(b.abs()));
    }
    Some((name, far / largest))
}

#[test]
fn the_page_is_what_the_registry_says() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut worst: BTreeMap<String, f64> = BTreeMap::new();
    for entry in std::fs::read_dir(root.join("reference/fixtures")).unwrap() {
        let folder = entry.unwrap().path();
        let quantized = folder.to_str().unwrap().contains("-q-");
        if quantized || !folder.join("model.gguf").exists() {
            continue;
        }
        if let Some((name, far)) = distance(&folder) {
            let worst = worst.entry(name).or_default();
            *worst = worst.max(far);
        }
    }
    let mut page = HEAD.to_owned();
    for a in arch::REGISTRY {
        let (weights, cache) = a.example.bytes(4096);
        let gb = |bytes: f64| format!("{:.1}", bytes / 1e9);
        let all = format!("{} GB ({} + {})", gb(weights + cache), gb(weights), gb(cache));
        let (name, models, quirks, example, far) =
            (a.name, a.models, a.quirks, a.example.name, worst[a.name]);
        writeln!(page, "| `{name}` | {models} | {quirks} | {far:.1e} | {example}: {all} |").unwrap();
    }
    let path = root.join("MODELS.md");
    if std::env::var_os("KINGLET_WRITE_DOCS").is_some() {
        return std::fs::write(path, page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "MODELS.md is stale: run this test with KINGLET_WRITE_DOCS=1\n{page}");
}
