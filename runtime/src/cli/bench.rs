//! `kinglet bench`: speed of prompt processing (pp) and generation (tg).

use super::CliError;
use super::engine::{self, Counts, Engine};
use super::options::{EngineArgs, MAX_CTX, ModelArg, Verbosity, positive};
use crate::decoder::{DecodeError, Session, Want};
use crate::model::Model;
use serde_json::json;
use std::io::Write;
use std::time::Instant;

/// Examples under `kinglet bench --help`.
pub const EXAMPLES: &str = "\
  kinglet bench smollm2:135m                               # pp512 and tg128
  kinglet bench smollm2:135m -p 0 -n 64 -t 2 -r 10         # generation only, two threads
  kinglet bench smollm2:135m -t 2 --threads-batch 4        # two threads for tg, four for pp
  KINGLET_TRACE=1 kinglet bench smollm2:135m -r 1          # and where the time goes
  kinglet bench smollm2:135m -d 4096 --ctx 8192            # both, behind a context of 4096 tokens
  kinglet bench smollm2:135m --json > today.json";

/// Options of `kinglet bench`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
    /// Prompt tokens of the pp test; 0 leaves it out
    #[arg(
        short = 'p', value_name = "N", default_value_t = 512,
        value_parser = clap::value_parser!(u32).range(0..=MAX_CTX), allow_negative_numbers = true
    )]
    pub prompt: u32,
    /// Generated tokens of the tg test; 0 leaves it out
    #[arg(
        short = 'n', value_name = "N", default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(0..=MAX_CTX), allow_negative_numbers = true
    )]
    pub generate: u32,
    /// Tokens already in the context when a test begins
    #[arg(
        short = 'd', long, value_name = "N", default_value_t = 0,
        value_parser = clap::value_parser!(u32).range(0..=MAX_CTX), allow_negative_numbers = true
    )]
    pub depth: u32,
    /// Repetitions
    #[arg(
        short = 'r', value_name = "N", default_value_t = 5, value_parser = positive::<10_000>(),
        allow_negative_numbers = true
    )]
    pub repeat: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How it is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// One test and its samples.
struct Test {
    /// As llama-bench names it: `pp512`, `tg128`.
    name: String,
    n_prompt: usize,
    n_gen: usize,
    /// Tokens per second of each repetition.
    samples: Vec<f64>,
}

impl Test {
    /// Threads that its tokens are computed with.
    fn threads(&self, engine: &Engine) -> usize {
        if self.n_prompt > 1 { engine.team.threads_batch() } else { engine.team.threads() }
    }

    fn mean(&self) -> f64 {
        self.samples.iter().sum::<f64>() / self.samples.len() as f64
    }

    fn deviation(&self) -> f64 {
        let mean = self.mean();
        let squares: f64 = self.samples.iter().map(|s| (s - mean) * (s - mean)).sum();
        let n = self.samples.len();
        if n < 2 { 0.0 } else { libm::sqrt(squares / (n - 1) as f64) }
    }
}

/// Runs the verb.
///
/// # Errors
/// When the model cannot be used or the tests do not fit its context.
pub fn run(args: &Args, verbosity: Verbosity) -> Result<(), CliError> {
    let kernels = engine::kernels(&args.engine)?;
    let gguf = engine::open(&args.model, verbosity)?;
    let model = Model::new(&gguf)?;
    let engine = Engine::new(kernels, &args.engine, &gguf, verbosity)?;
    let (longest, depth) = (args.prompt.max(args.generate) as usize, args.depth as usize);
    if longest == 0 {
        return Err(CliError::usage("nothing to measure: -p and -n are both 0"));
    }
    let longest = longest + depth;
    let mut session = engine::session(
        &model,
        &engine,
        &args.engine,
        Some(longest.min(model.spec.context_length)),
        verbosity,
    )?;
    // Before the context is computed, which takes as long as a test.
    let n_ctx = session.options().n_ctx;
    if longest > n_ctx {
        return Err(DecodeError::Context { wanted: longest, n_ctx }.into());
    }
    let token = |i: usize| (i * 7919 % model.spec.vocab_size) as u32;
    if depth > 0 {
        let context: Vec<u32> = (0..depth).map(token).collect();
        session.eval_with(&engine.team, &context, Want::Last, |_, _| {})?;
    }
    let mut tests = Vec::new();
    for (n_prompt, n_gen) in [(args.prompt as usize, 0), (0, args.generate as usize)] {
        if n_prompt + n_gen == 0 {
            continue;
        }
        let mut name = if n_prompt > 0 { format!("pp{n_prompt}") } else { format!("tg{n_gen}") };
        if depth > 0 {
            name += &format!(" @ d{depth}");
        }
        let mut test = Test { name, n_prompt, n_gen, samples: Vec::new() };
        // The first run warms caches and pages and is not counted.
        for i in 0..=args.repeat {
            let speed = measure(&mut session, &engine, token, depth, n_prompt, n_gen)?;
            if i > 0 {
                test.samples.push(speed);
            }
        }
        tests.push(test);
    }
    let text =
        if args.json { as_json(args, &engine, &model, &tests)? } else { as_table(&engine, &model, &tests) };
    writeln!(std::io::stdout().lock(), "{text}").map_err(|e| CliError::output(&e))?;
    if !args.json && !verbosity.quiet && engine.counts == Counts::Tuned {
        engine::note("threads are those that `kinglet tune` found");
    }
    Ok(())
}

/// Tokens per second of one run behind a context of `depth` tokens.
fn measure(
    session: &mut Session<'_>,
    engine: &Engine,
    token: impl Fn(usize) -> u32,
    depth: usize,
    n_prompt: usize,
    n_gen: usize,
) -> Result<f64, CliError> {
    session.rewind(depth);
    // A model with windows may have to decode the context again, which is not what is measured.
    session.eval_with(&engine.team, &[], Want::Nothing, |_, _| {})?;
    let start = Instant::now();
    if n_prompt > 0 {
        let prompt: Vec<u32> = (0..n_prompt).map(&token).collect();
        session.eval_with(&engine.team, &prompt, Want::Last, |_, _| {})?;
    }
    for i in 0..n_gen {
        session.eval(&engine.team, &[token(i)])?;
    }
    Ok((n_prompt + n_gen) as f64 / start.elapsed().as_secs_f64())
}

fn parameters(model: &Model<'_>) -> u64 {
    let of = |t: &crate::gguf::TensorInfo| t.shape.iter().product::<u64>();
    model.gguf.tensors().iter().map(of).sum()
}

fn size(model: &Model<'_>) -> u64 {
    model.gguf.tensors().iter().map(|t| t.bytes as u64).sum()
}

fn as_table(engine: &Engine, model: &Model<'_>, tests: &[Test]) -> String {
    let mut lines = vec![
        format!(
            "| {:<24} | {:>10} | {:>10} | {:<12} | {:>7} | {:>8} | {:>18} |",
            "model", "size", "params", "tier", "threads", "test", "t/s"
        ),
        format!(
            "| {:-<24} | {:->9}: | {:->9}: | {:-<12} | {:->6}: | {:->7}: | {:->17}: |",
            "", "", "", "", "", "", ""
        ),
    ];
    let name = model.gguf.string("general.name").ok().flatten().unwrap_or(&model.spec.architecture);
    let name: String = name.chars().filter(|c| !c.is_control() && *c != '|').take(24).collect();
    let mib = format!("{:.2} MiB", size(model) as f64 / 1048576.0);
    let params = format!("{:.2} M", parameters(model) as f64 / 1e6);
    for t in tests {
        let speed = format!("{:.2} ± {:.2}", t.mean(), t.deviation());
        let (tier, threads) = (engine.kernels.tier(), t.threads(engine));
        lines.push(format!(
            "| {name:<24} | {mib:>10} | {params:>10} | {tier:<12} | {threads:>7} | {:>8} | {speed:>18} |",
            t.name
        ));
    }
    lines.join("\n")
}

/// llama-bench's keys, so that its readers read ours.
fn as_json(args: &Args, engine: &Engine, model: &Model<'_>, tests: &[Test]) -> Result<String, CliError> {
    let records: Vec<_> = tests
        .iter()
        .map(|t| {
            let tokens = (t.n_prompt + t.n_gen) as f64;
            let ns: Vec<u64> = t.samples.iter().map(|s| (tokens / s * 1e9) as u64).collect();
            json!({
                "engine": "kinglet", "version": env!("CARGO_PKG_VERSION"),
                "model_filename": model.gguf.file(), "model_type": model.spec.architecture,
                "model_size": size(model), "model_n_params": parameters(model),
                "n_batch": args.engine.batch, "n_threads": t.threads(engine), "threads_from": engine.counts.name(), "tier": engine.kernels.tier().name(),
                "type_k": args.engine.kv.name(), "type_v": args.engine.kv.name(),
                "test": t.name, "n_prompt": t.n_prompt, "n_gen": t.n_gen, "n_depth": args.depth,
                "avg_ns": ns.iter().sum::<u64>() / ns.len().max(1) as u64,
                "avg_ts": t.mean(), "stddev_ts": t.deviation(), "samples_ns": ns, "samples_ts": t.samples,
            })
        })
        .collect();
    serde_json::to_string_pretty(&records).map_err(CliError::failure)
}
