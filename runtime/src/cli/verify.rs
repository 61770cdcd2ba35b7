//! `kinglet verify`: every usable tier against the scalar reference, on this machine.

use super::options::tier;
use kinglet_kernels::Tier;

/// Examples under `kinglet verify --help`.
pub const EXAMPLES: &str = "\
  kinglet verify
  kinglet verify --tier scalar --seed 3";

/// Options of `kinglet verify`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Check only this tier [default: every usable one]
    #[arg(long, value_name = "TIER", value_parser = tier)]
    pub tier: Option<Tier>,
    /// Seed of the test data
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub seed: u64,
}
