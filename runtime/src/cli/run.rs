//! `kinglet run`: one prompt, one answer.

use super::CliError;
use super::conversation::{self, Conversation, Printer};
use super::engine::{self, Engine};
use super::files;
use super::options::{EngineArgs, ModelArg, PromptArgs, SampleArgs, StopArgs, Verbosity};
use crate::chat::Message;
use crate::generate::{Finish, Limits};
use crate::model::Model;
use crate::trace;

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

/// Runs the verb.
///
/// # Errors
/// When the model or the prompt cannot be used.
pub fn run(args: &Args, verbosity: Verbosity) -> Result<(), CliError> {
    let kernels = engine::kernels(&args.engine)?;
    let gguf = engine::open(&args.model, verbosity)?;
    let model = Model::new(&gguf)?;
    trace::mark("model checked");
    let engine = Engine::new(kernels, &args.engine, &gguf, verbosity)?;
    let session = engine::session(&model, &engine, &args.engine, None, verbosity)?;
    let tokenizer = engine::tokenizer(&gguf, &model)?;
    let prompt = match &args.prompt {
        Some(prompt) => prompt.clone(),
        None => files::read_stdin()?,
    };
    let template = conversation::template(&gguf, &tokenizer, &args.text)?;
    trace::mark("template compiled");
    let ids = match &template {
        None => tokenizer.encode(&prompt, true, true),
        Some(template) => {
            let mut messages: Vec<Message> =
                args.text.system.iter().map(|s| Message::new("system", s)).collect();
            messages.push(Message::new("user", &prompt));
            tokenizer.encode_chat(&template.render(&messages, true).map_err(CliError::input)?)
        }
    };
    trace::mark("prompt tokenized");
    let mut conversation = Conversation::new(session, &engine, &tokenizer, &args.sample);
    let limits = Limits { max_tokens: args.stop.n.map(|n| n as usize), stop: &args.stop.stop };
    let mut printer = Printer::new(verbosity);
    let outcome = conversation.answer(&ids, limits, &mut printer)?;
    printer.end(&outcome)?;
    if outcome.finish == Finish::Context {
        printer.note("the context is full; raise --ctx for a longer answer");
    }
    Ok(())
}
