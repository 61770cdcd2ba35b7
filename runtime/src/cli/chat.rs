//! `kinglet chat`: a conversation.

use super::options::{EngineArgs, ModelArg, PromptArgs, SampleArgs, StopArgs};

/// Examples under `kinglet chat --help`.
pub const EXAMPLES: &str = "\
  kinglet chat smollm2:135m
  kinglet chat gemma3:270m --system \"You are a patient teacher.\" --temp 0.5
  kinglet chat ./model.gguf --ctx 8192 --kv q8_0           # longer memory in fewer bytes";

/// Options of `kinglet chat`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
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
