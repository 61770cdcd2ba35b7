//! `kinglet convert`: a Hugging Face checkpoint becomes a GGUF file.

use super::files::NewFile;
use super::options::Verbosity;
use super::{CliError, progress};
use crate::convert::{self, ConvertError, FAMILIES, FileType, Options, TokenizerFrom};
use crate::gguf::Gguf;
use crate::hub::{self, Hub, Parts, Progress, megabytes};
use crate::model::Model;
use std::path::{Path, PathBuf};

/// Examples under `kinglet convert --help`.
pub const EXAMPLES: &str = "\
  kinglet convert ./TinyLlama-1.1B-Chat-v1.0 -o tinyllama.gguf           # as F16
  kinglet convert Qwen/Qwen2.5-0.5B-Instruct -o qwen.gguf --type Q4_K_M  # fetched first
  kinglet convert hf:EleutherAI/pythia-160m@main -o pythia.gguf --type Q8_0
  kinglet convert apple/OpenELM-270M -o openelm.gguf --tokenizer ./Llama-2-7b-hf  # has none";

/// What the types are, under `kinglet convert --help`.
pub const TYPES: &str = "\
  F32, F16, BF16  as exact as the checkpoint; most checkpoints are BF16
  Q8_0            half of F16's size, no difference to be seen
  Q6_K, Q5_K_M    smaller, hardly a difference
  Q4_K_M          less than a third of F16's size; the usual choice
  Q4_K_S, Q5_K_S, IQ4_NL, Q4_0, Q4_1, Q5_0, Q5_1  other sizes and speeds
  As in llama.cpp, some tensors of a type get more bits than the rest, and where a row is not a
  multiple of 256 Q5_0, Q5_1 or Q8_0 stand in for Q4_K, Q5_K or Q6_K. Vectors stay F32.";

/// What a repository is, under `kinglet convert --help`.
pub const REPOSITORIES: &str = "\
  OWNER/REPO[@REVISION] of huggingface.co, or of HF_ENDPOINT, with HF_TOKEN where it asks who you are.
  A folder of that name is taken first; hf: before it says that it is none. Only safetensors are
  read. What is fetched stays in the cache: `kinglet rm hf:OWNER/REPO` removes it.";

/// Options of `kinglet convert`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Folder of a Hugging Face checkpoint (config.json, tokenizer files, safetensors), or the name of a repository
    #[arg(value_name = "DIR|REPO")]
    pub from: String,
    /// The GGUF file to write
    #[arg(short, long, value_name = "FILE.gguf")]
    pub out: PathBuf,
    /// Type of the matrices; see below
    #[arg(long = "type", value_name = "TYPE", default_value = "F16")]
    pub file_type: FileType,
    /// Take the tokenizer from another folder or repository; `none` writes a file without one, for logits only
    #[arg(long, value_name = "DIR|REPO")]
    pub tokenizer: Option<String>,
    /// Name of the pre-tokenizer (tokenizer.ggml.pre), where it is not recognized
    #[arg(long, value_name = "NAME")]
    pub pre: Option<String>,
    /// Name of the model [default: the folder's or the repository's]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Replace the output if it is there already
    #[arg(short, long)]
    pub force: bool,
}

/// A table of what can be converted, under `kinglet convert --help`.
pub(super) fn families() -> String {
    let line = |f: &convert::Family| format!("{:<9} {}", f.name, f.models);
    FAMILIES.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Runs the verb.
///
/// # Errors
/// When the checkpoint cannot be read or is of a kind that is not supported, or the output cannot be written; there is then no
/// output file.
pub fn run(args: &Args, verbosity: Verbosity) -> Result<(), CliError> {
    if !args.force && args.out.is_file() {
        let out = args.out.display();
        return Err(CliError::usage(format!(
            "{out} is there already; --force replaces it, or give another name with -o"
        )));
    }
    let progress = progress(verbosity);
    let from = folder(&args.from, Parts::All, progress.as_ref())?;
    let options = Options {
        file_type: args.file_type,
        tokenizer: match args.tokenizer.as_deref() {
            None => TokenizerFrom::Checkpoint,
            Some("none") => TokenizerFrom::Nowhere,
            Some(other) => TokenizerFrom::Folder(folder(other, Parts::Tokenizer, progress.as_ref())?),
        },
        pre: args.pre.clone(),
        name: args.name.clone().or_else(|| repository_name(&args.from)),
    };
    let mut file = NewFile::create(&args.out)?;
    let summary = convert::convert(&from, &options, &mut file, progress.as_ref()).map_err(|e| match e {
        ConvertError::Input(what) => CliError::input(what),
        ConvertError::Write(e) => CliError::failure(format!("cannot write {}: {e}", args.out.display())),
    })?;
    file.check(check)?;
    file.finish()?;
    if !verbosity.quiet {
        progress.note(&format!(
            "{}: {}, {} tensors, {:.1} million weights, {}",
            args.out.display(),
            summary.architecture,
            summary.tensors,
            summary.weights as f64 / 1e6,
            megabytes(summary.bytes)
        ));
    }
    Ok(())
}

/// A folder of this machine, or of the cache after the repository has been fetched. What is there is never asked for.
fn folder(name: &str, parts: Parts, progress: &dyn Progress) -> Result<PathBuf, CliError> {
    let path = Path::new(name);
    if path.exists() && !name.starts_with("hf:") {
        return match path.is_dir() {
            true => Ok(path.to_owned()),
            false => Err(CliError::input(format!(
                "{name}: it is a file; give the folder of a Hugging Face checkpoint"
            ))),
        };
    }
    if !hub::is_repository(name) {
        return Err(CliError::input(format!(
            "{name}: no such folder; give the folder of a Hugging Face checkpoint, or a repository as OWNER/REPO"
        )));
    }
    Ok(Hub::from_env()?.checkpoint(name, parts, progress)?)
}

/// The repository's part of `OWNER/REPO@REVISION`, when it is not a folder.
fn repository_name(name: &str) -> Option<String> {
    if Path::new(name).exists() {
        return None;
    }
    let repository = name.rsplit('/').next()?;
    Some(repository.split('@').next().unwrap_or(repository).to_owned())
}

/// What was written must be a model that runs: a configuration that does not go with its tensors is found here.
fn check(path: &Path) -> Result<(), CliError> {
    let gguf = Gguf::open(path)?;
    Model::new(&gguf).map(|_| ()).map_err(|e| {
        let what = e.to_string();
        let what = what.strip_prefix(gguf.file()).map_or(what.as_str(), |w| w.trim_start_matches(": "));
        CliError::input(format!("the checkpoint's config.json and tensors do not go together: {what}"))
    })
}
