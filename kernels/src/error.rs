//! What can go wrong when a kernel is asked for or called.

use std::fmt;

/// Why a kernel could not be chosen or would not run. Kernels never panic; they return one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// A tier name that does not exist.
    UnknownTier {
        /// The name that was given.
        name: String,
    },
    /// A tier that exists but that this machine cannot run.
    UnusableTier {
        /// The tier asked for.
        tier: crate::Tier,
        /// What is missing, for instance `the CPU has no AVX2`.
        why: String,
    },
    /// Sizes that do not fit together.
    Shape {
        /// What was compared with what, with the numbers.
        what: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::UnknownTier { name } => write!(f, "unknown tier `{name}`"),
            Error::UnusableTier { tier, why } => write!(f, "tier `{tier}` cannot run here: {why}"),
            Error::Shape { what } => write!(f, "shapes do not fit: {what}"),
        }
    }
}

impl std::error::Error for Error {}
