//! Taint: signs that a machine was not in a state in which its times mean much.
//!
//! [`Watch`] is started before a measurement and asked at its end. What it finds is stored beside the numbers and
//! printed wherever they appear.

use serde::{Deserialize, Serialize};
use std::fmt;

mod probe;
pub use probe::{Snapshot, Watch};

/// What was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaintKind {
    /// The governor does not hold the frequency, or the frequency moved.
    Frequency,
    /// The CPU was throttled, or a Pi reports under-voltage.
    Throttling,
    /// Hotter than 80 °C.
    Temperature,
    /// A hypervisor gave the CPU to others.
    Steal,
    /// Other processes ran.
    Load,
    /// Memory was swapped.
    Swap,
    /// On battery.
    Battery,
}

/// One sign, with its figure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taint {
    /// What was wrong.
    pub kind: TaintKind,
    /// With the number: `8.2 % of CPU time stolen`.
    pub detail: String,
}

impl Taint {
    /// A sign.
    pub fn new(kind: TaintKind, detail: impl Into<String>) -> Taint {
        Taint { kind, detail: detail.into() }
    }
}

impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}
