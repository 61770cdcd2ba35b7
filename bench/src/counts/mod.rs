//! `kinglet-bench counts`: executed instructions of every kernel, compared exactly with what is on record.
//!
//! Time on a shared machine cannot tell a change of 1 % from noise; the number of executed instructions repeats exactly, for
//! every architecture, in an emulator. It is not time: fewer instructions can be slower. But code that did not change keeps its
//! count, and a change that was not meant shows up with the kernel's name.

pub mod counters;
pub mod file;
mod step;

use crate::print::say;
use crate::tools::{Fail, code};
use counters::{Counter, Scratch, Uncounted};
use file::{Change, Compiler, Entries, Record};
use kinglet_kernels::Tier;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Examples under `kinglet-bench counts --help`.
pub const EXAMPLES: &str = "\
  kinglet-bench counts                                    # check this machine's architecture
  kinglet-bench counts --filter q4_k --tiers avx2         # a few kernels
  kinglet-bench counts --record                           # after a change that was meant
  kinglet-bench counts --arch aarch64                     # in an emulator (`ci/counts.sh aarch64` sets the compiler up)

Which counter: callgrind for scalar and avx2, QEMU with a plugin for every Arm tier, single steps by ptrace for avx_vnni and
avx512_vnni, which no emulator here knows: those need a CPU that has them.
Counts belong to a compiler: with one that is not on record, the exit code is 8 and nothing is compared.";

/// Options of `kinglet-bench counts`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Compare with the record and fail at every difference (the default)
    #[arg(long, conflicts_with = "record")]
    pub check: bool,
    /// Write what is counted into the record
    #[arg(long)]
    pub record: bool,
    /// Print every count
    #[arg(long)]
    pub list: bool,
    /// Tiers, separated by commas [default: all of the architecture]
    #[arg(long, value_delimiter = ',', value_name = "TIER")]
    pub tiers: Vec<Tier>,
    /// Only kernels whose names contain this
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub filter: String,
    /// The architecture of the kernels
    #[arg(long, default_value = std::env::consts::ARCH, value_parser = ["x86_64", "aarch64"])]
    pub arch: String,
    /// Who counts [default: what knows the tier, see below]
    #[arg(long)]
    pub counter: Option<Counter>,
    /// A counting program that is built already (kernels/examples/count.rs)
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
    /// Where the sources are [default: here or above]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// [`code::REGRESSION`] when a count differs, [`code::NO_RECORD`] when there is nothing to compare with.
pub fn run(args: &Args) -> Result<(), Fail> {
    let root = root(args.root.as_deref())?;
    let compiler = Compiler::of(&root)?;
    let path = compiler.file(&root.join("bench/counts"), &args.arch);
    let on_record = Record::read(&path).map_err(|e| Fail::new(code::INPUT, e))?;
    if !args.record && !args.list && on_record.is_none() {
        return Err(no_record(&compiler, &path, args));
    }
    let program = match &args.program {
        Some(program) => program.clone(),
        None => build(&root, &args.arch, None)?,
    };
    let now = count_all(args, &root, &program)?;
    if args.list {
        for ((kernel, counter), (shape, n)) in &now.entries {
            say!("{n:>12}  {kernel} ({shape}, {counter})");
        }
    }
    if args.record {
        return record(on_record, compiler, args, now, &path);
    }
    match on_record {
        Some(record) if record.compiler == compiler => check(&record, &now, args),
        _ if args.list => Ok(()),
        _ => Err(no_record(&compiler, &path, args)),
    }
}

/// What has been counted.
struct Counted {
    entries: Entries,
    counters: BTreeMap<String, String>,
    tiers: Vec<Tier>,
}

fn tiers(args: &Args) -> Vec<Tier> {
    let of = |t: &&Tier| t.arch().is_none_or(|arch| arch == args.arch);
    if args.tiers.is_empty() { Tier::ALL.iter().filter(of).copied().collect() } else { args.tiers.clone() }
}

fn count_all(args: &Args, root: &Path, program: &Path) -> Result<Counted, Fail> {
    let scratch = Scratch::new(root.join("bench/arm/instructions.c"))?;
    let mut all = Counted { entries: Entries::new(), counters: BTreeMap::new(), tiers: Vec::new() };
    for tier in tiers(args) {
        let counter = args.counter.unwrap_or_else(|| Counter::of(tier, &args.arch));
        let start = std::time::Instant::now();
        match counters::count(counter, program, &args.arch, tier, &args.filter, &scratch) {
            Ok(counts) => {
                let (n, name, took) = (counts.len(), counter.name(), start.elapsed().as_secs_f64());
                say!("{tier}: {n} kernels by {name} in {took:.1} s");
                let key = |kernel| (kernel, name.to_owned());
                all.entries.extend(counts.into_iter().map(|c| (key(c.kernel), (c.shape, c.instructions))));
                all.counters.insert(name.to_owned(), counter.version(&args.arch).unwrap_or_default());
                all.tiers.push(tier);
            }
            Err(Uncounted::NotHere(why)) => say!("NOT COUNTED: {tier}: {why}"),
            Err(Uncounted::Failed(why)) => return Err(Fail::new(code::FAILURE, why)),
        }
    }
    if all.entries.is_empty() {
        return Err(Fail::new(code::FAILURE, "no kernel could be counted here"));
    }
    Ok(all)
}

fn record(
    old: Option<Record>,
    compiler: Compiler,
    args: &Args,
    now: Counted,
    path: &Path,
) -> Result<(), Fail> {
    let matching = old.filter(|r| r.compiler == compiler);
    let (mut entries, mut counters) = matching.map(|r| (r.entries, r.counters)).unwrap_or_default();
    let differ = file::changes(&entries, &now.entries, |k, c| asked(args, &now, k, c));
    if !entries.is_empty() {
        print_changes(&differ);
    }
    entries.retain(|(kernel, counter), _| !asked(args, &now, kernel, counter));
    entries.extend(now.entries);
    counters.extend(now.counters);
    let record = Record { architecture: args.arch.clone(), compiler, counters, entries };
    record.write(path)?;
    say!("recorded {} counts in {}", record.entries.len(), path.display());
    Ok(())
}

/// Whether this run should have counted `kernel` by `counter`.
fn asked(args: &Args, now: &Counted, kernel: &str, counter: &str) -> bool {
    kernel.contains(&args.filter)
        && now.tiers.iter().any(|t| {
            let by = args.counter.unwrap_or_else(|| Counter::of(*t, &args.arch));
            kernel.rsplit('.').next() == Some(t.name()) && by.name() == counter
        })
}

fn check(old: &Record, now: &Counted, args: &Args) -> Result<(), Fail> {
    let found = file::changes(&old.entries, &now.entries, |k, c| asked(args, now, k, c));
    if found.is_empty() {
        say!("{} counts are those on record", now.entries.len());
        return Ok(());
    }
    print_changes(&found);
    for (name, version) in &now.counters {
        if let Some(was) = old.counters.get(name).filter(|was| *was != version) {
            say!("note: recorded with {was}, counted with {version}");
        }
    }
    let worst = &found[0].0.0;
    let what = format!(
        "{} of {} counts changed, the worst {worst}; if that was meant: kinglet-bench counts --record",
        found.len(),
        now.entries.len()
    );
    Err(Fail::new(code::REGRESSION, what))
}

fn print_changes(changes: &[((String, String), Change)]) {
    for ((kernel, counter), change) in changes {
        match change {
            Change::Count { old, new } => {
                let ratio = *new as f64 / (*old).max(1) as f64;
                say!("CHANGED {kernel} ({counter}): {old} -> {new} instructions, ratio {ratio:.4}");
            }
            Change::Shape { old, new } => {
                say!("CHANGED {kernel} ({counter}): now {new}, on record {old}")
            }
            Change::New(n) => say!("NEW {kernel} ({counter}): {n} instructions"),
            Change::Gone => say!("GONE {kernel} ({counter})"),
        }
    }
}

fn no_record(compiler: &Compiler, path: &Path, args: &Args) -> Fail {
    let flags = if compiler.flags.is_empty() {
        String::new()
    } else {
        format!(" with RUSTFLAGS `{}`", compiler.flags)
    };
    let what = format!(
        "no counts on record for {} code by {}{flags}; `kinglet-bench counts --record` writes {}",
        args.arch,
        compiler.version,
        path.display()
    );
    Fail::new(code::NO_RECORD, what)
}

/// The folder of the sources: the one given, or the nearest around the current one.
///
/// # Errors
/// When it holds no counting program.
pub fn root(given: Option<&Path>) -> Result<PathBuf, Fail> {
    const PROGRAM: &str = "kernels/examples/count.rs";
    let here = std::env::current_dir().unwrap_or_default();
    let found = match given {
        Some(dir) => Some(dir).filter(|d| d.join(PROGRAM).is_file()),
        None => here.ancestors().find(|d| d.join(PROGRAM).is_file()),
    };
    let shown = given.unwrap_or(&here).display();
    found
        .map(Path::to_owned)
        .ok_or_else(|| Fail::new(code::INPUT, format!("{shown} holds no {PROGRAM}; use --root")))
}

/// Builds the counting program of the sources in `root`, into `target` or where cargo builds.
pub(crate) fn build(root: &Path, arch: &str, target: Option<&Path>) -> Result<PathBuf, Fail> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(&cargo);
    // One example of the whole workspace: dependencies have the features that they have in `cargo test --workspace`, after which
    // the kernels are not built again.
    command.args(["build", "--release", "--workspace", "--example", "count"]);
    command.args(["--message-format", "json-render-diagnostics"]).current_dir(root);
    if let Some(target) = target {
        command.arg("--target-dir").arg(target);
    }
    if arch != std::env::consts::ARCH {
        command.args(["--target", &format!("{arch}-unknown-linux-gnu")]);
    }
    let out = command.stderr(std::process::Stdio::inherit()).output();
    let out = out.map_err(|e| Fail::new(code::FAILURE, format!("cannot start {cargo}: {e}")))?;
    if !out.status.success() {
        let advice =
            if arch == std::env::consts::ARCH { "" } else { "; `ci/counts.sh aarch64` sets up a compiler" };
        return Err(Fail::new(
            code::FAILURE,
            format!("the counting program does not build for {arch}{advice}"),
        ));
    }
    let messages = String::from_utf8_lossy(&out.stdout);
    let program = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "count")
            .then(|| message["executable"].as_str().map(PathBuf::from))
            .flatten()
    });
    program.ok_or_else(|| Fail::new(code::FAILURE, "cargo did not say where the counting program is"))
}
