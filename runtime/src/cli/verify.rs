//! `kinglet verify`: every usable tier against the scalar reference, on this machine.

use super::CliError;
use super::options::{Verbosity, tier};
use kinglet_kernels::{Tier, verify};
use std::io::Write;

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

/// Runs the verb.
///
/// # Errors
/// When a tier differs from the scalar one, naming the kernel and the shape.
pub fn run(args: &Args, verbosity: Verbosity) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let mut say = |line: String| writeln!(out, "{line}").map_err(|e| CliError::output(&e));
    let mut failed = 0;
    for tier in Tier::ALL.iter().filter(|t| args.tier.is_none_or(|only| only == **t)) {
        if let Err(why) = tier.check() {
            say(format!("{tier:<12} NOT RUN: {why}"))?;
            continue;
        }
        let report = verify::tier(*tier, args.seed).map_err(CliError::failure)?;
        for difference in &report.differences {
            say(format!("{tier:<12} DIFFERS: {difference}"))?;
        }
        failed += report.differences.len();
        if report.differences.is_empty() {
            say(format!(
                "{tier:<12} ok: {} results in {} kernels equal the scalar tier bit for bit",
                report.results, report.kernels
            ))?;
        } else if verbosity.verbose > 0 {
            say(format!("{tier:<12} {} results compared", report.results))?;
        }
    }
    match failed {
        0 => Ok(()),
        n => Err(CliError::failure(format!(
            "{n} kernels differ; please report this with the output of `kinglet cpu`"
        ))),
    }
}
