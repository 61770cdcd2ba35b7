//! Cases with an oracle's logits, run and judged: a folder each with `model.gguf`, `tokens.json`, `logits.f32` and `case.json`.
//!
//! The rule: models of unquantized weights within 2e-5 of the largest logit; quantized ones on geometric average no farther from the
//! exact result of their dequantized weights than llama.cpp is on the same file, and none beyond 1.5 times its distance. The cache is f32.
#![allow(dead_code, reason = "each user takes its part")]

use kinglet::decoder::{Session, SessionOptions, Want};
use kinglet::gguf::Gguf;
use kinglet::model::Model;
use kinglet::team::Team;
use kinglet_kernels::{Kernels, KvType};
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Of the largest logit.
const FLOAT_LIMIT: f64 = 2e-5;
/// Times llama.cpp's distance.
const WORST_RATIO: f64 = 1.5;

/// Distance of logits from the oracle's.
#[derive(Clone, Copy)]
pub struct Distance {
    /// Root of the mean square.
    pub rms: f64,
    /// The largest.
    pub max: f64,
    /// That over the largest logit.
    pub rel_max: f64,
}

impl Distance {
    fn new(logits: &[f32], expected: &[f32]) -> Result<Distance, String> {
        if logits.len() != expected.len() {
            return Err(format!("{} logits where there are {}", logits.len(), expected.len()));
        }
        // A NaN must not pass: the maximum would skip it.
        if !logits.iter().chain(expected).all(|l| l.is_finite()) {
            return Err("logits are not finite".to_owned());
        }
        let errors = logits.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b));
        let (square, max) = errors.fold((0.0, 0.0f64), |(s, m), e| (s + e * e, m.max(e.abs())));
        let largest = expected.iter().fold(0.0f64, |m, l| m.max(f64::from(l.abs())));
        Ok(Distance { rms: (square / logits.len() as f64).sqrt(), max, rel_max: max / largest })
    }

    fn from_json(json: &Value) -> Option<Distance> {
        let get = |key: &str| json[key].as_f64();
        Some(Distance { rms: get("rms")?, max: get("max_abs")?, rel_max: get("rel_max")? })
    }
}

/// A case and what became of it.
pub struct Case {
    pub name: String,
    pub architecture: String,
    /// Whether a weight of it is in a format that is not a float's.
    pub quantized: bool,
    pub ours: Result<Distance, String>,
    /// llama.cpp's, where it runs the file.
    pub theirs: Option<Distance>,
    tolerance: Option<(f64, f64)>,
}

fn floats(path: &Path) -> Result<Vec<f32>, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

fn json(path: &Path) -> Result<Value, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))
}

/// The folders of the cases in `root`, in order.
pub fn folders(root: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(root).map_err(|e| format!("{}: {e}", root.display()))?;
    let mut folders: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    folders.retain(|d| d.join("case.json").exists());
    folders.sort();
    Ok(folders)
}

impl Case {
    /// Runs the case in `folder`.
    pub fn run(folder: &Path) -> Case {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut case = Case {
            name,
            architecture: String::new(),
            quantized: false,
            ours: Err(String::new()),
            theirs: None,
            tolerance: None,
        };
        case.ours = case.distance(folder);
        case
    }

    fn distance(&mut self, folder: &Path) -> Result<Distance, String> {
        let said = json(&folder.join("case.json"))?;
        self.theirs = Distance::from_json(&said["llamacpp_vs_oracle"]);
        let tolerance = &said["suggested_tolerance"];
        self.tolerance = tolerance["rms"].as_f64().zip(tolerance["max_abs"].as_f64());
        let gguf = Gguf::open(&folder.join("model.gguf")).map_err(|e| e.to_string())?;
        let name = gguf.string("general.architecture").ok().flatten().unwrap_or_default();
        self.architecture = name.to_owned();
        self.quantized = gguf.tensors().iter().any(|t| t.format.is_none_or(|f| !f.is_float()));
        let model = Model::new(&gguf).map_err(|e| e.to_string())?;
        let defaults = SessionOptions::for_model(&model);
        let n_ctx = said["n_ctx"].as_u64().map_or(defaults.n_ctx, |n| n as usize);
        let options = SessionOptions { n_ctx, kv: KvType::F32, ..defaults };
        let kernels = Kernels::detect().map_err(|e| e.to_string())?;
        let mut session = Session::new(&model, kernels, options).map_err(|e| e.to_string())?;
        let tokens: Vec<u32> =
            serde_json::from_value(json(&folder.join("tokens.json"))?).map_err(|e| e.to_string())?;
        let mut logits = Vec::new();
        let sink = |_: usize, row: &[f32]| logits.extend_from_slice(row);
        let team = Team::new(2).map_err(|e| e.to_string())?;
        session.eval_with(&team, &tokens, Want::From(0), sink).map_err(|e| e.to_string())?;
        // A `gpt2` file cannot say which GELU it was trained with, unless it has our key: tanh is the default, also llama.cpp's.
        let tanh = folder.join("logits_tanh_gelu.f32");
        if name == "gpt2" && tanh.exists() && gguf.get("kinglet.activation").is_none() {
            self.theirs = Distance::from_json(&said["llamacpp_vs_oracle_tanh_gelu"]);
            return Distance::new(&logits, &floats(&tanh)?);
        }
        Distance::new(&logits, &floats(&folder.join("logits.f32"))?)
    }

    /// Our rms over llama.cpp's.
    fn ratio(&self) -> Option<f64> {
        Some(self.ours.as_ref().ok()?.rms / self.theirs?.rms)
    }

    /// What is wrong with it by itself.
    fn failure(&self) -> Option<String> {
        let ours = match &self.ours {
            Err(why) => return Some(why.clone()),
            Ok(ours) => ours,
        };
        if !self.quantized && ours.rel_max > FLOAT_LIMIT {
            return Some(format!("{:.2e} of the largest logit (<= {FLOAT_LIMIT:e})", ours.rel_max));
        }
        if let Some(ratio) = self.ratio().filter(|r| self.quantized && *r > WORST_RATIO) {
            return Some(format!("{ratio:.3} times llama.cpp's distance (<= {WORST_RATIO})"));
        }
        match self.tolerance {
            Some((rms, max)) if ours.rms > rms || ours.max > max => {
                let Distance { rms: r, max: m, .. } = ours;
                Some(format!("rms {r:.3e} (<= {rms}), max {m:.3e} (<= {max})"))
            }
            _ => None,
        }
    }
}

/// What the cases say together.
pub struct Verdict {
    /// The table and its summary, in Markdown.
    pub table: String,
    /// What is wrong, a line each.
    pub failures: Vec<String>,
}

/// Judges all cases together.
pub fn judge(cases: &[Case]) -> Verdict {
    let mut failures = Vec::new();
    let mut table = String::from(
        "| case | rms, ours | rms, llama.cpp | ratio | of the largest logit, ours | llama.cpp | verdict |\n\
         |---|---:|---:|---:|---:|---:|---|\n",
    );
    for case in cases {
        let failure = case.failure();
        let number = |x: Option<f64>| x.map_or("-".to_owned(), |x| format!("{x:.2e}"));
        let (ours, theirs) = (case.ours.as_ref().ok(), case.theirs.as_ref());
        let ratio = case.ratio().map_or("-".to_owned(), |r| format!("{r:.3}"));
        let verdict = if failure.is_none() { "ok" } else { "FAILED" };
        let (ours_rms, theirs_rms) = (number(ours.map(|d| d.rms)), number(theirs.map(|d| d.rms)));
        let (ours_rel, theirs_rel) = (number(ours.map(|d| d.rel_max)), number(theirs.map(|d| d.rel_max)));
        let name = &case.name;
        _ = writeln!(
            table,
            "| {name} | {ours_rms} | {theirs_rms} | {ratio} | {ours_rel} | {theirs_rel} | {verdict} |"
        );
        failures.extend(failure.map(|why| format!("{name}: {why}")));
    }
    let done = |quantized: bool| {
        cases
            .iter()
            .filter(move |c| c.quantized == quantized)
            .filter_map(|c| Some((c, c.ours.as_ref().ok()?)))
    };
    let largest = done(false).max_by(|a, b| a.1.rel_max.total_cmp(&b.1.rel_max));
    if let Some((case, distance)) = largest {
        let (n, name, far) = (done(false).count(), &case.name, distance.rel_max);
        let lead = "models of unquantized weights: at most";
        _ = write!(
            table,
            "\n{n} {lead} {far:.1e} of the largest logit ({name}); {FLOAT_LIMIT:e} is the limit.\n"
        );
    }
    let ratios: Vec<(f64, &str)> =
        done(true).filter_map(|(c, _)| Some((c.ratio()?, c.name.as_str()))).collect();
    if let Some((worst, name)) = ratios.iter().max_by(|a, b| a.0.total_cmp(&b.0)) {
        let sum: f64 = ratios.iter().map(|(r, _)| libm::log(*r)).sum();
        let mean = libm::exp(sum / ratios.len() as f64);
        _ = write!(
            table,
            "\n{} quantized models: our rms is on geometric average {mean:.3} times llama.cpp's (1 is the limit), at most \
             {worst:.3} times ({name}; {WORST_RATIO} is the limit).\n",
            ratios.len()
        );
        if mean > 1.0 {
            failures.push(format!("quantized models: geometric mean {mean:.3} (<= 1)"));
        }
    }
    Verdict { table, failures }
}
