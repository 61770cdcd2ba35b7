//! The worker's side of the protocol: runs a suite's benchmarks on request.

use crate::protocol::{Burst, Done, Hello, List, PROTOCOL, Reply, Sum};
use crate::record::Revision;
use crate::suite::{Run, Suite};
use serde::Serialize;
use std::io::{self, BufRead, Write};
use std::time::Instant;

/// A delay on purpose, to see whether it is found.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    /// The benchmark that is slowed down.
    pub name: String,
    /// By how many percent of its time.
    pub percent: f64,
}

impl std::str::FromStr for Injection {
    type Err = String;
    fn from_str(s: &str) -> Result<Injection, String> {
        let (name, percent) = s.rsplit_once(':').ok_or("write NAME:PERCENT")?;
        let percent: f64 = percent.parse().map_err(|_| format!("`{percent}` is no number of percent"))?;
        if !(0.0..=1000.0).contains(&percent) {
            return Err("between 0 and 1000 percent".to_owned());
        }
        Ok(Injection { name: name.to_owned(), percent })
    }
}

/// Makes any program a worker: serves `suite` until the input ends. `version` and `revision` are the program's own.
///
/// ```no_run
/// # use kinglet_bench::{record::Revision, suite::Suite, worker};
/// fn main_of_a_worker(suite: &mut dyn Suite) -> std::io::Result<()> {
///     worker::serve(suite, env!("CARGO_PKG_VERSION"), Revision::default(), &[])
/// }
/// ```
///
/// # Errors
/// When the standard streams fail.
pub fn serve(
    suite: &mut dyn Suite,
    version: &str,
    revision: Revision,
    injections: &[Injection],
) -> io::Result<()> {
    let hello = Hello {
        protocol: PROTOCOL,
        suite: suite.name().to_owned(),
        version: version.to_owned(),
        revision,
        compiler: env!("KINGLET_BENCH_RUSTC").to_owned(),
        flags: env!("KINGLET_BENCH_FLAGS").to_owned(),
    };
    talk(suite, &hello, injections, io::stdin().lock(), io::stdout().lock())
}

/// As [`serve`], over any streams.
///
/// # Errors
/// When the streams fail.
pub fn talk(
    suite: &mut dyn Suite,
    hello: &Hello,
    injections: &[Injection],
    input: impl BufRead,
    mut output: impl Write,
) -> io::Result<()> {
    let mut ready: Option<Ready> = None;
    for line in input.lines() {
        let line = line?;
        let (verb, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let text = match verb {
            "" => continue,
            "quit" => break,
            "hello" => reply(Ok(hello)),
            "list" => reply(Ok(&List { benchmarks: suite.list() })),
            "prepare" => {
                // Its memory goes first, so that two never have to fit.
                ready = None;
                drop(ready.take());
                let delay = injections.iter().find(|i| i.name == rest).map_or(0.0, |i| i.percent / 100.0);
                match suite.prepare(rest) {
                    Ok(run) => {
                        ready = Some(Ready { run, delay });
                        reply(Ok(&Done { ok: true }))
                    }
                    Err(e) => reply::<Done>(Err(e)),
                }
            }
            "run" => reply(with(&mut ready, |r| r.burst(rest)).as_ref().map_err(Clone::clone)),
            "checksum" => {
                let sum = with(&mut ready, |r| r.run.checksum()).map(|checksum| Sum { checksum });
                reply(sum.as_ref().map_err(Clone::clone))
            }
            other => reply::<Done>(Err(format!("unknown request `{other}`"))),
        };
        writeln!(output, "{text}")?;
        output.flush()?;
    }
    Ok(())
}

fn with<T>(ready: &mut Option<Ready>, f: impl FnOnce(&mut Ready) -> Result<T, String>) -> Result<T, String> {
    ready.as_mut().map_or_else(|| Err("nothing is prepared".to_owned()), f)
}

fn reply<T: Serialize>(result: Result<&T, String>) -> String {
    let reply = match result {
        Ok(value) => Reply::Ok(value),
        Err(error) => Reply::Error { error },
    };
    serde_json::to_string(&reply).unwrap_or_else(|e| format!("{{\"error\":\"{e}\"}}"))
}

struct Ready {
    run: Box<dyn Run>,
    /// Share of the time that is waited on top.
    delay: f64,
}

impl Ready {
    fn burst(&mut self, request: &str) -> Result<Burst, String> {
        let numbers: Option<Vec<u64>> = request.split_whitespace().map(|n| n.parse().ok()).collect();
        let (chunks, iterations) = match numbers.as_deref() {
            Some([c @ 1..=100_000, n @ 1..=u64::MAX]) => (*c, *n),
            _ => return Err(format!("`run {request}` is not `run CHUNKS ITERATIONS`")),
        };
        // The other program's data is in the caches, and the CPU may have slept.
        if iterations > 1 {
            self.run.run(1)?;
        }
        let before = interruptions();
        let mut samples = Vec::with_capacity(chunks as usize);
        for _ in 0..chunks {
            samples.push(self.chunk(iterations)? / iterations as f64);
        }
        Ok(Burst { samples, interrupted: interruptions().saturating_sub(before) })
    }

    fn chunk(&mut self, iterations: u64) -> Result<f64, String> {
        let start = Instant::now();
        let measured = self.run.run(iterations)?;
        let took = start.elapsed();
        match measured {
            Some(cost) => Ok(cost * (1.0 + self.delay)),
            None if self.delay == 0.0 => Ok(took.as_nanos() as f64),
            None => {
                let until = took.mul_f64(1.0 + self.delay);
                while start.elapsed() < until {
                    std::hint::spin_loop();
                }
                Ok(start.elapsed().as_nanos() as f64)
            }
        }
    }
}

/// How often the system has taken the CPU away from this process.
#[cfg(unix)]
fn interruptions() -> u64 {
    // SAFETY: all bit patterns of an `rusage` are valid, and getrusage writes nothing else.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    u64::try_from(usage.ru_nivcsw).unwrap_or(0)
}

#[cfg(not(unix))]
fn interruptions() -> u64 {
    0
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
