//! `kinglet inspect`: what is in a model file, and what of it kinglet cannot use.

use super::options::{ModelArg, Verbosity};
use super::{CliError, model_path, output};
use crate::chat::Template;
use crate::decoder::{SessionOptions, cache_bytes};
use crate::gguf::{Array, Gguf, Kind, TensorInfo, Value};
use crate::hub::megabytes;
use crate::model::{Model, arch};
use crate::tokenizer::Tokenizer;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Examples under `kinglet inspect --help`.
pub const EXAMPLES: &str = "\
  kinglet inspect smollm2:135m
  kinglet inspect model.gguf | head -n 40
  kinglet inspect model.gguf --json | python3 -m json.tool";

/// Options of `kinglet inspect`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
    /// Print JSON; an array of more than 16 values becomes its type, length and first values
    #[arg(long)]
    pub json: bool,
}

/// Arrays up to this length are shown whole.
const WHOLE: usize = 16;
/// How much is shown of a longer one.
const FIRST: usize = 6;
/// Characters shown of a string.
const MAX_CHARS: usize = 100;

/// Runs the verb.
///
/// # Errors
/// When the model cannot be found or opened, or the output not written.
pub fn run(args: &Args, verbosity: Verbosity) -> Result<(), CliError> {
    let model = Gguf::open(&model_path(&args.model, verbosity)?)?;
    output(|out| if args.json { print_json(&model, out) } else { print_text(&model, out) })
}

/// What would keep the model from running: one line for each thing.
pub fn unsupported(model: &Gguf) -> Vec<String> {
    let mut lines = Vec::new();
    match model.string("general.architecture") {
        Ok(Some(name)) if arch::find(name).is_some() => {}
        Ok(Some(name)) => {
            lines.push(format!("architecture `{name}` is not known ({} are)", arch::names()));
        }
        Ok(None) => lines.push("key `general.architecture` is missing".to_owned()),
        Err(e) => lines.push(e.what),
    }
    let mut unknown: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for t in model.tensors().iter().filter(|t| t.format.is_none()) {
        unknown.entry(t.ggml_type).or_default().push(&t.name);
    }
    for (ggml_type, names) in unknown {
        let first = names.first().copied().unwrap_or_default();
        let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
        lines.push(format!("tensor type {} of `{first}`{more} is not known", type_name(ggml_type)));
    }
    if lines.is_empty() {
        // Then the decoder itself can say: the first key or tensor that is missing, wrong or left over.
        let file = format!("{}: ", model.file());
        let mut say = |e: String| lines.push(e.strip_prefix(&file).unwrap_or(&e).to_owned());
        if let Err(e) = Model::new(model) {
            say(e.to_string());
        }
        let tokenizer = model.string("tokenizer.ggml.model").ok().flatten();
        match tokenizer {
            None | Some("no_vocab") => {
                say("there is no tokenizer in it: only `logits` and `bench` can run it".to_owned())
            }
            Some(_) => match Tokenizer::from_gguf(model) {
                Err(e) => say(e.to_string()),
                Ok(tokenizer) => {
                    if let Err(e) = Template::from_gguf(model, &tokenizer) {
                        say(e.to_string());
                    }
                }
            },
        }
    }
    lines
}

/// How the model runs.
fn decoder(model: &Model<'_>) -> Vec<(&'static str, String)> {
    let mut lines = model.spec.describe();
    let SessionOptions { n_ctx: positions, kv, batch } = SessionOptions::for_model(model);
    let cache = megabytes(cache_bytes(&model.spec, kv, positions, batch) as u64);
    lines.push(("a token", format!("reads {} of weights", megabytes(model.bytes_per_token() as u64))));
    lines.push(("memory", format!("{cache} for keys and values of {positions} positions, in f16")));
    lines
}

/// ggml's names of types that no model kinglet runs is stored in.
fn type_name(ggml_type: u32) -> String {
    let name = match ggml_type {
        9 => "Q8_1",
        15 => "Q8_K",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        _ => return format!("{ggml_type}"),
    };
    format!("{ggml_type} ({name})")
}

fn format_name(t: &TensorInfo) -> String {
    t.format.map_or_else(|| format!("type {}", type_name(t.ggml_type)), |f| f.name().to_owned())
}

/// Weights of a tensor; the shape of an unknown type was never multiplied out before.
fn weights(t: &TensorInfo) -> u64 {
    t.shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).unwrap_or(u64::MAX)
}

#[derive(Default)]
struct Total {
    tensors: u64,
    weights: u64,
    bytes: u64,
}

/// Totals by format, the largest first, and of everything.
fn totals(model: &Gguf) -> (Vec<(String, Total)>, Total) {
    let mut by_format: BTreeMap<String, Total> = BTreeMap::new();
    let mut all = Total::default();
    for t in model.tensors() {
        for total in [by_format.entry(format_name(t)).or_default(), &mut all] {
            total.tensors += 1;
            total.weights = total.weights.saturating_add(weights(t));
            total.bytes += t.bytes as u64;
        }
    }
    let mut by_format: Vec<(String, Total)> = by_format.into_iter().collect();
    by_format.sort_by_key(|(_, t)| std::cmp::Reverse(t.bytes));
    (by_format, all)
}

fn print_text(model: &Gguf, out: &mut dyn Write) -> io::Result<()> {
    let (by_format, all) = totals(model);
    writeln!(out, "{}", escaped(model.file(), usize::MAX))?;
    let files = if model.n_files() > 1 { format!(" in {} files", model.n_files()) } else { String::new() };
    writeln!(out, "  GGUF version {}, {}{files}", model.version(), megabytes(model.total_bytes() as u64))?;
    writeln!(out, "  {} parameters in {} tensors", count(all.weights), all.tensors)?;
    writeln!(out, "\nFormats")?;
    for (name, t) in &by_format {
        let share = 100.0 * t.bytes as f64 / all.bytes.max(1) as f64;
        let (weights, bytes) = (count(t.weights), megabytes(t.bytes));
        writeln!(out, "  {name:10} {:5} tensors  {weights:>9}  {bytes:>9}  {share:5.1} %", t.tensors)?;
    }
    if let Ok(runs) = Model::new(model) {
        writeln!(out, "\nDecoder")?;
        for (name, what) in decoder(&runs) {
            writeln!(out, "  {name:12} {what}")?;
        }
    }
    writeln!(out, "\nNot supported")?;
    let lines = unsupported(model);
    if lines.is_empty() {
        writeln!(out, "  nothing: all of it can be used")?;
    }
    for line in lines {
        writeln!(out, "  {}", escaped(&line, usize::MAX))?;
    }
    writeln!(out, "\nMetadata")?;
    for (key, value) in model.metadata() {
        writeln!(out, "  {:42} {}", escaped(key, MAX_CHARS), value_text(value))?;
    }
    writeln!(out, "\nTensors")?;
    for t in model.tensors() {
        let shape: Vec<String> = t.shape.iter().map(u64::to_string).collect();
        let (name, shape, bytes) =
            (escaped(&t.name, MAX_CHARS), shape.join(" x "), megabytes(t.bytes as u64));
        writeln!(out, "  {name:36} {:10} {shape:>20}  {bytes:>9}", format_name(t))?;
    }
    Ok(())
}

/// `134.5 M`
fn count(n: u64) -> String {
    match n {
        0..1_000 => n.to_string(),
        1_000..1_000_000 => format!("{:.1} K", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} M", n as f64 / 1e6),
        _ => format!("{:.2} B", n as f64 / 1e9),
    }
}

/// Text of a file made safe for a terminal: control characters are shown, and what is long is cut.
fn escaped(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for c in text.chars().take(most) {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    if text.chars().nth(most).is_some() {
        shown.push_str(&format!("… ({} bytes)", text.len()));
    }
    shown
}

fn value_text(value: Value<'_>) -> String {
    match value {
        Value::Uint(n) => n.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Float(x) => short_float(x).to_string(),
        Value::Bool(b) => b.to_string(),
        Value::Str(s) => escaped(s, MAX_CHARS),
        Value::Array(a) => {
            let shown: Vec<String> = shown(a).map(|v| value_text_in_array(v)).collect();
            let rest = if shown.len() < a.len { ", …" } else { "" };
            format!("{} × {} [{}{rest}]", a.len, kind_name(a.kind), shown.join(", "))
        }
    }
}

fn value_text_in_array(value: Value<'_>) -> String {
    match value {
        Value::Str(s) => format!("\"{}\"", escaped(s, 24)),
        Value::Array(a) => format!("{} × {}", a.len, kind_name(a.kind)),
        other => value_text(other),
    }
}

fn shown(a: Array<'_>) -> impl Iterator<Item = Value<'_>> {
    a.iter().take(if a.len <= WHOLE { a.len } else { FIRST })
}

fn kind_name(kind: Kind) -> String {
    format!("{kind:?}").to_lowercase()
}

/// An f32 widened to f64 prints as the f32 it was: 0.00001 and not 0.000009999999747378752.
fn short_float(x: f64) -> f64 {
    let narrow = x as f32;
    if f64::from(narrow) == x { narrow.to_string().parse().unwrap_or(x) } else { x }
}

fn print_json(model: &Gguf, out: &mut dyn Write) -> io::Result<()> {
    let (by_format, all) = totals(model);
    let formats: Vec<Json> = by_format
        .iter()
        .map(|(name, t)| json!({ "format": name, "tensors": t.tensors, "parameters": t.weights, "bytes": t.bytes }))
        .collect();
    let metadata: serde_json::Map<String, Json> =
        model.metadata().map(|(key, value)| (key.to_owned(), value_json(value))).collect();
    let tensors: Vec<Json> = model.tensors().iter().map(tensor_json).collect();
    let report = json!({
        "file": model.file(),
        "files": model.n_files(),
        "bytes": model.total_bytes(),
        "gguf_version": model.version(),
        "parameters": all.weights,
        "decoder": Model::new(model).ok().map(|m| decoder(&m).into_iter().collect::<BTreeMap<_, _>>()),
        "unsupported": unsupported(model),
        "formats": formats,
        "metadata": metadata,
        "tensors": tensors,
    });
    serde_json::to_writer_pretty(&mut *out, &report)?;
    writeln!(out)
}

fn tensor_json(t: &TensorInfo) -> Json {
    json!({
        "name": t.name,
        "format": t.format.map(|f| f.name()),
        "ggml_type": t.ggml_type,
        "shape": t.shape,
        "bytes": t.bytes,
        "file": t.shard,
        "offset": t.offset,
    })
}

fn value_json(value: Value<'_>) -> Json {
    match value {
        Value::Uint(n) => json!(n),
        Value::Int(n) => json!(n),
        // JSON has no NaN and no infinity.
        Value::Float(x) if !x.is_finite() => json!(x.to_string()),
        Value::Float(x) => json!(short_float(x)),
        Value::Bool(b) => json!(b),
        Value::Str(s) => json!(s),
        Value::Array(a) => {
            let first: Vec<Json> = shown(a).map(value_json).collect();
            if a.len <= WHOLE {
                Json::Array(first)
            } else {
                json!({ "type": kind_name(a.kind), "length": a.len, "first": first })
            }
        }
    }
}
