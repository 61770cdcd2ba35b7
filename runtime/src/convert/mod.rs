//! `kinglet convert`: from a Hugging Face checkpoint (safetensors and JSON) to one GGUF file.
//!
//! A family (`families/`) turns `config.json` into a plan (`plan.rs`): metadata, and for each tensor of the GGUF which rows of which
//! tensors of the checkpoint it is made of. Sizes follow from the plan, so the file is written from front to back, and only a few
//! megabytes of weights are in memory at a time; the checkpoint itself is mapped. Names and keys are those that llama.cpp's
//! converter writes, beside keys of our own (`MODELS.md` lists them) where GGUF has none.

mod checkpoint;
mod config;
mod families;
mod plan;
mod tokenizer;
mod types;
mod writer;

pub use families::{FAMILIES, Family};
pub use types::FileType;

use crate::hub::Progress;
use checkpoint::Checkpoint;
use config::Config;
use plan::{Plan, Tensor};
use rayon::prelude::*;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use writer::{Value, Writer};

/// Values converted at a time, so that memory stays the same whatever the model.
const CHUNK: usize = 1 << 20;
/// Work that is shorter shows no progress.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is written.
#[derive(Debug, Clone)]
pub struct Options {
    /// Type of the matrices.
    pub file_type: FileType,
    /// Where the tokenizer comes from.
    pub tokenizer: TokenizerFrom,
    /// `tokenizer.ggml.pre`, for a pre-tokenizer that is not recognized.
    pub pre: Option<String>,
    /// `general.name`; the folder's name without it.
    pub name: Option<String>,
}

/// Where the tokenizer comes from.
#[derive(Debug, Clone)]
pub enum TokenizerFrom {
    /// The checkpoint's folder.
    Checkpoint,
    /// Another folder: some models are published without theirs.
    Folder(PathBuf),
    /// None: the file has no vocabulary, and serves only for logits.
    Nowhere,
}

/// What was written.
#[derive(Debug, Clone)]
pub struct Summary {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// Tensors.
    pub tensors: usize,
    /// Weights in all of them.
    pub weights: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Why a checkpoint could not be converted.
#[derive(Debug)]
pub enum ConvertError {
    /// One line that names what is wrong with the checkpoint.
    Input(String),
    /// The output could not be written.
    Write(io::Error),
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConvertError::Input(what) => f.write_str(what),
            ConvertError::Write(e) => write!(f, "cannot write the output: {e}"),
        }
    }
}

impl std::error::Error for ConvertError {}

impl From<String> for ConvertError {
    fn from(what: String) -> ConvertError {
        ConvertError::Input(what)
    }
}

impl From<io::Error> for ConvertError {
    fn from(e: io::Error) -> ConvertError {
        ConvertError::Write(e)
    }
}

/// Converts the checkpoint in the folder `from`.
///
/// # Errors
/// [`ConvertError::Input`] names the file, key or tensor that is missing, damaged or not supported.
pub fn convert(
    from: &Path,
    options: &Options,
    out: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<Summary, ConvertError> {
    let config = Config::open(&from.join("config.json"))?;
    let family = families::find(&config)?;
    let checkpoint = Checkpoint::open(from)?;
    let mut plan = Plan::new(&config, &checkpoint, family.name);
    plan.text("general.architecture", family.name);
    plan.text("general.type", "model");
    plan.text("general.name", &options.name.clone().unwrap_or_else(|| name_of(from)));
    (family.plan)(&mut plan)?;
    plan.check_all_used()?;
    let vocab_size = plan.vocab_size()?;
    plan.number("vocab_size", vocab_size)?;
    plan.key("general.file_type", Value::U32(options.file_type.number()));
    plan.key("general.quantization_version", Value::U32(2));
    match &options.tokenizer {
        TokenizerFrom::Nowhere => plan.text("tokenizer.ggml.model", "no_vocab"),
        TokenizerFrom::Checkpoint => {
            tokenizer::write(from, family, &config, vocab_size, options.pre.as_deref(), &mut plan.keys)?;
        }
        TokenizerFrom::Folder(folder) => {
            tokenizer::write(folder, family, &config, vocab_size, options.pre.as_deref(), &mut plan.keys)?;
        }
    }
    write(&checkpoint, family, plan.into_parts(), options.file_type, out, progress)
}

fn write(
    checkpoint: &Checkpoint,
    family: &'static Family,
    (keys, tensors): (Vec<(String, Value)>, Vec<Tensor>),
    file_type: FileType,
    out: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<Summary, ConvertError> {
    let formats = types::choose(file_type, &tensors, shared_heads(&keys));
    let mut writer = Writer::new(out);
    for (key, value) in keys {
        writer.key(key, value);
    }
    for (tensor, format) in tensors.iter().zip(&formats) {
        writer.tensor(&tensor.name, &tensor.shape, *format)?;
    }
    let total = writer.begin()?;
    let (start, mut shown) = (Instant::now(), false);
    let mut weights = 0;
    let result = tensors.iter().zip(&formats).try_for_each(|(tensor, format)| {
        weights += tensor.len() as u64;
        let cols = tensor.cols();
        let rows_at_once = (CHUNK / cols.max(1)).max(1);
        let row_bytes = format.row_bytes(cols).unwrap_or(0);
        for first in (0..tensor.rows()).step_by(rows_at_once) {
            let n = rows_at_once.min(tensor.rows() - first);
            let mut bytes = vec![0; n * row_bytes];
            bytes.par_chunks_mut(row_bytes.max(1)).enumerate().try_for_each_init(
                || vec![0.0; cols],
                |row, (i, encoded)| {
                    tensor.read_row(checkpoint, first + i, row);
                    types::encode(*format, row, encoded)
                        .map_err(|what| format!("tensor `{}` {what}", tensor.name))
                },
            )?;
            writer.data(&bytes)?;
            if !shown && start.elapsed() > PATIENCE {
                progress.begin("converting", Some(total));
                shown = true;
            }
            if shown {
                progress.at(writer.written());
            }
        }
        writer.end_tensor().map_err(ConvertError::Write)
    });
    if shown {
        progress.end();
    }
    result?;
    Ok(Summary { architecture: family.name, tensors: tensors.len(), weights, bytes: writer.written() })
}

/// Heads of queries for each of keys, in the first layer.
fn shared_heads(keys: &[(String, Value)]) -> u32 {
    let of = |end: &str| {
        let (_, value) = keys.iter().find(|(key, _)| key.ends_with(end))?;
        match value {
            Value::U32(n) => Some(*n),
            Value::I32s(all) => all.first().and_then(|n| u32::try_from(*n).ok()),
            _ => None,
        }
    };
    let (q, k) = (of(".attention.head_count"), of(".attention.head_count_kv"));
    q.zip(k).and_then(|(q, k)| q.checked_div(k)).unwrap_or(1)
}

/// The folder's name, or the repository's when it lies in Hugging Face's cache.
fn name_of(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let text = |p: Option<&Path>| p.and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
    let snapshots = folder.parent().filter(|p| p.file_name() == Some("snapshots".as_ref()));
    let name = match snapshots.and_then(Path::parent) {
        Some(repo) => text(Some(repo)).map(|n| n.rsplit("--").next().unwrap_or_default().to_owned()),
        None => text(Some(&folder)),
    };
    name.filter(|n| !n.is_empty()).unwrap_or_else(|| "model".to_owned())
}
