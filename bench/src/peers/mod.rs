//! `kinglet-bench peers`: kinglet beside llama.cpp and candle on the same file, threads and tokens, in the same minutes.
//!
//! Each engine is a process that stays; they take turns, in an order that changes from round to round, so that a machine whose
//! speed drifts treats all alike. Figures are medians, ratios the median of the ratios of neighbours.

mod build;
mod gemm;
mod kernel;
mod ours;
mod roof;
mod table;
mod worker;

use crate::print::say;
use crate::tools::{Fail, code, put};
use build::Isa;
use kinglet::decoder::cache_bytes_read;
use kinglet::gguf::Gguf;
use kinglet::model::Model;
use kinglet::tokenizer::Tokenizer;
use kinglet_kernels::{KvType, Tier};
use roof::Roof;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use table::Row;
use worker::Worker;

/// Examples under `kinglet-bench peers --help`.
pub const EXAMPLES: &str = "\
  kinglet-bench peers smollm2:135m qwen2.5-coder:0.5b                 # pp512 and tg128 with one thread
  kinglet-bench peers smollm2:135m -t 1,2 -d 0,4096 -b 1,2,4,8,16     # threads, depths, batches
  kinglet-bench peers model.gguf --python avx2-venv --python native-venv   # builds that exist already
  kinglet-bench peers --kernels                                       # ggml's vec_dot and mul_mat beside ours
  kinglet-bench peers smollm2:135m --perplexity text

llama.cpp comes from PyPI's source package and is built twice, for AVX2 (on Arm: NEON) and for all that this CPU has without AMX;
candle is built for this CPU. All go into a cache and stay there. Close everything else before you believe a figure.";

/// Options of `kinglet-bench peers`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Files, or names that kinglet knows
    #[arg(value_name = "MODEL", required_unless_present_any = ["kernels", "serve", "serve_kernels"])]
    pub models: Vec<String>,
    /// Numbers of threads
    #[arg(short, long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub threads: Vec<u16>,
    /// Tokens of the pp test; 0 leaves it out
    #[arg(short, long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(0..=32768))]
    pub prompt: u32,
    /// Tokens of the tg test; 0 leaves it out
    #[arg(short = 'n', long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(0..=32768))]
    pub generate: u32,
    /// Tokens in the context before each test
    #[arg(short, long, value_delimiter = ',', default_value = "0", value_parser = clap::value_parser!(u32).range(0..=131_072))]
    pub depths: Vec<u32>,
    /// Also pp tests of these few tokens: products with so many columns
    #[arg(short, long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=512))]
    pub batches: Vec<u32>,
    /// Rounds of each test
    #[arg(short, long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeat: u32,
    /// A Python that has llama-cpp-python, instead of building it; may be repeated
    #[arg(long, value_name = "VENV")]
    pub python: Vec<PathBuf>,
    /// The program of bench/peers/candle, instead of building it
    #[arg(long, value_name = "FILE")]
    pub candle: Option<PathBuf>,
    /// Without candle
    #[arg(long, conflicts_with = "candle")]
    pub no_candle: bool,
    /// Use this tier instead of the one with the peer's instructions
    #[arg(long)]
    pub tier: Option<Tier>,
    /// Kernels instead of models
    #[arg(long, conflicts_with_all = ["perplexity", "models"])]
    pub kernels: bool,
    /// Perplexity of this text instead of speed
    #[arg(long, value_name = "FILE")]
    pub perplexity: Option<PathBuf>,
    /// Tokens that are generated to see whether all engines write the same
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=512))]
    pub check: u32,
    /// Seconds that an engine may take for one answer
    #[arg(long, default_value_t = 900)]
    pub timeout: u64,
    /// Write the table to a file too
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Write everything, with raw samples, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Where the sources are [default: here or above]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Answer requests on standard input
    #[arg(long, hide = true)]
    serve: Option<PathBuf>,
    /// Compare kernels with ggml's libraries in this folder
    #[arg(long, hide = true)]
    serve_kernels: Option<PathBuf>,
    /// Positions of the context
    #[arg(long, hide = true, default_value_t = 4096)]
    ctx: usize,
}

/// A build of llama.cpp.
struct Build {
    python: PathBuf,
    script: PathBuf,
}

/// What is printed and kept.
#[derive(Default)]
struct Output {
    text: String,
    rows: Vec<Row>,
    notes: Vec<String>,
    kernels: Vec<Value>,
}

impl Output {
    fn line(&mut self, line: &str) {
        say!("{line}");
        self.text += line;
        self.text.push('\n');
    }
    fn note(&mut self, note: String) {
        self.line(&format!("\n{note}\n"));
        self.notes.push(note);
    }
}

/// Runs the command.
///
/// # Errors
/// When a model or llama.cpp cannot be used. What candle cannot do is a remark.
pub fn run(args: &Args) -> Result<(), Fail> {
    let tier =
        || args.tier.map_or_else(|| Tier::choose().map_err(|e| Fail::new(code::INPUT, e.to_string())), Ok);
    if let Some(file) = &args.serve {
        let threads = usize::from(args.threads.first().copied().unwrap_or(1));
        return Ok(ours::serve(file, tier()?, threads, args.ctx)?);
    }
    if let Some(libraries) = &args.serve_kernels {
        return Ok(kernel::serve(libraries, tier()?, args.repeat as usize)?);
    }
    let root = crate::counts::root(args.root.as_deref())?;
    let input = |e: String| Fail::new(code::INPUT, e);
    let models = args.models.iter().map(|m| {
        kinglet::hub::resolve(m, &kinglet::hub::Stderr::default()).map_err(|e| input(e.to_string()))
    });
    let models = models.collect::<Result<Vec<_>, _>>()?;
    let script = root.join("bench/peers/llama.py");
    let pythons = match &args.python[..] {
        [] => vec![build::llama(Isa::Basic)?, build::llama(Isa::Native)?],
        given => given.iter().map(|p| if p.is_dir() { p.join("bin/python") } else { p.clone() }).collect(),
    };
    let builds: Vec<Build> =
        pythons.into_iter().map(|python| Build { python, script: script.clone() }).collect();
    let mut out = Output::default();
    if args.kernels {
        for build in &builds {
            kernels(args, build, &mut out)?;
        }
    } else {
        let candle = match &args.candle {
            _ if args.no_candle || args.perplexity.is_some() => None,
            Some(program) => Some(program.clone()),
            None => match build::candle(&root.join("bench/peers/candle")) {
                Ok(program) => Some(program),
                Err(why) => {
                    out.note(format!("Without candle: {why}"));
                    None
                }
            },
        };
        for model in &models {
            match &args.perplexity {
                Some(text) => perplexity(args, &builds, model, text, &mut out)?,
                None => speed(args, &builds, candle.as_deref(), model, &mut out)?,
            }
        }
    }
    if let Some(path) = &args.markdown {
        put(Some(path), &out.text)?;
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&table::to_json(&out.rows, &out.notes, &out.kernels));
        put(Some(path), &(text.map_err(|e| Fail::new(code::FAILURE, e))? + "\n"))?;
    }
    Ok(())
}

fn me() -> Result<Command, Fail> {
    let me = std::env::current_exe()
        .map_err(|e| Fail::new(code::FAILURE, format!("cannot find this program: {e}")))?;
    let mut command = Command::new(me);
    command.arg("peers");
    Ok(command)
}

/// Positions that all tests need.
fn n_ctx(args: &Args) -> usize {
    let depth = args.depths.iter().max().copied().unwrap_or(0);
    (depth + args.prompt.max(args.generate).max(512)) as usize
}

fn start_ours(args: &Args, file: &Path, tier: Tier, threads: u16) -> Result<Worker, Fail> {
    let mut command = me()?;
    command.arg("--serve").arg(file).args(["--tier", tier.name(), "-t", &threads.to_string()]);
    command.args(["--ctx", &n_ctx(args).to_string()]);
    Worker::start(&mut command, Duration::from_secs(args.timeout))
        .map_err(|e| Fail::new(code::FAILURE, format!("kinglet: {e}")))
}

fn start_llama(args: &Args, build: &Build, file: &Path, threads: u16) -> Result<Worker, Fail> {
    let mut command = Command::new(&build.python);
    command.arg(&build.script).arg(file).args([threads.to_string(), n_ctx(args).to_string()]);
    let shown = build.python.display();
    Worker::start(&mut command, Duration::from_secs(args.timeout))
        .map_err(|e| Fail::new(code::FAILURE, format!("llama.cpp of {shown}: {e}")))
}

/// The tier that the peer's instructions call for.
fn tier_beside(args: &Args, ready: &str) -> Result<Tier, Fail> {
    let found = args.tier.or_else(|| build::tier(ready));
    found.ok_or_else(|| {
        Fail::new(code::INPUT, format!("no tier of ours is like this llama.cpp ({ready}); use --tier"))
    })
}

fn name_of(file: &Path) -> String {
    file.file_stem().map_or_else(|| file.display().to_string(), |n| n.to_string_lossy().into_owned())
}

fn perplexity(args: &Args, builds: &[Build], file: &Path, text: &Path, out: &mut Output) -> Result<(), Fail> {
    let threads = args.threads.first().copied().unwrap_or(1);
    let failed = |who: &str, e: String| Fail::new(code::FAILURE, format!("{who}: {e}"));
    if out.text.is_empty() {
        out.line("| model | tier | kinglet | llama.cpp |\n|---|---|---:|---:|");
    }
    let request = format!("ppl {}", text.display());
    for build in builds {
        let mut llama = start_llama(args, build, file, threads)?;
        let tier = tier_beside(args, &llama.ready)?;
        let mut ours = start_ours(args, file, tier, threads)?;
        let a = ours.number(&request).map_err(|e| failed("kinglet", e))?;
        let b = llama.number(&request).map_err(|e| failed("llama.cpp", e))?;
        out.line(&format!("| {} | {tier} | {a:.4} | {b:.4} |", name_of(file)));
    }
    Ok(())
}

const PROMPT: &str = "The kinglet is the smallest bird of its forest, and";

fn speed(
    args: &Args,
    builds: &[Build],
    candle: Option<&Path>,
    file: &Path,
    out: &mut Output,
) -> Result<(), Fail> {
    let input = |e: String| Fail::new(code::INPUT, e);
    let gguf = Gguf::open(file).map_err(|e| input(e.to_string()))?;
    let model = Model::new(&gguf).map_err(|e| input(e.to_string()))?;
    let tokenizer = Tokenizer::from_gguf(&gguf).map_err(|e| input(e.to_string()))?;
    let ids: Vec<String> = tokenizer.encode(PROMPT, true, false).iter().map(u32::to_string).collect();
    let greedy = format!("greedy {} {}", args.check, ids.join(" "));
    let buffer = roof::buffer();
    for build in builds {
        for &threads in &args.threads {
            let llama = start_llama(args, build, file, threads)?;
            let tier = tier_beside(args, &llama.ready)?;
            let mut peers = vec![(llama.ready.split(" | ").next().unwrap_or("llama.cpp").to_owned(), llama)];
            let mut absent = Vec::new();
            if let Some(program) = candle {
                let mut command = Command::new(program);
                command.arg(file).env("RAYON_NUM_THREADS", threads.to_string());
                match Worker::start(&mut command, Duration::from_secs(args.timeout)) {
                    Ok(worker) => peers.push((worker.ready.clone(), worker)),
                    Err(why) => absent.push(("candle".to_owned(), why)),
                }
            }
            let mut ours = start_ours(args, file, tier, threads)?;
            // First the text: an engine that computes something else need not be raced.
            let texts = check(&greedy, &tokenizer, &mut ours, &mut peers, &mut absent)?;
            out.note(format!(
                "**{}**, {tier}, {threads} thread{}. {texts}",
                name_of(file),
                if threads == 1 { "" } else { "s" }
            ));
            let names: Vec<String> = peers.iter().map(|p| p.0.clone()).collect();
            out.line(&table::head(&names));
            let mut roof = Roof::new(&gguf, &buffer, threads.into());
            for test in tests(args) {
                let (n, depth) = (test.tokens, test.depth);
                let request = format!("{} {n} {depth}", if test.at_once { "pp" } else { "tg" });
                let mut row = measure(args, &request, &mut ours, &mut peers, &mut roof)?;
                row.model = name_of(file);
                (row.tier, row.threads, row.test, row.tokens) =
                    (tier.to_string(), threads.into(), test.name(), n as usize);
                // A few columns read the weights once, a generated token each time, a long prompt is bound by arithmetic.
                let reads = if !test.at_once { u64::from(n) } else { u64::from(n <= 16) };
                let cache =
                    |i: u64| cache_bytes_read(&model.spec, KvType::F16, depth as usize + i as usize) as u64;
                row.bytes = reads * model.bytes_per_token() as u64 + (0..reads).map(cache).sum::<u64>();
                out.line(&table::line(&row));
                for (name, why) in row.peers.iter().filter_map(|(name, r)| Some((name, r.as_ref().err()?))) {
                    out.notes.push(format!("{name}, {}: {why}", row.test));
                    eprintln!("{name}, {}: {why}", row.test);
                }
                out.rows.push(row);
            }
        }
    }
    Ok(())
}

/// One test.
struct Test {
    at_once: bool,
    tokens: u32,
    depth: u32,
}

impl Test {
    fn name(&self) -> String {
        let depth = if self.depth > 0 { format!(" @ d{}", self.depth) } else { String::new() };
        format!("{}{}{depth}", if self.at_once { "pp" } else { "tg" }, self.tokens)
    }
}

/// Depth after depth: a context is read once.
fn tests(args: &Args) -> Vec<Test> {
    let mut tests = Vec::new();
    for &depth in &args.depths {
        let sizes = [(true, args.prompt), (false, args.generate)];
        let few = args.batches.iter().map(|n| (true, *n));
        let all = sizes.into_iter().chain(few).filter(|t| t.1 > 0);
        tests.extend(all.map(|(at_once, tokens)| Test { at_once, tokens, depth }));
    }
    tests
}

/// Whether all engines continue a text alike; a peer that cannot is taken out.
fn check(
    request: &str,
    tokenizer: &Tokenizer,
    ours: &mut Worker,
    peers: &mut Vec<(String, Worker)>,
    absent: &mut Vec<(String, String)>,
) -> Result<String, Fail> {
    let answer = ours.ask(request).map_err(|e| Fail::new(code::FAILURE, format!("kinglet: {e}")))?;
    let ours: Vec<&str> = answer.split_whitespace().collect();
    let word = |id: Option<&str>| {
        let id = id.and_then(|i| i.parse().ok());
        id.map_or(String::new(), |id| format!("{:?}", tokenizer.decode(&[id], true)))
    };
    let (mut said, mut kept) = (Vec::new(), Vec::new());
    for (name, mut worker) in std::mem::take(peers) {
        match worker.ask(request) {
            Ok(text) => {
                let theirs: Vec<&str> = text.split_whitespace().collect();
                let n = ours.len();
                let same = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
                said.push(if same == n {
                    format!("{name} writes the same {n} tokens.")
                } else {
                    let (a, b) = (word(ours.get(same).copied()), word(theirs.get(same).copied()));
                    format!("{name} differs at token {} of {n}: {b} where kinglet has {a}.", same + 1)
                });
                kept.push((name, worker));
            }
            Err(why) => absent.push((name, why)),
        }
    }
    *peers = kept;
    said.extend(absent.iter().map(|(name, why)| format!("{name} cannot run this file: {why}.")));
    Ok(said.join(" "))
}

/// Rounds of one request, everyone in turn.
fn measure(
    args: &Args,
    request: &str,
    ours: &mut Worker,
    peers: &mut [(String, Worker)],
    roof: &mut Roof<'_>,
) -> Result<Row, Fail> {
    let told = |e: String| Fail::new(code::FAILURE, format!("kinglet, {request}: {e}"));
    // Once without counting: caches and pages are warm, and contexts are read.
    ours.number(request).map_err(told)?;
    let mut results: Vec<Result<Vec<f64>, String>> =
        peers.iter_mut().map(|(_, p)| p.number(request).map(|_| Vec::new())).collect();
    let mut own = Vec::new();
    (roof.mapped, roof.memory) = (0.0, 0.0);
    for round in 0..args.repeat {
        roof.sample();
        // Who begins changes, so that nobody always runs behind the same one.
        let n = peers.len() + 1;
        for turn in 0..n {
            match (turn + round as usize) % n {
                0 => own.push(ours.number(request).map_err(told)?),
                i => {
                    let (peer, result) = (&mut peers[i - 1].1, &mut results[i - 1]);
                    if let Ok(samples) = result {
                        match peer.number(request) {
                            Ok(seconds) => samples.push(seconds),
                            Err(why) => *result = Err(why),
                        }
                    }
                }
            }
        }
    }
    let (model, tier, test) = (String::new(), String::new(), String::new());
    let peers = peers.iter().map(|p| p.0.clone()).zip(results).collect();
    let roof = (roof.mapped, roof.memory);
    Ok(Row { model, tier, threads: 0, test, tokens: 0, bytes: 0, ours: own, peers, roof })
}

/// Kernels beside those of one build, in a process of its own: two builds have the same symbols.
fn kernels(args: &Args, build: &Build, out: &mut Output) -> Result<(), Fail> {
    let script = "import os, llama_cpp as L; print(L.__version__, os.path.join(os.path.dirname(L.__file__), 'lib'), \
                  L.llama_print_system_info().decode(), sep='\\n')";
    let shown = build.python.display();
    let asked = Command::new(&build.python).args(["-c", script]).output();
    let asked = asked.map_err(|e| Fail::new(code::INPUT, format!("cannot start {shown}: {e}")))?;
    let text = String::from_utf8_lossy(&asked.stdout);
    let mut lines = text.lines();
    let (Some(version), Some(libraries), Some(info)) = (lines.next(), lines.next(), lines.next()) else {
        return Err(Fail::new(code::INPUT, format!("{shown} has no llama-cpp-python")));
    };
    let tier = tier_beside(args, info)?;
    let mut command = me()?;
    command.args([
        "--serve-kernels",
        libraries,
        "--tier",
        tier.name(),
        "--repeat",
        &args.repeat.max(9).to_string(),
    ]);
    let done =
        command.output().map_err(|e| Fail::new(code::FAILURE, format!("cannot start this program: {e}")))?;
    if !done.status.success() {
        let why = String::from_utf8_lossy(&done.stderr);
        return Err(Fail::new(
            code::FAILURE,
            format!("kernels of {shown}: {}", why.lines().last().unwrap_or("no message")),
        ));
    }
    out.note(format!(
        "ggml of llama.cpp {version}, weights in L2, one thread; {tier} beside it. One column: `vec_dot`. 64 columns: `mul_mat`, with \
         quantization of activations on both sides."
    ));
    out.line(
        "| format | one column, kinglet GB/s | ggml | ratio | largest difference | 64 columns, kinglet Gmadd/s | ggml | ratio | largest difference |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|",
    );
    for line in String::from_utf8_lossy(&done.stdout).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let numbers: Option<Vec<f64>> =
            words.get(1..).and_then(|w| w.iter().map(|w| w.parse().ok()).collect());
        match numbers.as_deref() {
            Some([ours, theirs, ratio, apart, many, their_many, many_ratio, many_apart]) => {
                out.line(&format!(
                    "| {} | {ours:.1} | {theirs:.1} | {ratio:.2} | {:.2} % | {many:.1} | {their_many:.1} | {many_ratio:.2} | {:.2} % |",
                    words[0],
                    apart * 100.0,
                    many_apart * 100.0
                ));
                out.kernels.push(json!({
                    "tier": tier.name(), "format": words[0], "kinglet_gb_per_s": ours, "ggml_gb_per_s": theirs, "ratio": ratio,
                    "difference": apart, "kinglet_gmadd_per_s": many, "ggml_gmadd_per_s": their_many, "ratio_64": many_ratio,
                    "difference_64": many_apart,
                }));
            }
            _ => out.line(&format!(
                "| {} | | | | {} | | | | |",
                words[0],
                line.split_once(' ').map_or("", |l| l.1)
            )),
        }
    }
    Ok(())
}
