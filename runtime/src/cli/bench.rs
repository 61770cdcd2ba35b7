//! `kinglet bench`: speed of prompt processing (pp) and generation (tg).

use super::options::{EngineArgs, ModelArg};
use super::options::{MAX_CTX, positive};

/// Examples under `kinglet bench --help`.
pub const EXAMPLES: &str = "\
  kinglet bench smollm2:135m                               # pp512 and tg128
  kinglet bench smollm2:135m -p 0 -n 64 -t 2 -r 10         # generation only, two threads
  kinglet bench smollm2:135m --json > today.json";

/// Options of `kinglet bench`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
    /// Prompt tokens of the pp test; 0 leaves it out
    #[arg(
        short = 'p', value_name = "N", default_value_t = 512,
        value_parser = clap::value_parser!(u32).range(0..=MAX_CTX), allow_negative_numbers = true
    )]
    pub prompt: u32,
    /// Generated tokens of the tg test; 0 leaves it out
    #[arg(
        short = 'n', value_name = "N", default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(0..=MAX_CTX), allow_negative_numbers = true
    )]
    pub generate: u32,
    /// Repetitions
    #[arg(
        short = 'r', value_name = "N", default_value_t = 5, value_parser = positive::<10_000>(),
        allow_negative_numbers = true
    )]
    pub repeat: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How it is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}
