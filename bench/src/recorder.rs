//! `record`: measures every benchmark of a program, and keeps what has been measured whatever happens.

use crate::client::{Launch, Worker, WorkerError};
use crate::compare::{inspect, wanted};
use crate::fingerprint::Fingerprint;
use crate::pair::fit;
use crate::record::{Benchmark, Failure, FailureKind, Header, Line, Recording, Roof, SCHEMA, Spec};
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
    /// Time for all of it; without one every benchmark gets a second.
    pub budget: Option<Duration>,
    /// Whether to measure the roof, which takes some seconds.
    pub roof: bool,
    /// Whether to tell of progress on standard error.
    pub progress: bool,
}

/// Fresh processes per benchmark: each has its own memory layout.
const LAUNCHES: u32 = 5;
/// Samples of each process at most.
const SAMPLES: usize = 20;
/// Time per benchmark without a budget.
const SLICE: Duration = Duration::from_secs(1);
/// Time of one sample at least, where an iteration is shorter.
const SAMPLE: Duration = Duration::from_millis(4);

/// Records a suite. Every finished line is appended to `partial`, so that not even a power cut loses more than one benchmark; the
/// caller writes the whole recording and removes it.
///
/// # Errors
/// When the worker cannot be started, or nothing fits the filter.
pub fn record(launch: &Launch, options: &Options, partial: &Path) -> Result<Recording, String> {
    let (hello, list) = inspect(launch, options.timeout)?;
    let list: Vec<_> = list.into_iter().filter(|e| wanted(&options.filter, &e.spec.name)).collect();
    if list.is_empty() {
        return Err(format!(
            "suite `{}` has no benchmark whose name contains {}",
            hello.suite,
            options.filter.join(" or ")
        ));
    }
    let (watch, start) = (Watch::start(), Instant::now());
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
    let mut journal = Journal::new(partial, &header)?;
    let mut recording = Recording { header, benchmarks: Vec::new(), failures: Vec::new() };
    let runnable = list.iter().filter(|e| e.skip.is_none()).count().max(1);
    let slice = options.budget.map_or(SLICE, |b| b.saturating_sub(start.elapsed()) / runnable as u32);
    for entry in list {
        if crate::stop::asked() {
            break;
        }
        let result = match entry.skip {
            Some(why) => Err(failure(&entry.spec, FailureKind::Skipped, why)),
            None => benchmark(launch, &entry.spec, options, slice),
        };
        match result {
            Ok(b) => {
                if options.progress {
                    eprintln!("{}", crate::print::benchmark(&b));
                }
                journal.line(&Line::Benchmark(Box::new(b.clone())))?;
                recording.benchmarks.push(b);
            }
            Err(f) => {
                if options.progress && f.reason != FailureKind::Skipped {
                    eprintln!("{}: {}", f.name, f.detail);
                }
                journal.line(&Line::Failure(f.clone()))?;
                recording.failures.push(f);
            }
        }
    }
    recording.header.taint = watch.finish(0);
    recording.header.interrupted = crate::stop::asked();
    Ok(recording)
}

fn failure(spec: &Spec, reason: FailureKind, detail: String) -> Failure {
    Failure { schema: SCHEMA, name: spec.name.clone(), reason, detail }
}

/// One benchmark in several fresh processes.
fn benchmark(launch: &Launch, spec: &Spec, options: &Options, slice: Duration) -> Result<Benchmark, Failure> {
    let watch = Watch::start();
    let told = |e: WorkerError| failure(spec, e.kind, e.detail);
    let (mut samples, mut launches, mut checksum) = (Vec::new(), Vec::new(), String::new());
    let (mut chunks, mut iterations) = (0, 0);
    let start = Instant::now();
    for number in 0..LAUNCHES {
        let (mut worker, _) = Worker::start(launch, options.pin, options.timeout).map_err(told)?;
        worker.prepare(&spec.name).map_err(told)?;
        if number == 0 {
            checksum = worker.checksum().map_err(told)?;
            match &spec.expected {
                Some(expected) if *expected != checksum => {
                    let what = format!("the answer's checksum is {checksum} where {expected} is expected");
                    return Err(failure(spec, FailureKind::WrongAnswer, what));
                }
                _ => {}
            }
            (chunks, iterations) = fit(&mut worker, SAMPLE).map_err(told)?;
        }
        worker.run(1, iterations).map_err(told)?;
        for _ in 0..SAMPLES {
            let burst = worker.run(chunks, iterations).map_err(told)?;
            samples.push(burst.samples.iter().copied().fold(f64::INFINITY, f64::min));
            launches.push(number);
            let used = start.elapsed().as_secs_f64() / slice.as_secs_f64().max(1e-9);
            if used >= f64::from(number + 1) / f64::from(LAUNCHES) || crate::stop::asked() {
                break;
            }
        }
        // Long ones take fewer processes rather than many times their share.
        if crate::stop::asked() || (start.elapsed() > slice && samples.len() >= 3) {
            break;
        }
    }
    let taint = watch.finish(0);
    Ok(Benchmark { schema: SCHEMA, spec: spec.clone(), samples, iterations, launches, checksum, taint })
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
}
