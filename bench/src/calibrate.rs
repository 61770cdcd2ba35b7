//! `calibrate`: how often the gate is wrong on this machine. Live runs of A against A and of A against A with delays on purpose,
//! then replays of their rounds, resampled in blocks, because the thousands of live runs that a rate of 1 % needs take days.

use crate::compare::{Options, Program, compare};
use crate::comparison::{Comparison, Verdict};
use crate::judge::{Rule, alarms};
use crate::random::Random;
use crate::source::Workers;
use crate::stats::clopper_pearson;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Delays on purpose, in percent.
pub const LEVELS: [f64; 5] = [1.0, 2.0, 3.0, 5.0, 10.0];
/// Rounds that stay together in a replay: neighbours in time may be alike.
const BLOCK: usize = 4;

/// One live run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveRun {
    /// Percent by benchmark; empty in a run of A against A.
    pub injected: BTreeMap<String, f64>,
    /// What came out.
    pub comparison: Comparison,
}

/// How many runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Live runs of A against A.
    pub equal: usize,
    /// Live runs with delays: in each, every other benchmark has one.
    pub injected: usize,
    /// Replays for each rate.
    pub replays: usize,
}

/// Makes the live runs that `log` does not have yet; each is appended to it as it ends.
///
/// # Errors
/// When a program cannot be started or the log not be read or written.
pub fn live(
    sides: [&str; 2],
    workers: &Workers,
    options: &Options,
    plan: Plan,
    log: &Path,
) -> Result<Vec<LiveRun>, String> {
    let mut runs = read(log)?;
    let a = Program { name: sides[0].to_owned(), side: workers.resolve(sides[0])? };
    let (_, entries) = crate::compare::inspect(&a.side.launches[0], options.timeout)?;
    let names: Vec<String> = entries
        .into_iter()
        .filter(|e| e.skip.is_none() && crate::compare::wanted(&options.filter, &e.spec.name))
        .map(|e| e.spec.name)
        .collect();
    // Taking turns, so that a change of the machine meets both kinds.
    for number in 0..plan.equal + plan.injected {
        let is_injected = (number + 1) * plan.injected / (plan.equal + plan.injected)
            > number * plan.injected / (plan.equal + plan.injected);
        if number < runs.len() {
            continue;
        }
        let turn = number * plan.injected / (plan.equal + plan.injected);
        let injected = if is_injected { injections(&names, turn) } else { BTreeMap::new() };
        let inject = injected.iter().map(|(n, p)| format!("{n}:{p}")).collect();
        let b = Program {
            name: sides[1].to_owned(),
            side: Workers { inject, ..workers.clone() }.resolve(sides[1])?,
        };
        let options =
            Options { seed: options.seed.wrapping_add(number as u64), progress: false, ..options.clone() };
        let comparison = compare(&a, &b, &options)?;
        if comparison.interrupted {
            break;
        }
        let alarms = comparison
            .results
            .iter()
            .filter(|r| matches!(r.verdict, Verdict::Slower | Verdict::Faster))
            .count();
        let kind = if injected.is_empty() { "A against A" } else { "A against A with delays" };
        eprintln!(
            "run {}: {kind}, {:.0} s, {alarms} verdicts of a difference",
            number + 1,
            comparison.seconds
        );
        let run = LiveRun { injected, comparison };
        append(log, &run)?;
        runs.push(run);
    }
    Ok(runs)
}

/// Every other benchmark gets the next level.
fn injections(names: &[String], turn: usize) -> BTreeMap<String, f64> {
    let every_other = names.iter().enumerate().filter(|(i, _)| (i + turn).is_multiple_of(2)).map(|n| n.1);
    every_other.enumerate().map(|(i, n)| (n.clone(), LEVELS[(i + turn) % LEVELS.len()])).collect()
}

/// The runs of a log; none when there is no file.
///
/// # Errors
/// When a line is no run.
pub fn read(log: &Path) -> Result<Vec<LiveRun>, String> {
    let text = match std::fs::read_to_string(log) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(format!("cannot read {}: {e}", log.display())),
    };
    let run = |(i, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|e| {
            format!("{}: line {} is no run of calibrate ({e}); remove that line", log.display(), i + 1)
        })
    };
    text.lines().enumerate().filter(|l| !l.1.trim().is_empty()).map(run).collect()
}

fn append(log: &Path, run: &LiveRun) -> Result<(), String> {
    let told = |e: std::io::Error| format!("cannot write {}: {e}", log.display());
    let line = serde_json::to_string(run).map_err(|e| e.to_string())? + "\n";
    let mut text = std::fs::read_to_string(log).unwrap_or_default();
    text += &line;
    crate::files::write(log, &text).map_err(|e| told(std::io::Error::other(e)))
}

/// `k` of `n`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    /// How often.
    pub k: u64,
    /// Of how many.
    pub n: u64,
}

impl Rate {
    fn add(&mut self, hit: bool) {
        self.k += u64::from(hit);
        self.n += 1;
    }

    /// `3 of 40, 7.5 % (1.6 .. 20.4 %)`, with 95 % bounds.
    pub fn text(self) -> String {
        if self.n == 0 {
            return "none".to_owned();
        }
        let (low, high) = clopper_pearson(self.k, self.n, 0.05);
        let share = 100.0 * self.k as f64 / self.n as f64;
        format!("{} of {}, {share:.1} % ({:.1} .. {:.1} %)", self.k, self.n, 100.0 * low, 100.0 * high)
    }
}

/// What calibration found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates {
    /// Live runs of A against A in which anything was called slower or faster.
    pub false_live: Rate,
    /// The same in replays.
    pub false_replayed: Rate,
    /// By level: delays found in live runs, in replays of the rounds with that delay, and in replays of the rounds of A against A,
    /// one benchmark moved by that much.
    pub found: Vec<(f64, Rate, Rate)>,
    /// Benchmarks without a delay, in runs with delays, that were called slower or faster.
    pub bystanders: Rate,
    /// Rounds of a replay.
    pub rounds: usize,
}

/// Rounds of all benchmarks, of one run of A against A.
type Pool = BTreeMap<String, Vec<Vec<f64>>>;

/// The rates of live runs and replays.
pub fn rates(runs: &[LiveRun], rule: Rule, replays: usize, seed: u64) -> Rates {
    let mut rates = Rates {
        found: LEVELS.iter().map(|l| (*l, Rate::default(), Rate::default())).collect(),
        ..Rates::default()
    };
    let mut pool: Pool = BTreeMap::new();
    for run in runs {
        let results = &run.comparison.results;
        let differs = |v| matches!(v, Verdict::Slower | Verdict::Faster);
        if run.injected.is_empty() {
            rates.false_live.add(results.iter().any(|r| differs(r.verdict)));
            for r in results {
                pool.entry(r.name.clone()).or_default().push(r.rounds.clone());
            }
        }
        for r in results.iter().filter(|_| !run.injected.is_empty()) {
            match run.injected.get(&r.name) {
                Some(percent) => {
                    for (_, live, _) in rates.found.iter_mut().filter(|f| f.0 == *percent) {
                        live.add(r.verdict == Verdict::Slower);
                    }
                }
                None => rates.bystanders.add(differs(r.verdict)),
            }
        }
    }
    // As many as a benchmark gets that stays undecided until the budget is used up, in the worst of the live runs: more would
    // flatter the rates of what is found.
    let all = || runs.iter().flat_map(|r| &r.comparison.results).filter(|r| !r.rounds.is_empty());
    let undecided = all().filter(|r| r.verdict == Verdict::Inconclusive).map(|r| r.rounds.len()).min();
    rates.rounds = undecided.or_else(|| all().map(|r| r.rounds.len()).max()).unwrap_or(0);
    if pool.is_empty() || rates.rounds == 0 {
        return rates;
    }
    let mut random = Random::new(seed);
    eprintln!("replaying A against A, {replays} times");
    for _ in 0..replays {
        let suite = resample(&pool, rates.rounds, &mut random);
        let slices: Vec<&[f64]> = suite.iter().map(Vec::as_slice).collect();
        rates.false_replayed.add(alarms(&slices, rule).iter().any(Option::is_some));
    }
    for (percent, _, replayed) in &mut rates.found {
        eprintln!("replaying a slowdown of {percent} %, {replays} times");
        for _ in 0..replays {
            let mut suite = resample(&pool, rates.rounds, &mut random);
            let slow = random.below(suite.len());
            suite[slow].iter_mut().for_each(|r| *r += libm::log(1.0 + *percent / 100.0));
            let slices: Vec<&[f64]> = suite.iter().map(Vec::as_slice).collect();
            replayed.add(alarms(&slices, rule)[slow] == Some(Verdict::Slower));
        }
    }
    rates
}

/// A run of `rounds` rounds per benchmark, from blocks of recorded neighbours.
fn resample(pool: &Pool, rounds: usize, random: &mut Random) -> Vec<Vec<f64>> {
    let one = |runs: &Vec<Vec<f64>>| {
        let mut drawn = Vec::with_capacity(rounds + BLOCK);
        let usable: Vec<&Vec<f64>> = runs.iter().filter(|r| !r.is_empty()).collect();
        while drawn.len() < rounds && !usable.is_empty() {
            let run = usable[random.below(usable.len())];
            let start = random.below(run.len().saturating_sub(BLOCK - 1).max(1));
            drawn.extend(run.iter().skip(start).take(BLOCK));
        }
        drawn.truncate(rounds);
        drawn
    };
    pool.values().map(one).collect()
}

/// The rates as Markdown.
pub fn markdown(rates: &Rates, runs: &[LiveRun]) -> String {
    let mut out = String::from("# Calibration of the gate\n\n");
    let Some(first) = runs.first().map(|r| &r.comparison) else { return out + "No runs.\n" };
    let f = &first.fingerprint;
    let seconds: f64 = runs.iter().map(|r| r.comparison.seconds).sum::<f64>() / runs.len() as f64;
    let _ = writeln!(
        out,
        "Suite `{}`, {} benchmarks, on {} ({}, {} cores, {}), {}, at {}. {} live runs took {seconds:.0} s each on average; a replay has {} rounds \
         per benchmark. Differences up to {:.1} % do not count; the promise is at most {} % false verdicts per suite run. Bounds are those \
         of Clopper and Pearson, 95 %.\n",
        first.suite,
        first.results.len(),
        f.cpu,
        f.stepping,
        f.cores,
        f.kernel,
        f.compiler,
        first.b_revision,
        runs.len(),
        rates.rounds,
        100.0 * first.min_effect,
        100.0 * first.alpha
    );
    let mut taint: Vec<String> = Vec::new();
    for t in runs.iter().flat_map(|r| &r.comparison.taint) {
        let kind = format!("{:?}", t.kind).to_lowercase();
        if !taint.contains(&kind) {
            taint.push(kind);
        }
    }
    if !taint.is_empty() {
        let _ = writeln!(out, "Tainted: {} (in some of the runs).\n", taint.join(", "));
    }
    out += "| | live | replayed |\n|---|---:|---:|\n";
    let (live, replayed) = (rates.false_live.text(), rates.false_replayed.text());
    let _ = writeln!(out, "| A against A, runs with any false verdict | {live} | {replayed} |");
    let _ = writeln!(
        out,
        "| benchmarks without a delay beside some with one, false verdicts | {} | |",
        rates.bystanders.text()
    );
    for (percent, live, replayed) in &rates.found {
        let _ = writeln!(out, "| {percent} % slower, found | {} | {} |", live.text(), replayed.text());
    }
    out += "\n| benchmark | rounds of A against A | median of B - A | spread of a round |\n|---|---:|---:|---:|\n";
    let mut all: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for r in runs.iter().filter(|r| r.injected.is_empty()).flat_map(|r| &r.comparison.results) {
        all.entry(&r.name).or_default().extend(&r.rounds);
    }
    for (name, rounds) in all {
        let (middle, spread) = (crate::stats::median(&rounds), crate::stats::spread(&rounds));
        let _ = writeln!(
            out,
            "| `{name}` | {} | {:+.2} % | {:.2} % |",
            rounds.len(),
            100.0 * middle,
            100.0 * spread
        );
    }
    out
}

#[cfg(test)]
#[path = "calibrate_tests.rs"]
mod tests;
