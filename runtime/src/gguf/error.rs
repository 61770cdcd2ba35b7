//! What can be wrong with a GGUF file.

use std::fmt;

/// One line that names the file, the thing in it that is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufError {
    /// The file (or `<memory>`).
    pub file: String,
    /// What is wrong, naming the key or tensor.
    pub what: String,
}

impl fmt::Display for GgufError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.what)
    }
}

impl std::error::Error for GgufError {}
