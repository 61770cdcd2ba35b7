//! What the commands share that are not about running suites: their errors, exit codes and output files.

use std::fmt;

/// Exit codes, beside those of [`crate::exit`]; success is 0.
pub mod code {
    /// Something failed while running that no code below describes.
    pub const FAILURE: u8 = 1;
    /// The command line or a file is wrong: missing, damaged, of a newer schema.
    pub const INPUT: u8 = 2;
    /// Something got slower, or a count changed.
    pub const REGRESSION: u8 = 3;
    /// There is nothing to compare with: no counts of this compiler.
    pub const NO_RECORD: u8 = 8;
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fail {
    /// The exit code.
    pub code: u8,
    /// One line that names the thing that is wrong and what to do.
    pub message: String,
}

impl Fail {
    /// An error with a code of [`code`].
    pub fn new(code: u8, message: impl fmt::Display) -> Fail {
        Fail { code, message: message.to_string() }
    }
}

impl From<String> for Fail {
    fn from(message: String) -> Fail {
        Fail { code: code::FAILURE, message }
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Commands beside `record`, `compare` and `calibrate`.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Tool {
    /// Count executed instructions of every kernel and compare them with the record
    #[command(after_help = crate::counts::EXAMPLES)]
    Counts(crate::counts::Args),
    /// Race llama.cpp and candle: same file, threads and tokens, in turns
    #[command(after_help = crate::peers::EXAMPLES)]
    Peers(Box<crate::peers::Args>),
    /// Show recordings or a comparison: worst first, as a table, Markdown or a page with plots
    #[command(after_help = crate::report::EXAMPLES)]
    Report(crate::report::Args),
    /// A recording as another tool's JSON
    Export(crate::export::ExportArgs),
    /// Another tool's JSON as a recording
    Import(crate::export::ImportArgs),
    /// How benchmarks or counts went from revision to revision, from the recordings in git
    #[command(after_help = crate::history::EXAMPLES)]
    History(crate::history::Args),
    /// Find the commit that made a benchmark slower or changed a count
    #[command(after_help = crate::history::bisect::EXAMPLES)]
    Bisect(crate::history::bisect::Args),
}

impl Tool {
    /// Runs the command.
    ///
    /// # Errors
    /// See each of them.
    pub fn run(&self) -> Result<(), Fail> {
        match self {
            Tool::Counts(args) => crate::counts::run(args),
            Tool::Peers(args) => crate::peers::run(args),
            Tool::Report(args) => crate::report::run(args),
            Tool::Export(args) => crate::export::export(args),
            Tool::Import(args) => crate::export::import(args),
            Tool::History(args) => crate::history::run(args),
            Tool::Bisect(args) => crate::history::bisect::run(args),
        }
    }
}

/// Writes `text` to a file, whole, or to standard output.
///
/// # Errors
/// When it cannot be written; a reader that went away is none.
pub fn put(path: Option<&std::path::Path>, text: &str) -> Result<(), Fail> {
    use std::io::Write;
    match path {
        Some(path) => Ok(crate::files::write(path, text)?),
        None => match std::io::stdout().lock().write_all(text.as_bytes()) {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Fail::new(code::FAILURE, format!("cannot write the output: {e}")))
            }
            _ => Ok(()),
        },
    }
}
