//! Suites: what can be measured, by this program or by any other.
//!
//! A [`Suite`] lists benchmarks and prepares them one at a time. A program that calls [`crate::worker::serve`] with its suite
//! is a *worker*: `record`, `compare` and `calibrate` start it and talk to it over its standard streams.

use crate::record::Spec;
use serde::{Deserialize, Serialize};

/// Benchmarks that one program can run.
pub trait Suite {
    /// The suite's name, `gate`.
    fn name(&self) -> &str;

    /// Every benchmark, those that cannot run here with the reason.
    fn list(&self) -> Vec<Entry>;

    /// Makes the benchmark with this name ready to run: its data is allocated, its pages are touched.
    ///
    /// # Errors
    /// In words, when the name is not in the list or its data cannot be made.
    fn prepare(&mut self, name: &str) -> Result<Box<dyn Run>, String>;
}

/// A benchmark of a suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it is.
    pub spec: Spec,
    /// Why it cannot run on this machine, when it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<String>,
}

/// A benchmark that is ready.
pub trait Run {
    /// Does the work `iterations` times.
    ///
    /// Returns what the iterations cost when the clock around the call is not the measure (bytes, microjoules, times of
    /// another process in ns), in total; `None` when it is.
    ///
    /// # Errors
    /// In words; the benchmark is given up then.
    fn run(&mut self, iterations: u64) -> Result<Option<f64>, String>;

    /// A checksum of the answer of the last iteration, hexadecimal, the same on every machine; empty when there is none.
    ///
    /// # Errors
    /// In words; the benchmark is given up then.
    fn checksum(&mut self) -> Result<String, String> {
        Ok(String::new())
    }
}
