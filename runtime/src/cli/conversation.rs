//! What `run` and `chat` share: prompts, answers as they come, and what is said about them.

use super::CliError;
use super::engine::Engine;
use super::options::{PromptArgs, SampleArgs, Verbosity};
use crate::chat::Template;
use crate::decoder::Session;
use crate::generate::{Event, Limits, Outcome, generate};
use crate::gguf::Gguf;
use crate::sampler::{Sampler, SamplerOptions};
use crate::tokenizer::Tokenizer;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From here on Ctrl-C stops an answer and not the program.
pub(super) fn catch_ctrl_c() -> Result<(), CliError> {
    let handler = || INTERRUPTED.store(true, Ordering::Relaxed);
    let caught = leaving_termination_alone(|| ctrlc::set_handler(handler));
    caught.map_err(|e| CliError::failure(format!("cannot catch Ctrl-C: {e}")))
}

/// Runs `set`, and gives the requests to end their old effect again: ctrlc catches those too where another program of the
/// workspace asks for that, and a chat that no `kill` and no closed terminal ends would be left running.
#[cfg(unix)]
fn leaving_termination_alone<T>(set: impl FnOnce() -> T) -> T {
    let old = [libc::SIGTERM, libc::SIGHUP].map(|signal| {
        // SAFETY: `sigaction` is plain data for which all zeros is a valid value.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: without a new action the call only writes the present one, to a valid place.
        let known = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) } == 0;
        (signal, known.then_some(action))
    });
    let result = set();
    for (signal, action) in old {
        if let Some(action) = action {
            // SAFETY: an action that the system gave for this signal.
            unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
        }
    }
    result
}

#[cfg(not(unix))]
fn leaving_termination_alone<T>(set: impl FnOnce() -> T) -> T {
    set()
}

/// The template that the options ask for: none with `--raw`, or when the model has none and none is named.
pub(super) fn template(
    gguf: &Gguf,
    tokenizer: &Tokenizer,
    args: &PromptArgs,
) -> Result<Option<Template>, CliError> {
    if args.raw {
        return Ok(None);
    }
    let template = match &args.template {
        Some(name) => Some(named_template(name, tokenizer)?),
        None => Template::from_gguf(gguf, tokenizer).map_err(CliError::input)?,
    };
    if template.is_none() && args.system.is_some() {
        return Err(CliError::usage(
            "--system needs a chat template, and this model has none; choose one with --template",
        ));
    }
    Ok(template)
}

/// A built-in template, or the Jinja program of a file.
fn named_template(name: &str, tokenizer: &Tokenizer) -> Result<Template, CliError> {
    let builtin = Template::builtin(name, tokenizer);
    let path = Path::new(name);
    // A name that looks like a path is one, so that its error is about the file.
    let is_path = name.contains(['/', '\\']) || path.extension().is_some_and(|e| e == "jinja" || e == "j2");
    if builtin.is_ok() || !(is_path || path.is_file()) {
        return builtin.map_err(|e| CliError::usage(format!("{e}; or name a file")));
    }
    let bad = |what: String| CliError::usage(format!("--template {name}: {what}"));
    // One byte more than a template may have, so that a device or a model cannot fill the memory.
    let mut source = String::new();
    let file = File::open(path).map_err(|e| bad(e.to_string()))?;
    file.take(Template::MAX_SOURCE as u64 + 1).read_to_string(&mut source).map_err(|e| bad(e.to_string()))?;
    Template::from_source(&source, tokenizer).map_err(|e| bad(e.to_string()))
}

/// A session and what it has seen, so that a prompt that begins like the last one is not computed again.
pub(super) struct Conversation<'a> {
    session: Session<'a>,
    engine: &'a Engine,
    tokenizer: &'a Tokenizer,
    sampler: Sampler,
    /// The tokens that are in the session, and perhaps one more.
    seen: Vec<u32>,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(
        session: Session<'a>,
        engine: &'a Engine,
        tokenizer: &'a Tokenizer,
        args: &SampleArgs,
    ) -> Self {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        let sampler = Sampler::new(SamplerOptions {
            repeat_penalty: args.repeat_penalty,
            top_k: args.top_k as usize,
            top_p: args.top_p,
            min_p: args.min_p,
            temperature: args.temp,
            seed: args.seed.unwrap_or_else(clock),
        });
        Conversation { session, engine, tokenizer, sampler, seen: Vec::new() }
    }

    pub(super) fn n_ctx(&self) -> usize {
        self.session.options().n_ctx
    }

    /// Prints what follows `prompt`.
    pub(super) fn answer(
        &mut self,
        prompt: &[u32],
        limits: Limits<'_>,
        printer: &mut Printer,
    ) -> Result<Outcome, CliError> {
        self.answer_into(prompt, limits, printer, &mut String::new())
    }

    /// As [`Conversation::answer`], and keeps the text.
    pub(super) fn answer_into(
        &mut self,
        prompt: &[u32],
        limits: Limits<'_>,
        printer: &mut Printer,
        answer: &mut String,
    ) -> Result<Outcome, CliError> {
        INTERRUPTED.store(false, Ordering::Relaxed);
        let common = self.seen.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        // The last token of the prompt is always computed: its logits are needed.
        let common = common.min(self.session.position()).min(prompt.len().saturating_sub(1));
        // Where the session must decode again from anyway, so that progress and speed count it.
        let common = self.session.resumes_at(common);
        self.session.rewind(common);
        let mut made = Vec::new();
        let mut written = Ok(());
        let outcome = generate(
            &mut self.session,
            &self.engine.team,
            self.tokenizer,
            &mut self.sampler,
            &prompt[common..],
            limits,
            &mut made,
            |event| {
                match event {
                    Event::Prompt { done, total } => printer.progress(done, total),
                    Event::Text(text) => {
                        answer.push_str(text);
                        written = printer.text(text);
                    }
                }
                let go_on = written.is_ok() && !INTERRUPTED.load(Ordering::Relaxed);
                if go_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            },
        );
        printer.progress_end();
        self.seen = prompt.to_vec();
        self.seen.extend(made);
        written?;
        Ok(outcome?)
    }
}

/// Answers to stdout, everything else to stderr and only where a person reads it.
pub(super) struct Printer {
    quiet: bool,
    people: bool,
    start: Instant,
    bar: Option<ProgressBar>,
    ends_with_newline: bool,
}

/// A prompt that takes longer than this gets a progress bar.
const PATIENCE: Duration = Duration::from_millis(700);

impl Printer {
    pub(super) fn new(verbosity: Verbosity) -> Printer {
        let people = std::io::stderr().is_terminal() && !verbosity.quiet;
        Printer { quiet: verbosity.quiet, people, start: Instant::now(), bar: None, ends_with_newline: true }
    }

    fn progress(&mut self, done: usize, total: usize) {
        if !self.people || (self.bar.is_none() && self.start.elapsed() < PATIENCE) {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
            let style =
                ProgressStyle::with_template("reading the prompt {bar:30} {pos}/{len} tokens, {eta} left");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_position(done as u64);
    }

    fn progress_end(&mut self) {
        self.start = Instant::now();
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn text(&mut self, text: &str) -> Result<(), CliError> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.ends_with_newline = text.ends_with('\n');
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| CliError::output(&e))
    }

    /// Ends the answer's line, and tells a person how fast it was.
    pub(super) fn end(&mut self, outcome: &Outcome) -> Result<(), CliError> {
        if !self.ends_with_newline {
            self.text("\n")?;
        }
        if self.people && std::io::stdout().is_terminal() {
            let (prompt, made) = (outcome.prompt_speed(), outcome.generation_speed());
            let first = outcome.first_token.as_secs_f64() * 1000.0;
            self.note(&format!(
                "[prompt {} tokens, {prompt:.1} t/s · answer {} tokens, {made:.1} t/s · first token after {first:.0} ms]",
                outcome.prompt_tokens, outcome.generated,
            ));
        }
        Ok(())
    }

    /// A remark on stderr.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            super::engine::note(text);
        }
    }
}
