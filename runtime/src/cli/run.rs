//! `kinglet run`: one prompt, one answer.

use super::options::{EngineArgs, ModelArg, PromptArgs, SampleArgs, StopArgs};

/// Examples under `kinglet run --help`.
pub const EXAMPLES: &str = "\
  kinglet run smollm2:135m \"Why is the sky blue?\"
  kinglet run model.gguf --temp 0 -n 64 < prompt.txt       # most likely tokens only
  kinglet run gemma3:270m --seed 7 \"Write a haiku.\"        # the same text on every machine
  kinglet run qwen2.5-coder:0.5b --raw \"fn main() {\"       # go on with a text, no chat template
  git diff | kinglet run smollm2:135m --system \"Summarise this change.\"";

/// Options of `kinglet run`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
    /// What to ask [default: read from standard input]
    pub prompt: Option<String>,
    /// How the prompt is put.
    #[command(flatten)]
    pub text: PromptArgs,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sample: SampleArgs,
    /// When to stop.
    #[command(flatten)]
    pub stop: StopArgs,
    /// How it is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}
