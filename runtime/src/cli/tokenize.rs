//! `kinglet tokenize`: text to token ids and back.

use super::options::ModelArg;
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
