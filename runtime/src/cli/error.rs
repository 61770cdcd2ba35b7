//! How the program fails: one line on stderr, and an exit code that a script can act on.

use crate::hub::{HubError, HubErrorKind};
use std::fmt;
use std::io;

/// Exit codes of `kinglet`, as `--help` documents them. Success is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Something failed while running that no code below describes.
    Failure = 1,
    /// The command line is wrong: an unknown flag, a value out of range.
    Usage = 2,
    /// A model or input file is missing, damaged or not supported.
    Input = 3,
    /// A model could not be fetched or stored: network, pip, cache directory, disk.
    Hub = 4,
    /// Ctrl-C.
    Interrupted = 130,
}

/// The part of `--help` that documents [`Code`].
pub(super) const HELP: &str = "\
  0    success (also when the reader of a pipe, such as `head`, has had enough)
  1    a failure while running
  2    the command line is wrong
  3    a model or input file is missing, damaged or not supported
  4    a model could not be fetched or stored (network, pip, cache, disk)
  130  interrupted with Ctrl-C";

/// Why a verb failed. Printed as `kinglet: MESSAGE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    /// The exit code.
    pub code: Code,
    /// One line naming the thing that is wrong and what to do. Empty when there is nothing to say.
    pub message: String,
    /// The reader of our output went away: the program ends with success and says nothing.
    pub(super) quiet: bool,
}

impl CliError {
    /// An error with a code.
    pub fn new(code: Code, message: impl fmt::Display) -> CliError {
        CliError { code, message: message.to_string(), quiet: false }
    }

    /// [`Code::Failure`].
    pub fn failure(message: impl fmt::Display) -> CliError {
        CliError::new(Code::Failure, message)
    }

    /// [`Code::Usage`].
    pub fn usage(message: impl fmt::Display) -> CliError {
        CliError::new(Code::Usage, message)
    }

    /// [`Code::Input`].
    pub fn input(message: impl fmt::Display) -> CliError {
        CliError::new(Code::Input, message)
    }

    /// [`Code::Interrupted`], which needs no words.
    pub fn interrupted() -> CliError {
        CliError::new(Code::Interrupted, "")
    }

    /// A failure to write the program's output; a closed pipe is a quiet end.
    pub fn output(error: &io::Error) -> CliError {
        let quiet = error.kind() == io::ErrorKind::BrokenPipe;
        CliError { code: Code::Failure, message: format!("cannot write the output: {error}"), quiet }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

impl From<crate::gguf::GgufError> for CliError {
    fn from(e: crate::gguf::GgufError) -> CliError {
        CliError::input(e)
    }
}

impl From<HubError> for CliError {
    fn from(e: HubError) -> CliError {
        let code = match e.kind {
            HubErrorKind::Name => Code::Input,
            HubErrorKind::Fetch | HubErrorKind::Cache => Code::Hub,
        };
        CliError::new(code, e)
    }
}
