//! Recordings: what was measured, where, and how, as JSON Lines.
//!
//! A file is one [`Header`] line and then one line per benchmark: a [`Benchmark`] with its raw samples, or a [`Failure`] when
//! there is no number to keep. Every line has `"schema": 1` and a `"kind"`. Fields are only ever added; a reader of schema 1
//! ignores fields it does not know and refuses a file whose schema is newer.
//!
//! # Names
//! A benchmark of kinglet is named `<model>.<part>.<type>.<op>.<tier>`, read from the right because models have dots in
//! their names ([`Name`]):
//!
//! | layer | example | `part`, `type`, `op` |
//! |---|---|---|
//! | kernel | `qwen2.5-0.5b.ffn_down.q4_k.gemv.avx2` | the tensor; its format; `gemv` (one column, weights in cache), `gemv_ram` (one column, more weights than caches hold), `gemm<N>` (N columns) |
//! | operation | `qwen2.5-0.5b.attention.f16.decode1024.avx2` | the operation; the type of what it reads; `decode<depth>` or `prefill<tokens>` |
//! | end to end | `qwen2.5-0.5b.tg32_d4096.f16.t2.avx2` | the measure, with depth and batch; the type of the KV cache; threads |
//!
//! Suites of other programs may use any names without white space.

use crate::fingerprint::Fingerprint;
use crate::taint::Taint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// The version of the file format that this program writes, and the newest it reads.
pub const SCHEMA: u32 = 1;

/// The first line of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name of the suite.
    pub suite: String,
    /// The machine, the compiler and what they were set to.
    pub fingerprint: Fingerprint,
    /// The source that was built.
    pub revision: Revision,
    /// When the recording began: RFC 3339, UTC.
    pub time: String,
    /// Version of the measured program, `0.1.0`.
    pub version: String,
    /// What could have disturbed the whole recording; empty when nothing was seen.
    #[serde(default)]
    pub taint: Vec<Taint>,
    /// What the machine can do at most.
    #[serde(default)]
    pub roof: Roof,
    /// Whether the recording was stopped by Ctrl-C: benchmarks, or launches that there was time for, are missing.
    #[serde(default)]
    pub interrupted: bool,
}

/// The source that a program was built from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Full commit hash, or empty when unknown.
    pub commit: String,
    /// Whether the working tree differed from the commit.
    pub dirty: bool,
}

impl fmt::Display for Revision {
    /// `93993ab`, `93993ab (dirty)`, `unknown revision`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.commit.get(..self.commit.len().min(9)).unwrap_or(&self.commit);
        match (short, self.dirty) {
            ("", _) => f.write_str("unknown revision"),
            (s, false) => f.write_str(s),
            (s, true) => write!(f, "{s} (dirty)"),
        }
    }
}

/// What the machine can do at most, measured in the same recording; 0 where it was not measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Roof {
    /// Bytes per second of plain reads by one thread, from memory.
    pub read_one: f64,
    /// Bytes per second of plain reads by all allowed cores, from memory.
    pub read_all: f64,
    /// Bytes per second of plain reads by one thread, from L2.
    #[serde(default)]
    pub read_cache: f64,
    /// Cycles per second of one core under load, by a chain of dependent additions.
    pub cycles: f64,
    /// Multiply-adds of signed bytes per second that one core reaches at most, by tier.
    #[serde(default)]
    pub multiply_adds: BTreeMap<String, f64>,
}

/// A layer of benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// One kernel of one tier.
    Kernel,
    /// A norm, RoPE, attention, a decoder layer.
    Operation,
    /// A whole model.
    EndToEnd,
}

/// What samples count. Smaller is always better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Nanoseconds of wall time per iteration.
    Ns,
    /// Bytes of memory.
    Bytes,
    /// Executed instructions per iteration: exact, no noise.
    Instructions,
    /// Microjoules per iteration.
    Microjoules,
}

impl Unit {
    /// `ns`, `bytes`, `instructions`, `uJ`.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Ns => "ns",
            Unit::Bytes => "bytes",
            Unit::Instructions => "instructions",
            Unit::Microjoules => "uJ",
        }
    }
}

/// What one iteration does; 0 where it does not apply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Bytes of weights, keys and values read.
    #[serde(default)]
    pub bytes: u64,
    /// Multiply-adds.
    #[serde(default)]
    pub multiply_adds: u64,
    /// Tokens.
    #[serde(default)]
    pub tokens: u64,
}

/// What a benchmark is, before it is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Its name; see [`Name`].
    pub name: String,
    /// Its layer.
    pub layer: Layer,
    /// What samples count.
    pub unit: Unit,
    /// What one iteration does.
    #[serde(default)]
    pub work: Work,
    /// The checksum of the right answer, when the suite knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
}

/// One benchmark's line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Benchmark {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What was measured.
    #[serde(flatten)]
    pub spec: Spec,
    /// Raw samples in the order in which they were taken: units per iteration.
    pub samples: Vec<f64>,
    /// Iterations behind each sample.
    pub iterations: u64,
    /// The launch of the worker process (0, 1, …) that each sample came from; empty when there was one. Samples of one launch
    /// share its memory layout.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub launches: Vec<u32>,
    /// Checksum of the answer, hexadecimal; empty for benchmarks that have none.
    #[serde(default)]
    pub checksum: String,
    /// What disturbed this benchmark.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taint: Vec<Taint>,
}

impl Benchmark {
    /// The name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Median of the samples; NaN when there are none.
    pub fn median(&self) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        match (sorted.get(n.wrapping_sub(1) / 2), sorted.get(n / 2)) {
            (Some(a), Some(b)) => (a + b) / 2.0,
            _ => f64::NAN,
        }
    }

    /// `what` per second at the median, for benchmarks of time; `None` when it does not apply.
    pub fn per_second(&self, what: impl Fn(&Work) -> u64) -> Option<f64> {
        let amount = what(&self.spec.work);
        let median = self.median();
        (self.spec.unit == Unit::Ns && amount > 0 && median > 0.0).then(|| amount as f64 / median * 1e9)
    }
}

/// Why a benchmark has no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The checksum is not the expected one.
    WrongAnswer,
    /// The worker ended or reported an error.
    Crashed,
    /// The worker did not answer in time.
    TimedOut,
    /// This machine cannot run it: no such tier, no such model file.
    Skipped,
}

/// A benchmark that gave no number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The benchmark's name.
    pub name: String,
    /// What happened.
    pub reason: FailureKind,
    /// In words, and what to do.
    pub detail: String,
}

/// One line of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// The first line.
    Header(Box<Header>),
    /// A benchmark.
    Benchmark(Box<Benchmark>),
    /// A benchmark without a number.
    Failure(Failure),
}

/// A whole recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// The first line.
    pub header: Header,
    /// The benchmarks, in the order of the file.
    pub benchmarks: Vec<Benchmark>,
    /// Those without a number.
    pub failures: Vec<Failure>,
}

impl Recording {
    /// The benchmark with this name.
    pub fn get(&self, name: &str) -> Option<&Benchmark> {
        self.benchmarks.iter().find(|b| b.spec.name == name)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// One line that names the file, the line in it, and what to do.
    pub fn read(path: &Path) -> Result<Recording, String> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {shown}: {e}"))?;
        Recording::parse(&text).map_err(|e| format!("{shown}: {e}"))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// One line that names the line of the text, and what to do.
    pub fn parse(text: &str) -> Result<Recording, String> {
        #[derive(Deserialize)]
        struct Schema {
            schema: u32,
        }
        let (mut header, mut benchmarks, mut failures) = (None, Vec::<Benchmark>::new(), Vec::new());
        for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            let at = i + 1;
            let broken = |e| {
                format!(
                    "line {at} is not a line of a recording ({e}); record it again, or restore it from git"
                )
            };
            let Schema { schema } = serde_json::from_str(line).map_err(broken)?;
            if schema > SCHEMA {
                return Err(format!(
                    "line {at} has schema {schema}, and this kinglet-bench reads up to {SCHEMA}; use a newer kinglet-bench"
                ));
            }
            match serde_json::from_str(line).map_err(broken)? {
                Line::Header(h) if header.is_none() && i == 0 => header = Some(*h),
                Line::Header(_) => {
                    return Err(format!("line {at} is a second header; keep one recording per file"));
                }
                Line::Benchmark(b) if benchmarks.iter().any(|o| o.spec.name == b.spec.name) => {
                    return Err(format!("line {at} repeats {}; keep one of the two lines", b.spec.name));
                }
                Line::Benchmark(b) if b.samples.iter().any(|s| !s.is_finite() || *s < 0.0) => {
                    return Err(format!(
                        "line {at} has a sample of {} that is no number; record it again",
                        b.spec.name
                    ));
                }
                Line::Benchmark(b) => benchmarks.push(*b),
                Line::Failure(f) => failures.push(f),
            }
        }
        let header = header.ok_or("no header line: not a recording of `kinglet-bench record`")?;
        Ok(Recording { header, benchmarks, failures })
    }

    /// The lines of a file.
    pub fn to_lines(&self) -> String {
        let header = std::iter::once(Line::Header(Box::new(self.header.clone())));
        let benchmarks = self.benchmarks.iter().map(|b| Line::Benchmark(Box::new(b.clone())));
        let failures = self.failures.iter().cloned().map(Line::Failure);
        header.chain(benchmarks).chain(failures).map(|l| l.to_json() + "\n").collect()
    }
}

impl Line {
    /// The line as JSON, without a line feed.
    pub fn to_json(&self) -> String {
        // Every field is a plain value with string keys: serialization cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The parts of a name, from the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    /// `qwen2.5-0.5b`.
    pub model: &'a str,
    /// `ffn_down`, `attention`, `tg32_d4096`.
    pub part: &'a str,
    /// `q4_k`, `f16`.
    pub kind: &'a str,
    /// `gemv`, `gemm64`, `decode1024`, `t2`.
    pub op: &'a str,
    /// `avx2`.
    pub tier: &'a str,
}

impl<'a> Name<'a> {
    /// The parts of `name`, or `None` when it has fewer than five.
    pub fn parse(name: &'a str) -> Option<Name<'a>> {
        let mut parts = name.rsplitn(5, '.');
        let (tier, op, kind, part) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let model = parts.next().filter(|m| !m.is_empty())?;
        Some(Name { model, part, kind, op, tier })
    }

    /// The name with another tier: `with_tier("scalar")` is what a speed-up is measured against.
    pub fn with_tier(&self, tier: &str) -> String {
        format!("{}.{}.{}.{}.{tier}", self.model, self.part, self.kind, self.op)
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
