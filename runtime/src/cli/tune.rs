//! `kinglet tune`: how many threads are best for a model on this machine.

use super::engine::{self, note};
use super::options::{EngineArgs, KvType, ModelArg, Verbosity, positive, tier};
use super::{CliError, Code, output};
use crate::decoder::{Session, Want};
use crate::machine::Cpus;
use crate::model::Model;
use crate::team::Team;
use crate::tuned::{Key, Tuned};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kinglet_kernels::Tier;
use serde_json::json;
use std::io::IsTerminal;
use std::time::Instant;

/// Examples under `kinglet tune --help`.
pub const EXAMPLES: &str = "\
  kinglet tune gemma3:270m                                 # measure, and remember
  kinglet tune ./model.gguf --max-threads 4 -r 9           # up to four threads, more careful
  taskset -c 0-3 kinglet tune ./model.gguf                 # for runs on these CPUs: they are remembered apart
  kinglet tune ./model.gguf --forget                       # back to the defaults";

/// Measures generation and prompt reading with each number of threads, the numbers taking turns so that a machine whose
/// speed drifts treats all alike, and remembers the best ones. `run`, `chat` and `bench` then use them, unless `--threads` says
/// otherwise; -v shows which are used and why.
///
/// Generation reads all weights for each token, and a few cores may use up what the memory can deliver: on a small board two
/// threads often beat four. Reading a prompt is arithmetic and wants every fast core. No number of threads changes a result.
/// Let nothing else run meanwhile. What is found holds for this kind of CPU, this number of usable CPUs, this tier and models of
/// this shape; measure again when one of them changes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
    /// Try no more threads than this [default: as many as can run at once]
    #[arg(long, value_name = "N", value_parser = positive::<1024>(), allow_negative_numbers = true)]
    pub max_threads: Option<u32>,
    /// Repetitions; the medians are compared
    #[arg(
        short = 'r', value_name = "N", default_value_t = 5, value_parser = positive::<1000>(),
        allow_negative_numbers = true
    )]
    pub repeat: u32,
    /// Measure with this kernel tier, for runs that use it
    #[arg(long, value_name = "TIER", value_parser = tier)]
    pub tier: Option<Tier>,
    /// Memory that may be used, such as 2G
    #[arg(long, value_name = "SIZE", value_parser = crate::memory::parse_size)]
    pub mem: Option<u64>,
    /// Forget what was found for this model here
    #[arg(long)]
    pub forget: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Fewer threads are preferred when they reach this share of the best speed: the others are free for something else.
const GOOD_ENOUGH: f64 = 0.97;
/// Tokens of a prompt, and of a generated text at most.
const PROMPT: usize = 256;
const GENERATE: usize = 32;
/// Seconds of one sample of generation, about.
const SAMPLE: f64 = 0.25;

/// A number of threads and its speeds in tokens per second.
struct Candidate {
    threads: usize,
    decode: Vec<f64>,
    prefill: Vec<f64>,
}

/// Runs the verb.
///
/// # Errors
/// When the model cannot be used, or what was found cannot be kept.
pub fn run(args: &Args, verbosity: Verbosity) -> Result<(), CliError> {
    let engine_args = EngineArgs {
        threads: None,
        threads_batch: None,
        ctx: Some((PROMPT.max(GENERATE)) as u32),
        kv: KvType::F16,
        batch: 512,
        mem: args.mem,
        tier: args.tier,
    };
    let kernels = engine::kernels(&engine_args)?;
    let home = crate::hub::home()?;
    let gguf = engine::open(&args.model, verbosity)?;
    let model = Model::new(&gguf)?;
    let cpus = Cpus::detect();
    let key = Key::new(&gguf, &cpus, kernels.tier().name());
    let keep = |e: std::io::Error| {
        let folder = home.join("tuned");
        let what = format!(
            "cannot keep what was found in {}: {e}; set KINGLET_HOME to a folder that you can write to",
            folder.display()
        );
        CliError::new(Code::Hub, what)
    };
    if args.forget {
        let had = key.forget(&home).map_err(keep)?;
        if !verbosity.quiet {
            note(if had { "forgotten" } else { "nothing was remembered" });
        }
        return Ok(());
    }
    let most = args.max_threads.map_or(cpus.limit(), |n| n as usize);
    let mut candidates: Vec<Candidate> = counts(most, &cpus)
        .into_iter()
        .map(|threads| Candidate { threads, decode: Vec::new(), prefill: Vec::new() })
        .collect();
    let mut team = Team::new(most).map_err(CliError::failure)?;
    let context = model.spec.context_length.min(PROMPT.max(GENERATE));
    let engine_args = EngineArgs { ctx: Some(context as u32), ..engine_args };
    let mut session = engine::session_for(&model, kernels, &engine_args, verbosity)?;
    let bar = bar(candidates.len() * args.repeat as usize, verbosity);
    // Warms pages and caches, and says how many tokens make a sample.
    let warm = generate(&mut session, &team, model.spec.vocab_size, 2)?;
    let tokens = ((SAMPLE * warm) as usize).clamp(2, GENERATE.min(context));
    prefill(&mut session, &team, model.spec.vocab_size, context.min(32))?;
    for _ in 0..args.repeat {
        for c in &mut candidates {
            team.set_threads(c.threads, c.threads);
            c.decode.push(generate(&mut session, &team, model.spec.vocab_size, tokens)?);
            c.prefill.push(prefill(&mut session, &team, model.spec.vocab_size, context.min(PROMPT))?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let best = |speeds: fn(&Candidate) -> &Vec<f64>| {
        let all = candidates.iter().map(|c| (c.threads, median(speeds(c))));
        choose(&all.collect::<Vec<_>>())
    };
    let ((threads, decode), (threads_batch, prefill)) = (best(|c| &c.decode), best(|c| &c.prefill));
    let tuned = Tuned { threads, threads_batch, speed: [decode, prefill] };
    // What was measured is shown also where it cannot be kept.
    let kept = key.save(&home, &tuned);
    output(|out| {
        if args.json {
            let rows = candidates.iter().map(|c| {
                json!({"threads": c.threads, "decode_ts": median(&c.decode), "prefill_ts": median(&c.prefill),
                       "decode_samples": c.decode, "prefill_samples": c.prefill})
            });
            let all = json!({
                "machine": key.machine, "model": key.model, "threads": threads, "threads_batch": threads_batch,
                "kept_in": kept.as_ref().ok().map(|path| path.display().to_string()), "measured": rows.collect::<Vec<_>>(),
            });
            return writeln!(out, "{all:#}");
        }
        writeln!(out, "| {:>7} | {:>14} | {:>14} |", "threads", "decode t/s", "prefill t/s")?;
        writeln!(out, "| {:->6}: | {:->13}: | {:->13}: |", "", "", "")?;
        for c in &candidates {
            let cell = |speeds: &[f64], best: usize| {
                format!("{:.2}{}", median(speeds), if c.threads == best { " *" } else { "  " })
            };
            let (decode, prefill) = (cell(&c.decode, threads), cell(&c.prefill, threads_batch));
            writeln!(out, "| {:>7} | {decode:>14} | {prefill:>14} |", c.threads)?;
        }
        Ok(())
    })?;
    let path = kept.map_err(keep)?;
    if !verbosity.quiet {
        note(&format!(
            "from now on: --threads {threads} --threads-batch {threads_batch} for this model here (kept in {})",
            path.display()
        ));
    }
    Ok(())
}

/// The numbers of threads to try: all small ones, then steps of about a quarter, and those that the cores suggest.
fn counts(most: usize, cpus: &Cpus) -> Vec<usize> {
    let mut counts: Vec<usize> =
        std::iter::successors(Some(1usize), |n| Some(n + 1 + n / 4 * usize::from(*n >= 8)))
            .take_while(|n| *n <= most)
            .collect();
    counts.extend([cpus.fast_cores, cpus.cores, most].iter().filter(|n| (1..=most).contains(*n)));
    counts.sort_unstable();
    counts.dedup();
    counts
}

/// The fewest threads that are good enough, and their speed.
fn choose(speeds: &[(usize, f64)]) -> (usize, f64) {
    let top = speeds.iter().map(|(_, s)| *s).fold(0.0, f64::max);
    speeds.iter().copied().find(|(_, s)| *s >= GOOD_ENOUGH * top).unwrap_or((1, 0.0))
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// Tokens per second of `n` tokens, one after the other, from an empty context.
fn generate(session: &mut Session<'_>, team: &Team, vocab: usize, n: usize) -> Result<f64, CliError> {
    session.rewind(0);
    let start = Instant::now();
    for i in 0..n {
        session.eval(team, &[(i * 7919 % vocab) as u32])?;
    }
    Ok(n as f64 / start.elapsed().as_secs_f64().max(1e-9))
}

/// Tokens per second of a prompt of `n` tokens.
fn prefill(session: &mut Session<'_>, team: &Team, vocab: usize, n: usize) -> Result<f64, CliError> {
    session.rewind(0);
    let prompt: Vec<u32> = (0..n).map(|i| (i * 7919 % vocab) as u32).collect();
    let start = Instant::now();
    session.eval_with(team, &prompt, Want::Nothing, |_, _| {})?;
    Ok(n as f64 / start.elapsed().as_secs_f64().max(1e-9))
}

fn bar(steps: usize, verbosity: Verbosity) -> ProgressBar {
    let shown = std::io::stderr().is_terminal() && !verbosity.quiet;
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("measuring {wide_bar} {pos}/{len}, {eta} left");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(steps as u64), target).with_style(style.progress_chars("=> "))
}

#[cfg(test)]
mod tests {
    use super::{choose, counts, median};
    use crate::machine::Cpus;

    #[test]
    fn the_fewest_threads_that_are_good_enough() {
        assert_eq!(choose(&[(1, 50.0), (2, 98.0), (4, 100.0), (8, 60.0)]), (2, 98.0));
        assert_eq!(choose(&[(1, 50.0), (2, 90.0), (4, 100.0)]), (4, 100.0));
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[])), (2.0, 0.0));
    }

    #[test]
    fn the_numbers_that_matter_are_tried() {
        let cpus = Cpus { usable: 40, cores: 20, fast_cores: 6, quota: None };
        assert_eq!(counts(4, &cpus), [1, 2, 3, 4]);
        assert_eq!(counts(40, &cpus), [1, 2, 3, 4, 5, 6, 7, 8, 11, 14, 18, 20, 23, 29, 37, 40]);
    }
}
