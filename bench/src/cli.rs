//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Benchmarks that catch a slowdown on any architecture, and do not cry wolf.
#[derive(Debug, Parser)]
#[command(name = "kinglet-bench", version, after_help = crate::exit::HELP, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure a suite and keep it as a baseline of this machine
    #[command(after_help = RECORD)]
    Record(RecordArgs),
    /// Compare two programs or git revisions, interleaved; or two recordings
    #[command(after_help = COMPARE)]
    Compare(CompareArgs),
    /// Find out how often `compare` is wrong on this machine
    #[command(after_help = CALIBRATE)]
    Calibrate(CalibrateArgs),
    /// Show what a suite has, and what of it can run here
    #[command(after_help = LIST)]
    List(ListArgs),
    /// Run benchmarks on request (what the other commands start)
    #[command(hide = true)]
    Worker(WorkerArgs),
    /// Decode with a model and tell the largest memory (what workers start)
    #[command(hide = true)]
    PeakMemory(MemoryArgs),
    /// Counts, peers, reports, history.
    #[command(flatten)]
    Tool(crate::tools::Tool),
}

const RECORD: &str = "\
Examples:
  kinglet-bench record gate                      # into bench/baselines/<machine>/gate.jsonl
  kinglet-bench record kernels --filter q4_k     # only names that contain q4_k
  kinglet-bench record end_to_end --model qwen2.5-coder-0.5b.gguf
  kinglet-bench record --program 'samples:./my_benchmark' --output mine.jsonl";
const COMPARE: &str = "\
A and B are each a git revision (built once into a cache), WORKTREE, a program, `cmd:COMMAND` (any worker) or
`samples:COMMAND` (any program that prints lines NAME NUMBER [UNIT]); or both are recordings (.jsonl).

Examples:
  kinglet-bench compare main WORKTREE            # what a change does
  kinglet-bench compare v0.1.0 HEAD --filter avx2 --min-effect 3
  kinglet-bench compare old/kinglet-bench new/kinglet-bench --budget 60
  kinglet-bench compare samples:./before samples:./after
  kinglet-bench compare pi4/gate.jsonl pi5/gate.jsonl --across-machines";
const CALIBRATE: &str = "\
Example (about an hour; Ctrl-C and the same command again continue from the log):
  kinglet-bench calibrate HEAD HEAD --runs 24 --injected-runs 12 --log calibration.jsonl --markdown bench/log/calibration.md";
const LIST: &str = "\
Examples:
  kinglet-bench list
  kinglet-bench list kernels --filter gemv.avx2
  kinglet-bench list operations --checksums      # the answers, as they belong into suites/checksums.toml";

/// Which suite, and of what.
#[derive(Debug, Clone, Args)]
pub struct SuiteArgs {
    /// The model file of whole-model benchmarks
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Only benchmarks whose name contains TEXT; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub filter: Vec<String>,
}

/// How workers are run.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// CPU to run on: a number, `none`, or `auto`, which is the last allowed one but none for whole models
    #[arg(long, value_name = "CPU", default_value = "auto", value_parser = pin)]
    pub pin: Pin,
    /// Seconds that a worker may take for one answer
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Exit with 5 whenever the machine was disturbed
    #[arg(long)]
    pub refuse_taint: bool,
}

/// A CPU, or the choice of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// The last allowed one; none where threads are measured.
    Auto,
    /// No pinning.
    None,
    /// This one.
    Cpu(usize),
}

fn pin(text: &str) -> Result<Pin, String> {
    match text {
        "auto" => Ok(Pin::Auto),
        "none" => Ok(Pin::None),
        n => {
            let cpu: usize = n.parse().map_err(|_| "write a number, `auto` or `none`".to_owned())?;
            let allowed = crate::pin::allowed();
            if !allowed.is_empty() && !allowed.contains(&cpu) {
                return Err(format!("this process may not run on CPU {cpu}; it may on {allowed:?}"));
            }
            Ok(Pin::Cpu(cpu))
        }
    }
}

impl RunArgs {
    /// The CPU to pin to, for a suite of whole models or another.
    pub fn cpu(&self, whole_models: bool) -> Option<usize> {
        match self.pin {
            Pin::Cpu(cpu) => Some(cpu),
            Pin::None => None,
            Pin::Auto if whole_models => None,
            // The first one tends to serve interrupts.
            Pin::Auto => crate::pin::allowed().last().copied(),
        }
    }

    /// The time for one answer.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

fn share(text: &str) -> Result<f64, String> {
    let percent: f64 = text
        .trim_end_matches('%')
        .trim()
        .parse()
        .map_err(|_| "write a number of percent, such as 2".to_owned())?;
    if (0.0..=100.0).contains(&percent) {
        Ok(percent / 100.0)
    } else {
        Err("between 0 and 100 percent".to_owned())
    }
}

fn alpha(text: &str) -> Result<f64, String> {
    let a = share(text)?;
    if a > 0.0 && a < 1.0 { Ok(a) } else { Err("above 0 and below 100 percent".to_owned()) }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let s: f64 = text.parse().map_err(|_| "write a number of seconds".to_owned())?;
    if (1.0..=604_800.0).contains(&s) {
        Ok(Duration::from_secs_f64(s))
    } else {
        Err("between 1 second and a week".to_owned())
    }
}

/// Options of `record`.
#[derive(Debug, Clone, Args)]
pub struct RecordArgs {
    /// A suite: gate, kernels, operations, end_to_end, or a .toml file
    #[arg(default_value = "gate")]
    pub suite: String,
    /// Which benchmarks.
    #[command(flatten)]
    pub suites: SuiteArgs,
    /// How they are run.
    #[command(flatten)]
    pub run: RunArgs,
    /// The program to measure, as in `compare`; this one by default
    #[arg(long, value_name = "PROGRAM", default_value = "self")]
    pub program: String,
    /// Seconds for everything; by default one per benchmark, or what two launches of each take
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub budget: Option<Duration>,
    /// Where to write; `bench/baselines/MACHINE/SUITE.jsonl` by default
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Do not measure the machine's roof
    #[arg(long)]
    pub no_roof: bool,
}

/// When `compare` gives a verdict.
#[derive(Debug, Clone, Args)]
pub struct RuleArgs {
    /// Differences up to so many percent do not count
    #[arg(long, value_name = "PERCENT", default_value = "2", value_parser = share, allow_negative_numbers = true)]
    pub min_effect: f64,
    /// Chance of any false verdict in a suite run, in percent
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = alpha)]
    pub alpha: f64,
    /// Seconds for one comparison, without building
    #[arg(long, value_name = "SECONDS", default_value = "180", value_parser = seconds)]
    pub budget: Duration,
    /// Links of each revision, every one with its functions in another order
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub links: u8,
    /// Seed of orders; from the clock by default
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// Options of everything that compares two programs.
#[derive(Debug, Clone, Args)]
pub struct GateArgs {
    /// A suite: gate, kernels, operations, end_to_end, or a .toml file
    #[arg(long, default_value = "gate")]
    pub suite: String,
    /// Which benchmarks.
    #[command(flatten)]
    pub suites: SuiteArgs,
    /// How they are run.
    #[command(flatten)]
    pub run: RunArgs,
    /// When there is a verdict.
    #[command(flatten)]
    pub rule: RuleArgs,
}

/// Options of `compare`.
#[derive(Debug, Clone, Args)]
pub struct CompareArgs {
    /// What B is compared with
    pub a: String,
    /// What is judged
    pub b: String,
    /// What is judged, and when.
    #[command(flatten)]
    pub gate: GateArgs,
    /// Write the result as JSON
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Recordings: compare unlike machines by speed-up over scalar and share of the roof
    #[arg(long)]
    pub across_machines: bool,
    /// Recordings: a difference of machines to ignore (compiler, kernel, …); may be repeated
    #[arg(long, value_name = "FIELD")]
    pub accept: Vec<String>,
}

/// Options of `calibrate`.
#[derive(Debug, Clone, Args)]
pub struct CalibrateArgs {
    /// What is compared, as in `compare`
    #[arg(default_value = "self")]
    pub a: String,
    /// The same once more, best linked separately
    #[arg(default_value = "self")]
    pub b: String,
    /// What is judged, and when.
    #[command(flatten)]
    pub gate: GateArgs,
    /// Live runs of A against A
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub runs: u32,
    /// Live runs with delays of 1, 2, 3, 5 and 10 %
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub injected_runs: u32,
    /// Replays of the recorded rounds for each rate
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub replays: u32,
    /// Keep runs here, and continue from what is there
    #[arg(long, value_name = "FILE", default_value = "calibration.jsonl")]
    pub log: PathBuf,
    /// Write the result as Markdown
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
}

/// Options of `list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// A suite: gate, kernels, operations, end_to_end, or a .toml file
    #[arg(default_value = "gate")]
    pub suite: String,
    /// Which benchmarks.
    #[command(flatten)]
    pub suites: SuiteArgs,
    /// Run each once on the fastest tier and print checksums
    #[arg(long)]
    pub checksums: bool,
}

/// Options of `worker`.
#[derive(Debug, Clone, Args)]
pub struct WorkerArgs {
    /// A suite
    #[arg(long, default_value = "gate")]
    pub suite: String,
    /// The model
    #[arg(long)]
    pub model: Option<PathBuf>,
    /// Sample this command and not a suite
    #[arg(long)]
    pub samples: Option<String>,
    /// Slow a benchmark down: NAME:PERCENT
    #[arg(long)]
    pub inject: Vec<crate::worker::Injection>,
}

/// Options of `peak-memory`.
#[derive(Debug, Clone, Args)]
pub struct MemoryArgs {
    /// The model
    #[arg(long)]
    pub model: PathBuf,
    /// Tier of the kernels
    #[arg(long)]
    pub tier: kinglet_kernels::Tier,
    /// Type of the cache
    #[arg(long)]
    pub kv: String,
    /// Threads
    #[arg(long)]
    pub threads: usize,
    /// Tokens before the prompt
    #[arg(long)]
    pub depth: usize,
    /// Tokens decoded at once at most
    #[arg(long)]
    pub batch: usize,
}
