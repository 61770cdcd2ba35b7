//! `kinglet chat`: a conversation.

use super::CliError;
use super::conversation::{self, Conversation, Printer};
use super::engine::{self, Engine};
use super::options::{EngineArgs, ModelArg, PromptArgs, SampleArgs, StopArgs, Verbosity};
use crate::chat::{Message, Template};
use crate::generate::{Finish, Limits};
use crate::model::Model;
use crate::tokenizer::Tokenizer;
use rustyline::error::ReadlineError;
use std::path::PathBuf;

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

/// Shown at the start, and for `/help`.
const HELP: &str = "\
Type a message and press Enter. A line ending in \\ goes on. Ctrl-C stops an answer, Ctrl-D ends the chat.
/reset forgets the conversation, /help shows this, /exit ends.";

/// Runs the verb.
///
/// # Errors
/// When the model cannot be used or the terminal not be read.
pub fn run(args: &Args, verbosity: Verbosity) -> Result<(), CliError> {
    let kernels = engine::kernels(&args.engine)?;
    let gguf = engine::open(&args.model, verbosity)?;
    let model = Model::new(&gguf)?;
    let engine = Engine::new(kernels, &args.engine, &gguf, verbosity)?;
    let session = engine::session(&model, &engine, &args.engine, None, verbosity)?;
    let tokenizer = engine::tokenizer(&gguf, &model)?;
    let template = conversation::template(&gguf, &tokenizer, &args.text)?;
    let template = match (template, Template::guess(&gguf, &tokenizer).map_err(CliError::input)?) {
        (Some(template), _) => template,
        (None, Some(name)) if !args.text.raw => {
            engine::note(&format!(
                "this model has no chat template; `{name}` is used, which its vocabulary or name speaks for"
            ));
            Template::builtin(name, &tokenizer).map_err(CliError::input)?
        }
        _ => {
            let what = "a chat needs a chat template, and this model has none; choose one with --template, or use `kinglet run --raw`";
            return Err(CliError::input(what));
        }
    };
    let limits = Limits { max_tokens: args.stop.n.map(|n| n as usize), stop: &args.stop.stop };
    let mut chat = Chat {
        conversation: Conversation::new(session, &engine, &tokenizer, &args.sample),
        template,
        tokenizer: &tokenizer,
        messages: args.text.system.iter().map(|s| Message::new("system", s)).collect(),
        pinned: usize::from(args.text.system.is_some()),
        printer: Printer::new(verbosity),
    };
    conversation::catch_ctrl_c()?;
    chat.printer.note(HELP);
    let mut lines = Lines::new()?;
    while let Some(line) = lines.next()? {
        match line.trim() {
            "" => {}
            "/exit" | "/quit" | "/bye" => break,
            "/help" => chat.printer.note(HELP),
            "/reset" => {
                chat.messages.truncate(chat.pinned);
                chat.printer.note("the conversation is forgotten");
            }
            _ => chat.turn(line, limits)?,
        }
    }
    lines.save();
    Ok(())
}

/// A conversation with a model.
struct Chat<'a> {
    conversation: Conversation<'a>,
    template: Template,
    tokenizer: &'a Tokenizer,
    /// System, user, assistant, user, assistant …
    messages: Vec<Message>,
    /// How many of them are never dropped.
    pinned: usize,
    printer: Printer,
}

impl Chat<'_> {
    /// One question and its answer.
    fn turn(&mut self, question: String, limits: Limits<'_>) -> Result<(), CliError> {
        self.messages.push(Message::new("user", &question));
        let Some(prompt) = self.fitting_prompt()? else {
            self.messages.pop();
            let n_ctx = self.conversation.n_ctx();
            self.printer.note(&format!(
                "this message alone does not fit the context of {n_ctx} tokens; start with a larger --ctx"
            ));
            return Ok(());
        };
        let mut answer = String::new();
        let outcome = self.conversation.answer_into(&prompt, limits, &mut self.printer, &mut answer)?;
        self.printer.end(&outcome)?;
        match outcome.finish {
            Finish::Context => self
                .printer
                .note("the context is full: the answer ends here, and the oldest turns will be dropped"),
            Finish::Cancelled => self.printer.note("stopped"),
            _ => {}
        }
        self.messages.push(Message::new("assistant", &answer));
        Ok(())
    }

    /// The tokens of the conversation, with its oldest turns dropped until an answer has room; `None` when not even the
    /// last message fits.
    fn fitting_prompt(&mut self) -> Result<Option<Vec<u32>>, CliError> {
        let n_ctx = self.conversation.n_ctx();
        let mut dropped = 0;
        loop {
            let text = self.template.render(&self.messages, true).map_err(CliError::input)?;
            let prompt = self.tokenizer.encode_chat(&text);
            // Room for an answer: an eighth of the context.
            if prompt.len() <= n_ctx - n_ctx / 8 {
                if dropped > 0 {
                    self.printer
                        .note(&format!("the context is full: the oldest {dropped} turns are dropped"));
                }
                return Ok(Some(prompt));
            }
            if self.messages.len() < self.pinned + 3 {
                return Ok((prompt.len() < n_ctx).then_some(prompt));
            }
            // A question and its answer.
            self.messages.drain(self.pinned..self.pinned + 2);
            dropped += 1;
        }
    }
}

/// Lines with editing and history.
struct Lines {
    editor: rustyline::DefaultEditor,
    history: Option<PathBuf>,
}

impl Lines {
    fn new() -> Result<Lines, CliError> {
        let editor = rustyline::DefaultEditor::new().map_err(CliError::failure)?;
        let history = crate::hub::home().ok().map(|home| home.join("chat_history.txt"));
        let mut lines = Lines { editor, history };
        if let Some(path) = &lines.history {
            // The first chat has no history yet.
            let _ = lines.editor.load_history(path);
        }
        Ok(lines)
    }

    /// The next message; `None` at the end of the input.
    fn next(&mut self) -> Result<Option<String>, CliError> {
        let mut message = String::new();
        loop {
            match self.editor.readline(if message.is_empty() { "> " } else { ". " }) {
                Ok(line) => match line.strip_suffix('\\') {
                    Some(part) => {
                        message.push_str(part);
                        message.push('\n');
                    }
                    None => {
                        message.push_str(&line);
                        let _ = self.editor.add_history_entry(&message);
                        return Ok(Some(message));
                    }
                },
                // As in a shell: forget the line, not the program.
                Err(ReadlineError::Interrupted) => message.clear(),
                // A message that was to go on, and does not.
                Err(ReadlineError::Eof) if !message.is_empty() => return Ok(Some(message)),
                Err(ReadlineError::Eof) => return Ok(None),
                Err(ReadlineError::Io(e)) if e.kind() == std::io::ErrorKind::InvalidData => {
                    return Err(CliError::input("standard input: a line is not UTF-8 text"));
                }
                Err(e) => return Err(CliError::failure(format!("cannot read the terminal: {e}"))),
            }
        }
    }

    fn save(&mut self) {
        if let Some(path) = &self.history {
            // A history that cannot be kept is no reason to fail.
            let _ = path.parent().map(std::fs::create_dir_all);
            let _ = self.editor.save_history(path);
        }
    }
}
