//! What each command does. Each gives the exit code, or an error in one line and its code.

use crate::cli::{
    CalibrateArgs, CompareArgs, GateArgs, ListArgs, MemoryArgs, RecordArgs, SuiteArgs, WorkerArgs,
};
use crate::compare::{Options, Program, wanted};
use crate::judge::Rule;
use crate::print::say;
use crate::record::{Name, Recording};
use crate::samples::CommandSuite;
use crate::source::Workers;
use crate::suite::Suite;
use crate::suites::KingletSuite;
use crate::suites::end_to_end::{Case, Measure, What};
use crate::suites::memory;
use crate::{baseline, calibrate, exit, files, print, recorder, source, worker};
use kinglet_kernels::Tier;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// An error and its exit code.
pub type Failed = (u8, String);

fn usage(e: String) -> Failed {
    (exit::USAGE, e)
}

fn failure(e: String) -> Failed {
    (exit::FAILURE, e)
}

fn workers(suite: &str, args: &SuiteArgs, links: u8) -> Workers {
    let absolute = |p: &PathBuf| p.canonicalize().unwrap_or_else(|_| p.clone());
    let suite = if suite.ends_with(".toml") {
        absolute(&suite.into()).display().to_string()
    } else {
        suite.to_owned()
    };
    let model = args.model.as_ref().map(absolute);
    Workers { suite, model, links: links.into(), cache: source::cache(), inject: Vec::new() }
}

fn is_whole(suite: &str) -> bool {
    suite == "end_to_end"
}

/// `record`.
///
/// # Errors
/// In one line.
pub fn record(args: &RecordArgs) -> Result<u8, Failed> {
    let workers = workers(&args.suite, &args.suites, 1);
    let side = workers.resolve(&args.program).map_err(usage)?;
    let launch = side.launches.first().ok_or_else(|| usage("nothing to start".to_owned()))?;
    let (hello, _) = crate::compare::inspect(launch, args.run.timeout()).map_err(usage)?;
    let output = args.output.clone().unwrap_or_else(|| {
        let mut machine = crate::fingerprint::Fingerprint::of_this_machine();
        (machine.compiler, machine.flags) = (hello.compiler.clone(), hello.flags.clone());
        Path::new("bench/baselines").join(machine.id()).join(format!("{}.jsonl", hello.suite))
    });
    let options = recorder::Options {
        filter: args.suites.filter.clone(),
        pin: args.run.cpu(is_whole(&args.suite)),
        timeout: args.run.timeout(),
        budget: args.budget,
        roof: !args.no_roof,
        progress: true,
    };
    let partial = output.with_extension("partial.jsonl");
    crate::stop::listen();
    let recording = recorder::record(launch, &options, &partial).map_err(usage)?;
    // What was stopped early does not take the place of a whole baseline.
    let path = if recording.header.interrupted { output.with_extension("interrupted.jsonl") } else { output };
    files::write(&path, &recording.to_lines()).map_err(failure)?;
    let _ = std::fs::remove_file(&partial);
    say!("{}", print::summary(&recording));
    say!("written to {}", path.display());
    Ok(exit::of_recording(&recording, args.run.refuse_taint))
}

fn options(gate: &GateArgs) -> Options {
    let GateArgs { suite, suites, run, rule } = gate;
    let clock = || {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64)
    };
    Options {
        rule: Rule { min_effect: rule.min_effect, alpha: rule.alpha },
        budget: rule.budget,
        filter: suites.filter.clone(),
        pin: run.cpu(is_whole(suite)),
        timeout: run.timeout(),
        seed: rule.seed.unwrap_or_else(clock),
        progress: true,
    }
}

/// `compare`.
///
/// # Errors
/// In one line.
pub fn compare(args: &CompareArgs) -> Result<u8, Failed> {
    if args.a.ends_with(".jsonl") && args.b.ends_with(".jsonl") {
        return compare_recordings(args);
    }
    let workers = workers(&args.gate.suite, &args.gate.suites, args.gate.rule.links);
    let program =
        |text: &str| Ok(Program { name: text.to_owned(), side: workers.resolve(text).map_err(usage)? });
    let (a, b) = (program(&args.a)?, program(&args.b)?);
    let options = options(&args.gate);
    crate::stop::listen();
    eprintln!("seed {}", options.seed);
    let comparison = crate::compare::compare(&a, &b, &options).map_err(usage)?;
    if let Some(path) = &args.output {
        let text = serde_json::to_string_pretty(&comparison).map_err(|e| failure(e.to_string()))?;
        files::write(path, &(text + "\n")).map_err(failure)?;
    }
    say!("{}", print::comparison(&comparison));
    Ok(exit::of_comparison(&comparison, args.gate.run.refuse_taint))
}

fn compare_recordings(args: &CompareArgs) -> Result<u8, Failed> {
    let read = |p: &str| Recording::read(Path::new(p)).map_err(usage);
    let (a, b) = (read(&args.a)?, read(&args.b)?);
    let (mut rows, mut tainted) = (Vec::new(), false);
    if args.across_machines {
        for (title, mut part) in baseline::across(&a, &b, args.gate.rule.min_effect) {
            part.retain(|r| wanted(&args.gate.suites.filter, &r.name));
            say!("{title} (of machines that may be unlike)\n{}", baseline::table(&part));
            rows.extend(part);
        }
    } else {
        rows = baseline::compare(&a, &b, args.gate.rule.min_effect, &args.accept).map_err(usage)?;
        rows.retain(|r| wanted(&args.gate.suites.filter, &r.name));
        say!("{}", baseline::table(&rows));
    }
    for (side, r) in [("A", &a), ("B", &b)] {
        say!("{side}: {}, {}", r.header.time, print::summary(r));
        tainted |= !r.header.taint.is_empty();
    }
    say!("Recordings are of different times: `compare` of two programs is what proves a difference.");
    let slower = rows.iter().any(|r| r.verdict == crate::comparison::Verdict::Slower);
    let failed = exit::of_recording(&b, false);
    Ok(match failed {
        exit::WRONG_ANSWER | exit::CRASHED => failed,
        _ if args.gate.run.refuse_taint && tainted => exit::TAINTED,
        _ if slower => exit::REGRESSION,
        _ => exit::OK,
    })
}

/// `calibrate`.
///
/// # Errors
/// In one line.
pub fn calibrate(args: &CalibrateArgs) -> Result<u8, Failed> {
    // One link per side, and not the same: what A against A must not alarm at.
    let workers = workers(&args.gate.suite, &args.gate.suites, args.gate.rule.links);
    let options = options(&args.gate);
    let plan = calibrate::Plan {
        equal: args.runs as usize,
        injected: args.injected_runs as usize,
        replays: args.replays as usize,
    };
    crate::stop::listen();
    let runs = calibrate::live([&args.a, &args.b], &workers, &options, plan, &args.log).map_err(usage)?;
    if crate::stop::asked() {
        let (log, all) = (args.log.display(), plan.equal + plan.injected);
        eprintln!(
            "interrupted: {} of {all} runs are in {log}; the same command goes on from there",
            runs.len()
        );
        return Ok(exit::INTERRUPTED);
    }
    let rates = calibrate::rates(&runs, options.rule, plan.replays, options.seed);
    let text = calibrate::markdown(&rates, &runs);
    if let Some(path) = &args.markdown {
        files::write(path, &text).map_err(failure)?;
    }
    say!("{text}");
    Ok(exit::OK)
}

/// `list`.
///
/// # Errors
/// In one line.
pub fn list(args: &ListArgs) -> Result<u8, Failed> {
    let mut suite = KingletSuite::find(&args.suite, args.suites.model.clone()).map_err(usage)?;
    let entries: Vec<_> =
        suite.list().into_iter().filter(|e| wanted(&args.suites.filter, &e.spec.name)).collect();
    if !args.checksums {
        for e in entries {
            match e.skip {
                None => say!("{}", e.spec.name),
                Some(why) => say!("{}  (not here: {why})", e.spec.name),
            }
        }
        return Ok(exit::OK);
    }
    let fastest = Tier::usable().last().map_or("scalar", |t| t.name());
    let mut sums: BTreeMap<String, String> = BTreeMap::new();
    for e in entries.iter().filter(|e| e.skip.is_none()) {
        // All tiers give the same bits: the fastest one that the suite has is enough.
        let Some(name) = Name::parse(&e.spec.name) else { continue };
        let best = name.with_tier(fastest);
        let other = entries.iter().any(|o| o.spec.name == best);
        if name.tier != fastest && other {
            continue;
        }
        let sum = suite.prepare(&e.spec.name).and_then(|mut run| run.checksum());
        let sum = sum.map_err(|why| (exit::CRASHED, format!("{}: {why}", e.spec.name)))?;
        if let Some((without, _)) = e.spec.name.rsplit_once('.') {
            sums.insert(without.to_owned(), sum);
        }
    }
    sums.iter().for_each(|(name, sum)| say!("\"{name}\" = \"{sum}\""));
    Ok(exit::OK)
}

/// `worker`.
///
/// # Errors
/// In one line.
pub fn worker(args: &WorkerArgs) -> Result<u8, Failed> {
    let version = env!("CARGO_PKG_VERSION");
    let mut suite: Box<dyn Suite> = match &args.samples {
        Some(command) => Box::new(CommandSuite::new(command).map_err(usage)?),
        None => Box::new(KingletSuite::find(&args.suite, args.model.clone()).map_err(usage)?),
    };
    let served = worker::serve(suite.as_mut(), version, source::revision(), &args.inject);
    served.map_err(|e| failure(e.to_string()))?;
    Ok(exit::OK)
}

/// `peak-memory`.
///
/// # Errors
/// In one line.
pub fn peak_memory(args: &MemoryArgs) -> Result<u8, Failed> {
    let MemoryArgs { model, tier, kv, threads, depth, batch } = args.clone();
    let measure = Measure { what: What::Resident, depth, batch };
    let peak = memory::of_this_process(&Case { path: model, tier, kv, threads, measure }).map_err(usage)?;
    say!("{}", serde_json::to_string(&peak).map_err(|e| failure(e.to_string()))?);
    Ok(exit::OK)
}
