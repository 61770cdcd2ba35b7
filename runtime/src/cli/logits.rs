//! `kinglet logits`: the raw output of a model at every position.

use super::options::{EngineArgs, ModelArg};
use std::path::PathBuf;

/// Examples under `kinglet logits --help`.
pub const EXAMPLES: &str = "\
  kinglet tokenize smollm2:135m \"Hello world\" > ids.json
  kinglet logits smollm2:135m --tokens ids.json --out logits.f32
  kinglet logits model.gguf --tokens ids.json --out a.f32 --kv f32 --batch 7 -t 3   # the same bits as --batch 64";

/// Options of `kinglet logits`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
    /// JSON array of token ids
    #[arg(long, value_name = "FILE.json")]
    pub tokens: PathBuf,
    /// Where to write [n_tokens, vocab] little-endian f32
    #[arg(long, value_name = "FILE.f32")]
    pub out: PathBuf,
    /// How it is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}
