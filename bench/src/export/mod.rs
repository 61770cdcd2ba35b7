//! `kinglet-bench export` and `import`: recordings as other tools' JSON, and theirs as recordings.
//!
//! What a format has no field for goes into a `kinglet` field where the format tolerates one, so that export and import return
//! the recording; what comes from other tools has less, and its fields stay empty.

mod bencher;
mod google;
mod llama_bench;
#[cfg(test)]
mod tests;

use crate::record::{Benchmark, Header, Layer, Recording, Revision, Roof, SCHEMA, Spec, Unit, Work};
use crate::tools::{Fail, code};
use serde_json::Value;
use std::path::PathBuf;

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// What `llama-bench -o json` prints: pp and tg of whole models only
    LlamaBench,
    /// Bencher Metric Format: one figure with bounds per benchmark and measure
    Bencher,
    /// Google Benchmark's `--benchmark_format=json`
    GoogleBenchmark,
}

/// Options of `kinglet-bench export`.
#[derive(Debug, Clone, clap::Args)]
pub struct ExportArgs {
    /// A recording
    #[arg(value_name = "RECORDING")]
    pub file: PathBuf,
    /// The other tool's format
    #[arg(long)]
    pub format: Format,
    /// Where to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Options of `kinglet-bench import`.
#[derive(Debug, Clone, clap::Args)]
pub struct ImportArgs {
    /// The other tool's file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Its format [default: what it looks like]
    #[arg(long)]
    pub format: Option<Format>,
    /// The recording to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Runs `export`.
///
/// # Errors
/// When the recording cannot be read, or holds nothing that the format can say.
pub fn export(args: &ExportArgs) -> Result<(), Fail> {
    let recording = Recording::read(&args.file).map_err(|e| Fail::new(code::INPUT, e))?;
    let value = to_value(&recording, args.format).map_err(|e| Fail::new(code::INPUT, e))?;
    let text = serde_json::to_string_pretty(&value).map_err(|e| Fail::new(code::FAILURE, e))? + "\n";
    crate::tools::put(args.output.as_deref(), &text)
}

/// Runs `import`.
///
/// # Errors
/// When the file cannot be read or is not of the format.
pub fn import(args: &ImportArgs) -> Result<(), Fail> {
    let shown = args.file.display();
    let text = std::fs::read_to_string(&args.file);
    let text = text.map_err(|e| Fail::new(code::INPUT, format!("cannot read {shown}: {e}")))?;
    let recording = parse(&text, args.format).map_err(|e| Fail::new(code::INPUT, format!("{shown}: {e}")))?;
    crate::tools::put(args.output.as_deref(), &recording.to_lines())
}

/// The recording in another tool's format.
///
/// # Errors
/// When the format can say nothing of it.
pub fn to_value(recording: &Recording, format: Format) -> Result<Value, String> {
    match format {
        Format::LlamaBench => llama_bench::export(recording),
        Format::Bencher => Ok(bencher::export(recording)),
        Format::GoogleBenchmark => Ok(google::export(recording)),
    }
}

/// A recording from the text of another tool's file.
///
/// # Errors
/// In one line: what is missing or damaged.
pub fn parse(text: &str, format: Option<Format>) -> Result<Recording, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("not JSON ({e})"))?;
    let looks = match &value {
        Value::Array(_) => Some(Format::LlamaBench),
        Value::Object(o) if o.contains_key("context") && o.contains_key("benchmarks") => {
            Some(Format::GoogleBenchmark)
        }
        Value::Object(_) => Some(Format::Bencher),
        _ => None,
    };
    let format = format
        .or(looks)
        .ok_or("neither llama-bench's, Bencher's nor Google Benchmark's JSON; see --format")?;
    let recording = match format {
        Format::LlamaBench => llama_bench::import(&value),
        Format::Bencher => bencher::import(&value),
        Format::GoogleBenchmark => google::import(&value),
    }?;
    if recording.benchmarks.is_empty() {
        return Err("there is no benchmark in it".to_owned());
    }
    for (i, b) in recording.benchmarks.iter().enumerate() {
        if b.samples.iter().any(|s| !s.is_finite() || *s < 0.0) {
            return Err(format!("{} has a figure that is no number of 0 or more", b.name()));
        }
        if b.name().is_empty() || b.name().contains(char::is_whitespace) {
            return Err(format!("`{}` is no name: it is empty or has white space", b.name()));
        }
        if recording.benchmarks[..i].iter().any(|o| o.name() == b.name()) {
            return Err(format!("{} is there twice", b.name()));
        }
    }
    Ok(recording)
}

/// A header of which nothing is known but the tool.
fn header(tool: &str) -> Header {
    Header {
        schema: SCHEMA,
        suite: tool.to_owned(),
        fingerprint: Default::default(),
        revision: Revision::default(),
        time: String::new(),
        version: String::new(),
        taint: Vec::new(),
        roof: Roof::default(),
        interrupted: false,
    }
}

fn benchmark(name: String, layer: Layer, unit: Unit, work: Work, samples: Vec<f64>) -> Benchmark {
    let spec = Spec { name, layer, unit, work, expected: None };
    let (launches, taint) = (Vec::new(), Vec::new());
    Benchmark { schema: SCHEMA, spec, samples, iterations: 1, launches, checksum: String::new(), taint }
}

/// A field of an object as text, `None` where it is missing.
fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

fn number(value: &Value, key: &str) -> Option<f64> {
    value.get(key)?.as_f64()
}

/// Our own part of a file, when it is there and of a schema that is known.
fn ours<T: serde::de::DeserializeOwned>(value: Option<&Value>) -> Option<T> {
    serde_json::from_value(value?.clone()).ok()
}
