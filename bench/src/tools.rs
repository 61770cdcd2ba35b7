//! What the commands share that are not about running suites: their errors, exit codes and output files.

use std::fmt;
use std::path::Path;

/// Exit codes; success is 0.
pub mod code {
    /// Something failed while running that no code below describes.
    pub const FAILURE: u8 = 1;
    /// The command line is wrong.
    pub const USAGE: u8 = 2;
    /// Something got slower, or a count changed.
    pub const REGRESSION: u8 = 3;
    /// A file is missing, damaged or of a newer schema.
    pub const INPUT: u8 = 8;
    /// There is nothing to compare with: no counts of this compiler.
    pub const NO_RECORD: u8 = 7;
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

/// Writes a file whole: a temporary one beside it first, then renamed. Makes its folder.
///
/// # Errors
/// One line that names the file.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("cannot write {}: {e}", path.display());
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    std::fs::write(&temporary, bytes).map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(|e| {
        // The error that matters is the first one.
        let _ = std::fs::remove_file(&temporary);
        failed(e)
    })
}

/// Commands beside `record`, `compare` and `calibrate`.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Tool {
    /// Count executed instructions of every kernel and compare them with the record
    #[command(after_long_help = crate::counts::EXAMPLES)]
    Counts(crate::counts::Args),
}

impl Tool {
    /// Runs the command.
    ///
    /// # Errors
    /// See each of them.
    pub fn run(&self) -> Result<(), Fail> {
        match self {
            Tool::Counts(args) => crate::counts::run(args),
        }
    }
}
