//! `record`: measures every benchmark of a program, and keeps what has been measured whatever happens.

use crate::client::{Launch, Worker, WorkerError};
use crate::compare::{inspect, wanted};
use crate::fingerprint::Fingerprint;
use crate::pair::fit;
use crate::plan::{self, Cost, Share};
use crate::record::{Benchmark, Failure, FailureKind, Header, Line, Recording, Roof, SCHEMA, Spec, Unit};
use crate::taint::Watch;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How to record.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only names that contain one of these; all when empty.
    pub filter: Vec<String>,
    /// The CPU for the worker.
    pub pin: Option<usize>,
    /// How long the worker may take for one answer.
    pub timeout: Duration,
    /// Time for all of it; without one a second per benchmark, or what two launches of each take.
    pub budget: Option<Duration>,
    /// Whether to measure the roof, which takes some seconds.
    pub roof: bool,
    /// Whether to tell of progress on standard error.
    pub progress: bool,
}

/// Time per benchmark without a budget.
const SLICE: Duration = Duration::from_secs(1);
/// Time of one sample at least, where an iteration is shorter.
const SAMPLE: Duration = Duration::from_millis(4);
/// A launch that takes so many times what was planned is cut short.
const PATIENCE: f64 = 1.25;
/// How often the file of what has been measured is written anew while benchmarks get further launches.
const KEEP: Duration = Duration::from_secs(2);

/// Records a suite: every benchmark once, then again in fresh processes for as long as the budget lasts ([`crate::plan`]). What
/// is finished is in `partial`, so that not even a power cut loses more than one benchmark, or two seconds of further samples;
/// the caller writes the whole recording and removes it.
///
/// # Errors
/// When the worker cannot be started, or nothing fits the filter.
pub fn record(launch: &Launch, options: &Options, partial: &Path) -> Result<Recording, String> {
    let start = Instant::now();
    let (hello, list) = inspect(launch, options.timeout)?;
    let list: Vec<_> = list.into_iter().filter(|e| wanted(&options.filter, &e.spec.name)).collect();
    if list.is_empty() {
        return Err(format!(
            "suite `{}` has no benchmark whose name contains {}",
            hello.suite,
            options.filter.join(" or ")
        ));
    }
    let watch = Watch::start();
    let header = Header {
        schema: SCHEMA,
        suite: hello.suite,
        fingerprint: Fingerprint {
            compiler: hello.compiler,
            flags: hello.flags,
            ..Fingerprint::of_this_machine()
        },
        revision: hello.revision,
        time: crate::clock::now(),
        version: hello.version,
        taint: Vec::new(),
        roof: if options.roof { crate::pin::on(None, crate::roof::measure) } else { Roof::default() },
        interrupted: false,
    };
    let journal = Journal::new(partial, &header)?;
    let recording = Recording { header, benchmarks: Vec::new(), failures: Vec::new() };
    let mut recorder = Recorder { launch, options, start, journal, recording, sources: Vec::new() };
    let before = start.elapsed();
    let once = recorder.every_one_once(list)?;
    let least = SLICE * recorder.sources.len() as u32;
    // Two launches of each, and some room because the second ones also warm up.
    let budget = options.budget.unwrap_or(before + least.max(once * 9 / 4));
    recorder.again(budget)?;
    recorder.tell(budget, once);
    let mut recording = recorder.recording;
    recording.header.taint = watch.finish(0);
    recording.header.interrupted = crate::stop::asked();
    Ok(recording)
}

/// What further launches of a benchmark need to know of those before.
struct Source {
    /// Chunks of a burst.
    chunks: u64,
    cost: Cost,
    watch: Watch,
}

/// A recording that is being made.
struct Recorder<'a> {
    launch: &'a Launch,
    options: &'a Options,
    start: Instant,
    journal: Journal,
    recording: Recording,
    /// Of each benchmark of the recording.
    sources: Vec<Source>,
}

impl Recorder<'_> {
    /// Every benchmark in one process. Returns the time that took, without the roof.
    fn every_one_once(&mut self, list: Vec<crate::suite::Entry>) -> Result<Duration, String> {
        let (start, mut told) = (Instant::now(), false);
        let runnable = list.iter().filter(|e| e.skip.is_none()).count().max(1);
        // Parts of the budget for as many benchmarks as have been begun are not exceeded without need.
        let before = self.start.elapsed();
        let part = self.options.budget.map(|b| b.saturating_sub(before) / runnable as u32);
        for (done, entry) in list.into_iter().enumerate() {
            if crate::stop::asked() {
                break;
            }
            if let Some(budget) = self.options.budget.filter(|b| self.start.elapsed() > *b && !told) {
                told = true;
                self.progress(&format!(
                    "the budget of {:.0} s is used up after {done} benchmarks; the others get one launch each, and Ctrl-C stops \
                     and keeps what there is",
                    budget.as_secs_f64()
                ));
            }
            let due = part.unwrap_or_default() * (self.sources.len() as u32 + 1);
            let result = match entry.skip {
                Some(why) => Err(failure(&entry.spec, FailureKind::Skipped, why)),
                None => self.first(&entry.spec, part, start + due),
            };
            match result {
                Ok((benchmark, source)) => {
                    self.progress(&crate::print::benchmark(&benchmark));
                    self.journal.line(&Line::Benchmark(Box::new(benchmark.clone())))?;
                    self.recording.benchmarks.push(benchmark);
                    self.sources.push(source);
                }
                Err(f) => {
                    self.journal.line(&Line::Failure(f.clone()))?;
                    self.failed(f);
                }
            }
        }
        Ok(start.elapsed())
    }

    /// The first launch of a benchmark, which also finds out how many iterations make a sample, and checks the answer.
    fn first(
        &self,
        spec: &Spec,
        part: Option<Duration>,
        due: Instant,
    ) -> Result<(Benchmark, Source), Failure> {
        let (mut watch, start) = (Watch::start(), Instant::now());
        let told = |e: WorkerError| failure(spec, e.kind, e.detail);
        let mut worker = self.worker(spec).map_err(told)?;
        let checksum = worker.checksum().map_err(told)?;
        if let Some(expected) = spec.expected.as_ref().filter(|e| **e != checksum) {
            let what = format!("the answer's checksum is {checksum} where {expected} is expected");
            return Err(failure(spec, FailureKind::WrongAnswer, what));
        }
        let (chunks, iterations) = fit(&mut worker, SAMPLE).map_err(told)?;
        // One long iteration has warmed up what there is to warm up.
        if iterations > 1 {
            worker.run(1, iterations).map_err(told)?;
        }
        let setup = start.elapsed().as_secs_f64();
        let mut cost = Cost { setup, sample: 0.0, spent: 0.0, launches: 1 };
        let mut samples = Vec::new();
        loop {
            samples.push(sample(&mut worker, chunks, iterations).map_err(told)?);
            cost.sample = (start.elapsed().as_secs_f64() - setup) / samples.len() as f64;
            let part = part.map(|p| p.as_secs_f64());
            let more = plan::another(&cost, samples.len(), part, Instant::now() > due);
            if !more || crate::stop::asked() {
                break;
            }
        }
        drop(worker);
        watch.pause();
        cost.spent = start.elapsed().as_secs_f64();
        let (launches, taint) = (vec![0; samples.len()], watch.finish(0));
        let spec = spec.clone();
        let b = Benchmark { schema: SCHEMA, spec, samples, iterations, launches, checksum, taint };
        Ok((b, Source { chunks, cost, watch }))
    }

    /// Further launches of those that the budget has time for. Shares are made anew for each round of launches, because costs are
    /// only known by and by.
    fn again(&mut self, budget: Duration) -> Result<(), String> {
        let mut saved = Instant::now();
        for round in 1..plan::LAUNCHES {
            let left = budget.as_secs_f64() - self.start.elapsed().as_secs_f64();
            let costs: Vec<Cost> = self.sources.iter().map(|s| s.cost).collect();
            let shares = plan::share(&costs, left);
            let taken = shares.iter().filter(|s| s.launches > 0).count();
            if taken == 0 || crate::stop::asked() {
                break;
            }
            self.progress(&format!("launch number {} for {taken} of them, {left:.0} s left", round + 1));
            let mut failed = Vec::new();
            for (i, share) in shares.iter().enumerate().filter(|s| s.1.launches > 0) {
                let planned = self.sources[i].cost.launch(share.samples);
                let over = self.start.elapsed().as_secs_f64() + planned > budget.as_secs_f64() * 1.05;
                if crate::stop::asked() || over {
                    continue;
                }
                if let Err(e) = self.further(i, *share, planned) {
                    failed.push((i, failure(&self.recording.benchmarks[i].spec, e.kind, e.detail)));
                }
                if saved.elapsed() > KEEP {
                    self.journal.replace(&self.recording)?;
                    saved = Instant::now();
                }
            }
            for (i, f) in failed.into_iter().rev() {
                // What crashes sometimes has no number.
                self.recording.benchmarks.remove(i);
                self.sources.remove(i);
                self.failed(f);
            }
            self.journal.replace(&self.recording)?;
        }
        Ok(())
    }

    /// One more launch of benchmark `i`.
    fn further(&mut self, i: usize, share: Share, planned: f64) -> Result<(), WorkerError> {
        let start = Instant::now();
        self.sources[i].watch.resume();
        let mut worker = self.worker(&self.recording.benchmarks[i].spec)?;
        let (b, source) = (&mut self.recording.benchmarks[i], &mut self.sources[i]);
        if b.spec.unit != Unit::Bytes {
            worker.run(1, b.iterations)?;
        }
        let setup = start.elapsed().as_secs_f64();
        let mut taken = 0;
        while taken == 0 || (taken < share.samples && start.elapsed().as_secs_f64() < PATIENCE * planned) {
            b.samples.push(sample(&mut worker, source.chunks, b.iterations)?);
            b.launches.push(source.cost.launches);
            taken += 1;
            if crate::stop::asked() {
                break;
            }
        }
        drop(worker);
        let spent = start.elapsed().as_secs_f64();
        let Cost { spent: before, launches, .. } = source.cost;
        let sample = (spent - setup) / taken as f64;
        source.cost = Cost { setup, sample, spent: before + spent, launches: launches + 1 };
        source.watch.pause();
        b.taint = source.watch.finish(0);
        Ok(())
    }

    fn worker(&self, spec: &Spec) -> Result<Worker, WorkerError> {
        let (mut worker, _) = Worker::start(self.launch, self.options.pin, self.options.timeout)?;
        worker.prepare(&spec.name)?;
        Ok(worker)
    }

    fn failed(&mut self, f: Failure) {
        if f.reason != FailureKind::Skipped {
            self.progress(&format!("{}: {}", f.name, f.detail));
        }
        self.recording.failures.push(f);
    }

    fn progress(&self, text: &str) {
        if self.options.progress {
            eprintln!("{text}");
        }
    }

    /// All figures once more, now that they are final, and where the time went.
    fn tell(&self, budget: Duration, once: Duration) {
        if self.sources.iter().any(|s| s.cost.launches > 1) {
            self.progress("\nof all launches:");
            self.recording.benchmarks.iter().for_each(|b| self.progress(&crate::print::benchmark(b)));
        }
        let took = self.start.elapsed().as_secs_f64();
        let launches: u32 = self.sources.iter().map(|s| s.cost.launches).sum();
        let mut text = format!("{took:.0} s, {launches} launches of {} benchmarks", self.sources.len());
        let (budget, once) = (budget.as_secs_f64(), once.as_secs_f64());
        let ends = |s: &Source| s.cost.spent / f64::from(s.cost.launches);
        let all = self.recording.benchmarks.iter().zip(&self.sources);
        let longest = all.max_by(|a, b| ends(a.1).total_cmp(&ends(b.1)));
        if let Some((b, s)) = longest.filter(|_| took > 1.15 * budget) {
            text += &format!(
                ": more than the budget of {budget:.0} s, because one launch of each took {once:.0} s, the longest {:.0} s ({})",
                ends(s),
                b.name()
            );
        }
        self.progress(&text);
    }
}

fn failure(spec: &Spec, reason: FailureKind, detail: String) -> Failure {
    Failure { schema: SCHEMA, name: spec.name.clone(), reason, detail }
}

/// The fastest chunk of a burst.
fn sample(worker: &mut Worker, chunks: u64, iterations: u64) -> Result<f64, WorkerError> {
    let burst = worker.run(chunks, iterations)?;
    Ok(burst.samples.iter().copied().fold(f64::INFINITY, f64::min))
}

/// Lines that have been finished.
struct Journal {
    file: std::fs::File,
    path: PathBuf,
}

impl Journal {
    fn new(path: &Path, header: &Header) -> Result<Journal, String> {
        let told = |e: std::io::Error| format!("cannot write {}: {e}", path.display());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(told)?;
        }
        let file = std::fs::File::create(path).map_err(told)?;
        let mut journal = Journal { file, path: path.to_owned() };
        journal.line(&Line::Header(Box::new(header.clone())))?;
        Ok(journal)
    }

    fn line(&mut self, line: &Line) -> Result<(), String> {
        let written = self.file.write_all((line.to_json() + "\n").as_bytes());
        written.map_err(|e| format!("cannot write {}: {e}", self.path.display()))
    }

    /// Everything anew, at once or not at all.
    fn replace(&mut self, recording: &Recording) -> Result<(), String> {
        crate::files::write(&self.path, &recording.to_lines())
    }
}
