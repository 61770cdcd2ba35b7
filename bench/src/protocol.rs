//! The worker protocol: one request per line on standard input, one JSON document per line on standard output.
//!
//! | request | reply |
//! |---|---|
//! | `hello` | [`Hello`] |
//! | `list` | [`List`] |
//! | `prepare NAME` | [`Done`]; what was prepared before is dropped |
//! | `run CHUNKS ITERATIONS` | [`Burst`]: one iteration that does not count, then CHUNKS times ITERATIONS iterations |
//! | `checksum` | [`Sum`] |
//! | `quit`, end of input | none; the worker ends |
//!
//! Any request may be answered by `{"error": "in words"}`. A worker is started as `PROGRAM worker --suite NAME …` and writes
//! nothing else to standard output.

use crate::record::Revision;
use crate::suite::Entry;
use serde::{Deserialize, Serialize};

/// The version of the protocol.
pub const PROTOCOL: u32 = 1;

/// Who a worker is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Name of its suite.
    pub suite: String,
    /// Version of the program.
    #[serde(default)]
    pub version: String,
    /// The source it was built from, where it knows.
    #[serde(default)]
    pub revision: Revision,
    /// The compiler that built it.
    #[serde(default)]
    pub compiler: String,
    /// Flags it was built with.
    #[serde(default)]
    pub flags: String,
}

/// Its benchmarks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// In the order in which they are measured.
    pub benchmarks: Vec<Entry>,
}

/// Nothing to report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Always true.
    pub ok: bool,
}

/// Costs of one burst.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Burst {
    /// Units per iteration, one for each chunk.
    pub samples: Vec<f64>,
    /// Times that the system took the CPU away in the meantime.
    #[serde(default)]
    pub interrupted: u64,
}

/// The checksum of the last iteration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Hexadecimal, or empty.
    pub checksum: String,
}

/// A reply, or an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reply<T> {
    /// `{"error": …}`.
    Error {
        /// In words.
        error: String,
    },
    /// What was asked for.
    Ok(T),
}
