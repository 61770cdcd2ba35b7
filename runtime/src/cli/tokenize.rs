//! `kinglet tokenize`: text to token ids and back.

use super::CliError;
use super::logits::parse_ids;
use super::options::{ModelArg, Verbosity};
use super::{engine, files};
use crate::tokenizer::Tokenizer;
use std::io::Write;
use std::path::PathBuf;

/// Examples under `kinglet tokenize --help`.
pub const EXAMPLES: &str = "\
  kinglet tokenize smollm2:135m \"Hello world\"              # [19556,905]
  kinglet tokenize smollm2:135m --file book.txt | wc -c
  kinglet tokenize gemma3:270m --no-bos --no-special \"<bos>\"  # as the text it is
  kinglet tokenize smollm2:135m --decode \"[19556, 905]\"    # back to text";

/// Options of `kinglet tokenize`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
    /// Text to encode, or with --decode a JSON array of ids [default: read from standard input]
    #[arg(conflicts_with = "file")]
    pub text: Option<String>,
    /// Read the text (or with --decode the ids) from this file
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Do not add the beginning-of-text token that the model asks for
    #[arg(long)]
    pub no_bos: bool,
    /// Treat the names of special tokens as ordinary text
    #[arg(long)]
    pub no_special: bool,
    /// Turn a JSON array of ids into text
    #[arg(long, conflicts_with_all = ["no_bos", "no_special"])]
    pub decode: bool,
}

/// Runs the verb.
///
/// # Errors
/// When the model or the input cannot be used.
pub fn run(args: &Args, verbosity: Verbosity) -> Result<(), CliError> {
    let gguf = engine::open(&args.model, verbosity)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let text = match (&args.text, &args.file) {
        (Some(text), _) => text.clone(),
        (None, Some(file)) => files::read_text(file)?,
        (None, None) => files::read_stdin()?,
    };
    let line = if args.decode {
        let ids = parse_ids(&text).map_err(CliError::input)?;
        if let Some(id) = ids.iter().find(|id| **id as usize >= tokenizer.vocab_size()) {
            let n = tokenizer.vocab_size();
            return Err(CliError::input(format!(
                "token {id} is out of range: the vocabulary has {n} tokens"
            )));
        }
        tokenizer.decode(&ids, true)
    } else {
        let ids = tokenizer.encode(&text, !args.no_bos, !args.no_special);
        let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
        format!("[{}]", ids.join(","))
    };
    writeln!(std::io::stdout().lock(), "{line}").map_err(|e| CliError::output(&e))
}
