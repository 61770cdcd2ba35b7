//! `compare`: rounds until every benchmark is decided or the budget is used up.

use crate::client::{Launch, Worker};
use crate::comparison::{Compared, Comparison, Uncompared, Verdict};
use crate::fingerprint::Fingerprint;
use crate::judge::{Judged, Rule, judge};
use crate::pair::{Contestant, Pairing, Round, Side, Trouble};
use crate::protocol::Hello;
use crate::random::Random;
use crate::record::{FailureKind, SCHEMA, Unit};
use crate::stats::{bimodal, drift, median};
use crate::suite::Entry;
use crate::taint::Watch;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Rounds that a budget should have room for.
const ROUNDS: f64 = 60.0;
/// No verdict before so many: drift and two groups cannot be seen in fewer.
const LEAST_ROUNDS: usize = 10;

/// How to compare.
#[derive(Debug, Clone)]
pub struct Options {
    /// When a verdict is given.
    pub rule: Rule,
    /// Time for everything but building.
    pub budget: Duration,
    /// Only names that contain one of these; all when empty.
    pub filter: Vec<String>,
    /// The CPU for both programs.
    pub pin: Option<usize>,
    /// How long a worker may take for one answer.
    pub timeout: Duration,
    /// Seed of orders.
    pub seed: u64,
    /// Whether to tell of progress on standard error.
    pub progress: bool,
}

/// A program that takes part, and what it is called.
#[derive(Debug, Clone)]
pub struct Program {
    /// What was asked for: a revision, a path.
    pub name: String,
    /// Its links.
    pub side: Side,
}

/// A program's benchmarks, and who it is.
///
/// # Errors
/// When it cannot be started or asked.
pub fn inspect(launch: &Launch, timeout: Duration) -> Result<(Hello, Vec<Entry>), String> {
    let (mut worker, hello) = Worker::start(launch, None, timeout).map_err(|e| e.detail)?;
    let list = worker.list().map_err(|e| format!("{}: {e}", launch.program.display()))?;
    Ok((hello, list))
}

/// Whether `filter` asks for a name.
pub fn wanted(filter: &[String], name: &str) -> bool {
    filter.is_empty() || filter.iter().any(|f| name.contains(f.as_str()))
}

/// The state of a benchmark while it is compared.
struct Running {
    contestant: Contestant,
    unit: Unit,
    rounds: Vec<Round>,
    over: bool,
}

impl Running {
    fn logs(&self) -> Vec<f64> {
        self.rounds.iter().map(|r| r.log_ratio).collect()
    }
}

/// Compares B with A.
///
/// # Errors
/// When a program cannot be started, or nothing is left to compare.
pub fn compare(a: &Program, b: &Program, options: &Options) -> Result<Comparison, String> {
    let (time, start, watch) = (crate::clock::now(), Instant::now(), Watch::start());
    let [(hello_a, list_a), (hello_b, list_b)] = [
        inspect(&a.side.launches[0], options.timeout).map_err(|e| format!("A: {e}"))?,
        inspect(&b.side.launches[0], options.timeout).map_err(|e| format!("B: {e}"))?,
    ];
    let (mut running, mut failures) = line_up(&list_a, &list_b, &options.filter);
    if running.is_empty() && failures.is_empty() {
        return Err(
            "nothing to compare: no benchmark of both programs fits --filter and this machine".to_owned()
        );
    }
    let random = Random::new(options.seed);
    let mut pairing = Pairing::new(a.side.clone(), b.side.clone(), options.pin, options.timeout, random);
    let mut judged: Vec<Judged> = Vec::new();
    for number in 0.. {
        let active: Vec<usize> = (0..running.len()).filter(|i| !running[*i].over).collect();
        let left = options.budget.saturating_sub(start.elapsed());
        if active.is_empty() || left.is_zero() || crate::stop::asked() {
            break;
        }
        let mut contestants: Vec<Contestant> =
            active.iter().map(|i| running[*i].contestant.clone()).collect();
        // What is decided leaves its time to the others.
        let slice = options.budget.as_secs_f64() / ROUNDS / active.len() as f64 * 0.8;
        let results = pairing
            .round(&mut contestants, Duration::from_secs_f64(slice), start + options.budget, number == 0)
            .map_err(|t| format!("{}: {}", t.side, t.error))?;
        for ((i, contestant), result) in active.iter().zip(contestants).zip(results) {
            running[*i].contestant = contestant;
            match result {
                Some(Ok(round)) => running[*i].rounds.push(round),
                Some(Err(trouble)) => {
                    running[*i].over = true;
                    failures.push(failed(&running[*i].contestant.name, trouble));
                }
                None => {}
            }
        }
        // A benchmark that failed has no verdict, and does not count as one of many.
        let failed = |r: &Running| failures.iter().any(|f| f.name == r.contestant.name);
        running.retain(|r| !failed(r));
        let logs: Vec<Vec<f64>> = running.iter().map(Running::logs).collect();
        let slices: Vec<&[f64]> = logs.iter().map(Vec::as_slice).collect();
        judged = judge(&slices, options.rule);
        for (r, j) in running.iter_mut().zip(&judged) {
            r.over = r.rounds.len() >= LEAST_ROUNDS && j.verdict != Verdict::Inconclusive;
        }
        if options.progress {
            let open = running.iter().filter(|r| !r.over).count();
            let seconds = start.elapsed().as_secs();
            eprintln!("round {}, {seconds} s: {open} of {} undecided", number + 1, running.len());
        }
    }
    let mut results: Vec<Compared> = running.iter().zip(&judged).map(|(r, j)| result(r, j)).collect();
    // The worst first, and what is not known before what is known to be equal.
    let rank = |c: &Compared| match c.verdict {
        Verdict::Slower => 0,
        Verdict::Inconclusive => 1,
        Verdict::Faster => 2,
        Verdict::NoDifference => 3,
    };
    results.sort_by(|a, b| rank(a).cmp(&rank(b)).then(b.ratio.total_cmp(&a.ratio)));
    drop(pairing);
    Ok(Comparison {
        schema: SCHEMA,
        kind: "comparison".to_owned(),
        suite: hello_b.suite,
        a: a.name.clone(),
        b: b.name.clone(),
        a_revision: hello_a.revision,
        b_revision: hello_b.revision,
        fingerprint: Fingerprint {
            compiler: hello_b.compiler,
            flags: hello_b.flags,
            ..Fingerprint::of_this_machine()
        },
        time,
        seconds: start.elapsed().as_secs_f64(),
        min_effect: options.rule.min_effect,
        alpha: options.rule.alpha,
        taint: watch.finish(0),
        results,
        failures,
        interrupted: crate::stop::asked(),
    })
}

/// Benchmarks that both sides can run, and those that only one has.
fn line_up(a: &[Entry], b: &[Entry], filter: &[String]) -> (Vec<Running>, Vec<Uncompared>) {
    let (mut running, mut failures) = (Vec::new(), Vec::new());
    let in_b: BTreeMap<&str, &Entry> = b.iter().map(|e| (e.spec.name.as_str(), e)).collect();
    for entry in a.iter().filter(|e| wanted(filter, &e.spec.name)) {
        let other = in_b.get(entry.spec.name.as_str());
        match other {
            None => failures.push(missing(&entry.spec.name, "B")),
            Some(other) if entry.skip.is_none() && other.skip.is_none() => {
                // The newer side knows the answer better.
                let expected = other.spec.expected.clone().or_else(|| entry.spec.expected.clone());
                let name = entry.spec.name.clone();
                let contestant = Contestant { name, expected, iterations: 0, chunks: 0 };
                running.push(Running { contestant, unit: entry.spec.unit, rounds: Vec::new(), over: false });
            }
            // What this machine cannot run is no news.
            Some(_) => {}
        }
    }
    let in_a = |e: &&Entry| a.iter().any(|o| o.spec.name == e.spec.name);
    for entry in b.iter().filter(|e| wanted(filter, &e.spec.name) && !in_a(e)) {
        failures.push(missing(&entry.spec.name, "A"));
    }
    (running, failures)
}

fn missing(name: &str, side: &str) -> Uncompared {
    let detail = format!("{side} does not have this benchmark");
    Uncompared { name: name.to_owned(), side: side.to_owned(), reason: FailureKind::Skipped, detail }
}

fn failed(name: &str, trouble: Trouble) -> Uncompared {
    let Trouble { side, error } = trouble;
    Uncompared { name: name.to_owned(), side: side.to_owned(), reason: error.kind, detail: error.detail }
}

fn result(r: &Running, j: &Judged) -> Compared {
    let rounds = r.logs();
    let of = |f: fn(&Round) -> f64| median(&r.rounds.iter().map(f).collect::<Vec<_>>());
    Compared {
        name: r.contestant.name.clone(),
        unit: r.unit,
        verdict: j.verdict,
        // JSON has no infinity: far outside of what can be measured.
        ratio: if j.ratio.is_finite() { j.ratio } else { 1.0 },
        low: j.low.max(0.0),
        high: j.high.min(1e3),
        bound: j.bound().min(1e3),
        a: of(|r| r.a).max(0.0),
        b: of(|r| r.b).max(0.0),
        pairs: r.rounds.iter().map(|r| r.pairs).sum(),
        discarded: r.rounds.iter().map(|r| r.discarded).sum(),
        bimodal: bimodal(&rounds),
        drift: drift(&rounds),
        rounds,
    }
}
