//! `kinglet perplexity`: how well a model predicts a text, by llama.cpp's method.

use super::options::positive;
use super::options::{EngineArgs, ModelArg};
use std::path::PathBuf;

/// Examples under `kinglet perplexity --help`.
pub const EXAMPLES: &str = "\
  kinglet perplexity smollm2:135m --file wiki.test.raw
  kinglet perplexity smollm2:135m --file wiki.test.raw --ctx 512 --chunks 8";

/// Options of `kinglet perplexity`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
    /// The text
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
    /// Chunks to compute [default: all]
    #[arg(
        long, value_name = "N", value_parser = positive::<{ u32::MAX as i64 }>(),
        allow_negative_numbers = true
    )]
    pub chunks: Option<u32>,
    /// How it is run; `--ctx` is the chunk length, 512 unless told.
    #[command(flatten)]
    pub engine: EngineArgs,
}
