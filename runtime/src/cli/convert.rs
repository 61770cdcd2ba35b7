//! `kinglet convert`: a Hugging Face checkpoint becomes a GGUF file.

use super::files::NewFile;
use super::options::Verbosity;
use super::{CliError, progress};
use crate::convert::{self, ConvertError, FAMILIES, FileType, Options, TokenizerFrom};
use crate::gguf::Gguf;
use crate::hub::megabytes;
use crate::model::Model;
use std::path::{Path, PathBuf};

/// Examples under `kinglet convert --help`.
pub const EXAMPLES: &str = "\
  kinglet convert ./TinyLlama-1.1B-Chat-v1.0 -o tinyllama.gguf                # as F16
  kinglet convert ./pythia-160m -o pythia.gguf --type Q8_0
  kinglet convert ./OpenELM-270M -o openelm.gguf --tokenizer ./Llama-2-7b-hf  # published without a tokenizer";

/// Options of `kinglet convert`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Folder of a Hugging Face checkpoint: config.json, tokenizer files, safetensors
    #[arg(value_name = "DIR")]
    pub from: PathBuf,
    /// The GGUF file to write
    #[arg(short, long, value_name = "FILE.gguf")]
    pub out: PathBuf,
    /// Type of the matrices: F32, F16, BF16 or Q8_0
    #[arg(long = "type", value_name = "TYPE", default_value = "F16")]
    pub file_type: FileType,
    /// Take the tokenizer from another folder; `none` writes a file without one, for logits only
    #[arg(long, value_name = "DIR")]
    pub tokenizer: Option<PathBuf>,
    /// Name of the pre-tokenizer (tokenizer.ggml.pre), where it is not recognized
    #[arg(long, value_name = "NAME")]
    pub pre: Option<String>,
    /// Name of the model [default: the folder's]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
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
    let options = Options {
        file_type: args.file_type,
        tokenizer: match &args.tokenizer {
            None => TokenizerFrom::Checkpoint,
            Some(folder) if folder.as_os_str() == "none" => TokenizerFrom::Nowhere,
            Some(folder) => TokenizerFrom::Folder(folder.clone()),
        },
        pre: args.pre.clone(),
        name: args.name.clone(),
    };
    let mut file = NewFile::create(&args.out)?;
    let progress = progress(verbosity);
    let summary =
        convert::convert(&args.from, &options, &mut file, progress.as_ref()).map_err(|e| match e {
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

/// What was written must be a model that runs: a configuration that does not go with its tensors is found here.
fn check(path: &Path) -> Result<(), CliError> {
    let gguf = Gguf::open(path)?;
    Model::new(&gguf).map(|_| ()).map_err(|e| {
        let what = e.to_string();
        let what = what.strip_prefix(gguf.file()).map_or(what.as_str(), |w| w.trim_start_matches(": "));
        CliError::input(format!("the checkpoint's config.json and tensors do not go together: {what}"))
    })
}
