//! Results of `compare`: what is said of each benchmark, as data for reports. One JSON document.

use crate::fingerprint::Fingerprint;
use crate::record::{FailureKind, Revision, Unit};
use crate::taint::Taint;
use serde::{Deserialize, Serialize};

/// What a comparison says of a benchmark. `B` is compared with `A`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// B is slower by more than the least effect that matters.
    Slower,
    /// B is faster by more than that.
    Faster,
    /// Neither: the difference is no larger than `bound`.
    NoDifference,
    /// The interval is still too wide to say.
    Inconclusive,
}

impl Verdict {
    /// `slower`, `faster`, `no difference`, `inconclusive`.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Slower => "slower",
            Verdict::Faster => "faster",
            Verdict::NoDifference => "no difference",
            Verdict::Inconclusive => "inconclusive",
        }
    }
}

/// One benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// What samples count.
    pub unit: Unit,
    /// What is said.
    pub verdict: Verdict,
    /// Median of B over A, 1.05 is 5 % slower.
    pub ratio: f64,
    /// Simultaneous interval of the ratio over the whole suite.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// The largest difference that the interval allows, as a share: 0.02 is 2 %.
    pub bound: f64,
    /// Median of A's samples, units per iteration.
    pub a: f64,
    /// Median of B's samples.
    pub b: f64,
    /// Log-ratio of each round, in order.
    pub rounds: Vec<f64>,
    /// Pairs that were measured, and how many of them were thrown away because something interrupted them.
    pub pairs: u32,
    /// See `pairs`.
    pub discarded: u32,
    /// The rounds fall into two groups: for instance two memory layouts with speeds of their own.
    pub bimodal: bool,
    /// The ratio moved while it was measured.
    pub drift: bool,
}

/// A benchmark that could not be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncompared {
    /// Its name.
    pub name: String,
    /// `A` or `B`.
    pub side: String,
    /// What happened.
    pub reason: FailureKind,
    /// In words, and what to do.
    pub detail: String,
}

/// A whole comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// [`crate::record::SCHEMA`].
    pub schema: u32,
    /// Always `comparison`.
    pub kind: String,
    /// Name of the suite.
    pub suite: String,
    /// What was asked for as A: a revision, a file.
    pub a: String,
    /// What was asked for as B.
    pub b: String,
    /// Where A's source stood, as far as it is known.
    pub a_revision: Revision,
    /// Where B's did.
    pub b_revision: Revision,
    /// The machine.
    pub fingerprint: Fingerprint,
    /// When it began: RFC 3339, UTC.
    pub time: String,
    /// Seconds it took.
    pub seconds: f64,
    /// The least difference that matters, as a share.
    pub min_effect: f64,
    /// Chance of any false verdict in the suite, at most.
    pub alpha: f64,
    /// What disturbed it.
    pub taint: Vec<Taint>,
    /// The worst first.
    pub results: Vec<Compared>,
    /// Those that could not be compared.
    pub failures: Vec<Uncompared>,
    /// Whether it was stopped before it was done.
    pub interrupted: bool,
}

impl Comparison {
    /// What is said of the whole suite: slower when anything is, else inconclusive when anything is, else faster when anything
    /// is. `NoDifference` of an empty suite.
    pub fn overall(&self) -> Verdict {
        let any = |v| self.results.iter().any(|r| r.verdict == v);
        let order = [Verdict::Slower, Verdict::Inconclusive, Verdict::Faster];
        order.into_iter().find(|v| any(*v)).unwrap_or(Verdict::NoDifference)
    }
}
