//! `kinglet cpu`: what this CPU can run.

use super::CliError;
use super::options::{Verbosity, default_tier};
use crate::machine::Cpus;
use kinglet_kernels::Tier;
use kinglet_kernels::list::{self, Kernel, Operand};
use serde_json::json;
use std::io::Write;
use std::time::Instant;

/// Examples under `kinglet cpu --help`.
pub const EXAMPLES: &str = "\
  kinglet cpu
  kinglet cpu --json
  kinglet cpu --kernels --json | jq -r '.kernels[] | select(.runs).name'";

/// Options of `kinglet cpu`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// List the kernels of every tier instead: operation, format, tier, register tile and layout
    #[arg(long)]
    pub kernels: bool,
}

/// Runs the verb.
///
/// # Errors
/// When `KINGLET_TIER` names a tier that cannot run, or the output cannot be written.
pub fn run(args: &Args, _: Verbosity) -> Result<(), CliError> {
    let chosen = default_tier()?;
    if args.kernels {
        let text = kernels(chosen, args.json)?;
        return writeln!(std::io::stdout().lock(), "{text}").map_err(|e| CliError::output(&e));
    }
    let features: Vec<(&str, bool)> = Tier::features();
    let tiers: Vec<(Tier, Option<String>)> =
        Tier::ALL.iter().map(|t| (*t, t.check().err().map(|e| e.to_string()))).collect();
    let cpus = Cpus::detect();
    let threads = cpus.limit();
    let bandwidth: Vec<(usize, f64)> = [1, threads]
        .iter()
        .take(if threads == 1 { 1 } else { 2 })
        .map(|t| (*t, read_bandwidth(*t)))
        .collect();
    let text = if args.json {
        let tiers: Vec<_> = tiers
            .iter()
            .map(|(t, why)| json!({"tier": t.name(), "usable": why.is_none(), "why_not": why}))
            .collect();
        let have: Vec<&str> = features.iter().filter(|f| f.1).map(|f| f.0).collect();
        let roof: Vec<_> = bandwidth.iter().map(|(t, b)| json!({"threads": t, "gb_per_s": b})).collect();
        let all = json!({
            "arch": std::env::consts::ARCH, "threads": threads, "cores": cpus.cores, "fast_cores": cpus.fast_cores,
            "cpu_quota": cpus.quota, "default_threads": cpus.threads(), "default_threads_batch": cpus.threads_batch(),
            "features": have, "tiers": tiers,
            "chosen": chosen.name(), "read_bandwidth": roof,
        });
        serde_json::to_string_pretty(&all).map_err(CliError::failure)?
    } else {
        let mut lines = vec![format!("{}, {threads} threads may be used", std::env::consts::ARCH)];
        let quota = cpus.quota.map(|q| format!(", {q:.2} CPUs' time allowed by a control group"));
        lines.push(format!(
            "cores:    {}, {} of them fast{}; by default {} threads generate and {} read prompts",
            cpus.cores,
            cpus.fast_cores,
            quota.unwrap_or_default(),
            cpus.threads(),
            cpus.threads_batch()
        ));
        let list = |want: bool| -> String {
            features.iter().filter(|f| f.1 == want).map(|f| f.0).collect::<Vec<_>>().join(" ")
        };
        lines.push(format!("features: {}", list(true)));
        if !list(false).is_empty() {
            lines.push(format!("absent:   {}", list(false)));
        }
        lines.push("tiers:".to_owned());
        for (tier, why) in &tiers {
            let what = match why {
                Some(why) => format!("no: {why}"),
                None if *tier == chosen => "usable, chosen".to_owned(),
                None => "usable".to_owned(),
            };
            lines.push(format!("  {tier:<12} {what}"));
        }
        for (threads, gb) in &bandwidth {
            lines.push(format!("read bandwidth, {threads} thread(s): {gb:.1} GB/s"));
        }
        lines.join("\n")
    };
    writeln!(std::io::stdout().lock(), "{text}").map_err(|e| CliError::output(&e))
}

/// The list of kernels. In JSON an entry for each kernel of each tier; `runs` are those that would run here.
fn kernels(chosen: Tier, as_json: bool) -> Result<String, CliError> {
    if !as_json {
        // Those of the chosen tier: the others are for programs to read.
        let line = |k: Kernel| {
            let tile = k.tile.map_or(String::new(), |t| format!("{} x {}", t.rows, t.columns));
            format!("{:<38} {tile:<8} {}", k.to_string(), k.layout())
        };
        return Ok(list::of(chosen).map(line).collect::<Vec<_>>().join("\n"));
    }
    let entry = |tier: Tier, k: Kernel| {
        let (format, cache) = match k.operand {
            Operand::Weights(format) => (Some(format.name()), None),
            Operand::Cache(ty) => (None, Some(format!("{ty:?}").to_lowercase())),
            Operand::Floats => (None, None),
        };
        json!({
            "name": k.to_string(), "op": k.op.name(), "format": format, "cache": cache, "of_tier": tier.name(),
            "tier": k.tier.name(), "tile": k.tile.map(|t| json!({"rows": t.rows, "columns": t.columns})),
            "layout": k.layout(), "runs": tier == chosen,
        })
    };
    let all = Tier::ALL.iter().flat_map(|tier| list::of(*tier).map(move |k| (*tier, k)));
    let kernels: Vec<_> = all.map(|(tier, k)| entry(tier, k)).collect();
    let tiers: Vec<_> = Tier::ALL
        .iter()
        .map(|t| json!({"tier": t.name(), "arch": t.arch(), "requires": t.requires(), "usable": t.check().is_ok()}))
        .collect();
    let all = json!({"chosen": chosen.name(), "tiers": tiers, "kernels": kernels});
    serde_json::to_string_pretty(&all).map_err(CliError::failure)
}

/// Larger than the caches of most machines, small enough for a Pi.
const BUFFER: usize = 128 << 20;

/// GB/s of a plain read of [`BUFFER`] bytes in as many parts as threads, the best of five.
fn read_bandwidth(threads: usize) -> f64 {
    let data = vec![1u64; BUFFER / 8];
    let part = data.len().div_ceil(threads);
    let best = (0..5).map(|_| {
        let start = Instant::now();
        let sum = std::thread::scope(|scope| {
            let parts: Vec<_> = data
                .chunks(part)
                .map(|p| scope.spawn(move || pulp::Arch::new().dispatch(|| sum(p))))
                .collect();
            parts.into_iter().fold(0u64, |a, p| a.wrapping_add(p.join().unwrap_or(0)))
        });
        std::hint::black_box(sum);
        start.elapsed().as_secs_f64()
    });
    BUFFER as f64 / best.fold(f64::INFINITY, f64::min) / 1e9
}

/// Several streams at once: one alone does not fill the memory system. Inlined into pulp's dispatch, so that its loads are
/// as wide as the CPU has them.
#[inline(always)]
fn sum(data: &[u64]) -> u64 {
    let quarter = data.len() / 4;
    let (a, rest) = data.split_at(quarter);
    let (b, rest) = rest.split_at(quarter);
    let (c, d) = rest.split_at(quarter);
    let mut sums = [0u64; 32];
    for (((a, b), c), d) in
        a.chunks_exact(8).zip(b.chunks_exact(8)).zip(c.chunks_exact(8)).zip(d.chunks_exact(8))
    {
        for i in 0..8 {
            sums[i] = sums[i].wrapping_add(a[i]);
            sums[8 + i] = sums[8 + i].wrapping_add(b[i]);
            sums[16 + i] = sums[16 + i].wrapping_add(c[i]);
            sums[24 + i] = sums[24 + i].wrapping_add(d[i]);
        }
    }
    sums.iter().fold(0, |a, s| a.wrapping_add(*s))
}
