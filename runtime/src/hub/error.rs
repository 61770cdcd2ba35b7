//! Why a model could not be found, fetched or stored.

use std::fmt;
use std::io;
use std::path::Path;

/// The kinds a caller may want to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubErrorKind {
    /// The name or path means no model.
    Name,
    /// It could not be fetched, or what arrived is not what was asked for.
    Fetch,
    /// The cache cannot be read or written.
    Cache,
}

/// One line that names the thing that is wrong and says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubError {
    /// What kind of thing is wrong.
    pub kind: HubErrorKind,
    /// The line.
    pub message: String,
}

impl HubError {
    /// Names and answers of servers may hold control characters, which would break the line.
    fn new(kind: HubErrorKind, message: String) -> HubError {
        let plain = message.chars().all(|c| !c.is_control());
        let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
        HubError { kind, message: if plain { message } else { message.chars().map(shown).collect() } }
    }

    pub(super) fn name(message: impl Into<String>) -> HubError {
        HubError::new(HubErrorKind::Name, message.into())
    }

    pub(super) fn fetch(message: impl Into<String>) -> HubError {
        HubError::new(HubErrorKind::Fetch, message.into())
    }

    pub(super) fn cache(message: impl Into<String>) -> HubError {
        HubError::new(HubErrorKind::Cache, message.into())
    }

    /// A file operation in the cache that failed: `doing` is for instance `write`.
    pub(super) fn io(doing: &str, path: &Path, e: &io::Error) -> HubError {
        let path = path.display();
        HubError::cache(match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => format!(
                "cannot {doing} {path}: the disk is full; make room and try again, or set KINGLET_HOME to a folder \
                 on another disk"
            ),
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotADirectory => {
                format!("cannot {doing} {path}: {e}; set KINGLET_HOME to a folder that you can write to")
            }
            _ => format!("cannot {doing} {path}: {e}"),
        })
    }
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for HubError {}
