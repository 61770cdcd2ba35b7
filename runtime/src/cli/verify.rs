//! `kinglet verify`: every usable tier against the scalar reference, on this machine.

use super::CliError;
use super::options::{Verbosity, tier};
use kinglet_kernels::verify::{self, Report};
use kinglet_kernels::{Error, Tier};
use serde_json::{Value, json};
use std::io::Write;

/// Examples under `kinglet verify --help`.
pub const EXAMPLES: &str = "\
  kinglet verify
  kinglet verify --tier scalar --seed 3
  kinglet verify --json > verify.json     to attach to a report";

/// Options of `kinglet verify`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Check only this tier [default: every usable one]
    #[arg(long, value_name = "TIER", value_parser = tier)]
    pub tier: Option<Tier>,
    /// Seed of the test data; hashes of one seed are the same on every machine
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub seed: u64,
    /// Print JSON: the machine, and for each tier each operation and format with its hash
    #[arg(long)]
    pub json: bool,
}

/// Runs the verb.
///
/// # Errors
/// When a tier differs from the scalar one, naming the kernel and the shape.
pub fn run(args: &Args, verbosity: Verbosity) -> Result<(), CliError> {
    let tiers = Tier::ALL.iter().copied().filter(|t| args.tier.is_none_or(|only| only == *t));
    let mut reports = Vec::new();
    for tier in tiers {
        let report = match verify::tier(tier, args.seed) {
            Err(why @ Error::UnusableTier { .. }) => Err(why.to_string()),
            other => Ok(other.map_err(CliError::failure)?),
        };
        reports.push((tier, report));
    }
    let text =
        if args.json { as_json(args.seed, &reports)? } else { as_text(&reports, verbosity.verbose > 0) };
    writeln!(std::io::stdout().lock(), "{text}").map_err(|e| CliError::output(&e))?;
    match reports.iter().filter_map(|(_, r)| r.as_ref().ok()).map(|r| r.differences().count()).sum() {
        0 => Ok(()),
        n => Err(CliError::failure(format!(
            "{n} kernels differ; please report this with the output of `kinglet verify --json`"
        ))),
    }
}

type Reports = [(Tier, Result<Report, String>)];

fn as_text(reports: &Reports, verbose: bool) -> String {
    let mut lines = Vec::new();
    for (tier, report) in reports {
        let report = match report {
            Ok(report) => report,
            Err(why) => {
                lines.push(format!("{tier:<12} NOT RUN: {why}"));
                continue;
            }
        };
        for o in &report.outcomes {
            if let Some(difference) = &o.difference {
                lines.push(format!("{tier:<12} DIFFERS: {difference}"));
            } else if verbose {
                lines.push(format!("{tier:<12} {:016x} {}", o.hash, o.name));
            }
        }
        if report.differences().next().is_none() {
            lines.push(format!(
                "{tier:<12} ok: {} results in {} kernels equal the scalar tier bit for bit",
                report.results(),
                report.outcomes.len()
            ));
        }
    }
    lines.join("\n")
}

fn as_json(seed: u64, reports: &Reports) -> Result<String, CliError> {
    let tiers: Vec<Value> = reports
        .iter()
        .map(|(tier, report)| match report {
            Err(why) => json!({"tier": tier.name(), "run": false, "why_not": why}),
            Ok(report) => {
                let outcomes: Vec<Value> = report
                    .outcomes
                    .iter()
                    .map(|o| {
                        let (pass, hash) = (o.difference.is_none(), format!("{:016x}", o.hash));
                        json!({"name": o.name, "pass": pass, "results": o.results, "hash": hash, "difference": o.difference})
                    })
                    .collect();
                json!({"tier": tier.name(), "run": true, "pass": report.differences().next().is_none(), "results": outcomes})
            }
        })
        .collect();
    let features: Vec<&str> = Tier::features().into_iter().filter(|f| f.1).map(|f| f.0).collect();
    let all = json!({
        "kinglet": env!("CARGO_PKG_VERSION"), "contract": kinglet_kernels::CONTRACT_VERSION, "seed": seed,
        "arch": std::env::consts::ARCH, "os": std::env::consts::OS, "features": features, "tiers": tiers,
    });
    serde_json::to_string_pretty(&all).map_err(CliError::failure)
}
