//! Rounds: two programs side by side. Each round starts both anew, so that it has its own memory layout and, where there are
//! several links of a program, its own code layout; within it short bursts alternate as A B B A or B A A B on one CPU.

use crate::client::{Launch, Worker, WorkerError};
use crate::random::Random;
use crate::record::FailureKind;
use crate::stats::{median, middle_mean};
use std::time::{Duration, Instant};

/// Time of one burst.
const BURST: Duration = Duration::from_millis(2);
/// Chunks of a burst; the fastest of them counts, because what disturbs only ever adds.
const CHUNKS: u64 = 4;
/// Groups of four bursts per benchmark and round, at most.
const QUADS: usize = 60;
/// Undisturbed groups that are enough to leave the disturbed ones out.
const ENOUGH: usize = 4;

/// One of the two programs: several links of the same source, or one.
#[derive(Debug, Clone)]
pub struct Side {
    /// How to start each.
    pub launches: Vec<Launch>,
}

/// One benchmark in one round.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// Log of B over A.
    pub log_ratio: f64,
    /// Median of A's bursts, units per iteration.
    pub a: f64,
    /// Median of B's.
    pub b: f64,
    /// Pairs that were measured.
    pub pairs: u32,
    /// Pairs thrown away because the system interrupted one of them.
    pub discarded: u32,
}

/// Why a benchmark gave no round, and whose fault it is (`A`, `B`).
#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    /// `A` or `B`.
    pub side: &'static str,
    /// What happened.
    pub error: WorkerError,
}

/// A benchmark that takes part.
#[derive(Debug, Clone)]
pub struct Contestant {
    /// Its name.
    pub name: String,
    /// The right answer's checksum.
    pub expected: Option<String>,
    /// Iterations per chunk, the same for both sides in all rounds; 0 until it is known.
    pub iterations: u64,
    /// Chunks per burst: fewer where one iteration is long.
    pub chunks: u64,
}

/// Two programs that are measured.
#[derive(Debug)]
pub struct Pairing {
    sides: [Side; 2],
    pin: Option<usize>,
    timeout: Duration,
    random: Random,
}

const NAMES: [&str; 2] = ["A", "B"];

impl Pairing {
    /// A and B on CPU `pin`.
    pub fn new(a: Side, b: Side, pin: Option<usize>, timeout: Duration, random: Random) -> Pairing {
        Pairing { sides: [a, b], pin, timeout, random }
    }

    /// Starts one side; which of its links is left to chance.
    fn start(&mut self, side: usize) -> Result<Worker, Trouble> {
        let launches = &self.sides[side].launches;
        let launch = &launches[self.random.below(launches.len())];
        let started = Worker::start(launch, self.pin, self.timeout);
        started.map(|w| w.0).map_err(|error| Trouble { side: NAMES[side], error })
    }

    /// One round over `contestants`, in random order, about `slice` of time each. Results are in the order of `contestants`;
    /// `None` after a request to stop and after `end`.
    ///
    /// # Errors
    /// When a program cannot be started at all.
    pub fn round(
        &mut self,
        contestants: &mut [Contestant],
        slice: Duration,
        end: Instant,
        check: bool,
    ) -> Result<Vec<Option<Result<Round, Trouble>>>, Trouble> {
        let first = self.random.below(2);
        let mut workers = [None, None];
        for side in [first, 1 - first] {
            workers[side] = Some(self.start(side)?);
        }
        let mut order: Vec<usize> = (0..contestants.len()).collect();
        self.random.shuffle(&mut order);
        let mut results: Vec<_> = contestants.iter().map(|_| None).collect();
        for i in order {
            // The first round is made in any case, so that every benchmark is seen once.
            if crate::stop::asked() || (!check && Instant::now() >= end) {
                break;
            }
            let result = self.contest(&mut workers, &mut contestants[i], slice, check);
            if let Err(trouble) = &result {
                // A worker that is gone is replaced for the benchmarks that follow.
                let side = usize::from(trouble.side == NAMES[1]);
                if !trouble.error.alive {
                    workers[side] = Some(self.start(side)?);
                }
            }
            results[i] = Some(result);
        }
        Ok(results)
    }

    fn contest(
        &mut self,
        workers: &mut [Option<Worker>; 2],
        c: &mut Contestant,
        slice: Duration,
        check: bool,
    ) -> Result<Round, Trouble> {
        let [Some(a), Some(b)] = workers else { unreachable!("both are started") };
        let mut workers = [a, b];
        let first = self.random.below(2);
        for side in [first, 1 - first] {
            let at = |error| Trouble { side: NAMES[side], error };
            workers[side].prepare(&c.name).map_err(at)?;
            if c.iterations == 0 {
                (c.chunks, c.iterations) = fit(workers[side], BURST).map_err(at)?;
            }
            if check {
                let sum = workers[side].checksum().map_err(at)?;
                let expected = c.expected.get_or_insert_with(|| sum.clone());
                if *expected != sum {
                    let detail = format!("the answer's checksum is {sum} where {expected} is expected");
                    return Err(at(WorkerError { kind: FailureKind::WrongAnswer, detail, alive: true }));
                }
            }
            // Pages, caches, branch predictors.
            workers[side].run(c.chunks, c.iterations).map_err(at)?;
        }
        let start = Instant::now();
        let mut quads = Vec::new();
        while quads.is_empty() || (start.elapsed() < slice && quads.len() < QUADS) {
            let x = self.random.below(2);
            quads.push(quad(&mut workers, [x, 1 - x, 1 - x, x], c)?);
            if crate::stop::asked() {
                break;
            }
        }
        Ok(fold(&quads))
    }
}

/// Four bursts.
#[derive(Debug, Clone, Copy, Default)]
struct Quad {
    /// Costs of A and of B, two each, as logarithms.
    logs: [[f64; 2]; 2],
    disturbed: bool,
}

fn quad(workers: &mut [&mut Worker; 2], order: [usize; 4], c: &Contestant) -> Result<Quad, Trouble> {
    let (mut quad, mut next) = (Quad::default(), [0; 2]);
    for side in order {
        let burst = workers[side]
            .run(c.chunks, c.iterations)
            .map_err(|error| Trouble { side: NAMES[side], error })?;
        let best = burst.samples.iter().copied().fold(f64::INFINITY, f64::min);
        quad.logs[side][next[side]] = libm::log(best.max(1e-9));
        next[side] += 1;
        quad.disturbed |= burst.interrupted > 0;
    }
    Ok(quad)
}

/// A round from its quads: without the disturbed ones, unless hardly any would be left.
fn fold(quads: &[Quad]) -> Round {
    let calm: Vec<Quad> = quads.iter().copied().filter(|q| !q.disturbed).collect();
    let used = if calm.len() >= ENOUGH { &calm[..] } else { quads };
    let side = |s: usize| median(&used.iter().flat_map(|q| q.logs[s]).map(libm::exp).collect::<Vec<_>>());
    let ratio = |q: &Quad| (q.logs[1][0] + q.logs[1][1] - q.logs[0][0] - q.logs[0][1]) / 2.0;
    let pairs = |n: usize| u32::try_from(2 * n).unwrap_or(u32::MAX);
    Round {
        log_ratio: middle_mean(&used.iter().map(ratio).collect::<Vec<_>>()),
        a: side(0),
        b: side(1),
        pairs: pairs(quads.len()),
        discarded: pairs(quads.len() - used.len()),
    }
}

/// Chunks and iterations for a burst of about `burst`.
///
/// # Errors
/// As [`Worker::run`].
pub fn fit(worker: &mut Worker, burst: Duration) -> Result<(u64, u64), WorkerError> {
    let mut iterations = 1u64;
    loop {
        let start = Instant::now();
        worker.run(1, iterations)?;
        let took = start.elapsed();
        // The time of the request itself does not count as work: go on until it is small beside it.
        if took >= burst.max(Duration::from_micros(500)) || iterations >= 1 << 24 {
            let one = took.as_secs_f64() / iterations as f64;
            let chunk = burst.as_secs_f64() / CHUNKS as f64;
            return Ok(if one >= burst.as_secs_f64() {
                (1, 1)
            } else {
                (CHUNKS, ((chunk / one) as u64).max(1))
            });
        }
        iterations *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_the_middle_of_its_calm_quads() {
        let quad =
            |a: f64, b: f64, disturbed| Quad { logs: [[libm::log(a); 2], [libm::log(b); 2]], disturbed };
        let mut quads = vec![quad(100.0, 105.0, false); 6];
        quads.extend([quad(100.0, 900.0, true), quad(100.0, 30.0, false)]);
        let round = fold(&quads);
        assert!((round.log_ratio - libm::log(1.05)).abs() < 1e-12, "{round:?}");
        assert!((round.a - 100.0).abs() < 1e-9 && (round.b - 105.0).abs() < 1e-9, "{round:?}");
        assert_eq!((round.pairs, round.discarded), (16, 2));
        // Always disturbed: all of them are taken.
        let round = fold(&[quad(1.0, 2.0, true); 4]);
        assert_eq!((round.pairs, round.discarded), (8, 0));
    }
}
