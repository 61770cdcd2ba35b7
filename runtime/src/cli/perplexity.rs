//! `kinglet perplexity`: how well a model predicts a text, by llama.cpp's method.

use super::CliError;
use super::engine::{self, Engine};
use super::files;
use super::options::{EngineArgs, ModelArg, Verbosity, positive};
use crate::model::Model;
use crate::perplexity::Perplexity;
use std::io::Write;
use std::path::PathBuf;

/// Examples under `kinglet perplexity --help`.
pub const EXAMPLES: &str = "\
  kinglet perplexity smollm2:135m --file wiki.test.raw
  kinglet perplexity smollm2:135m --file wiki.test.raw --ctx 512 --chunks 8";

/// Options of `kinglet perplexity`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
    /// The text
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
    /// Chunks to compute [default: all]
    #[arg(
        long, value_name = "N", value_parser = positive::<{ u32::MAX as i64 }>(),
        allow_negative_numbers = true
    )]
    pub chunks: Option<u32>,
    /// How it is run; `--ctx` is the chunk length, 512 unless told.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// The chunk length of llama.cpp's published figures.
const CHUNK: usize = 512;
/// In a shorter one fewer than two tokens count, and there is no standard error.
const SHORTEST: usize = 4;

/// Runs the verb.
///
/// # Errors
/// When the model or the text cannot be used.
pub fn run(args: &Args, verbosity: Verbosity) -> Result<(), CliError> {
    let kernels = engine::kernels(&args.engine)?;
    let gguf = engine::open(&args.model, verbosity)?;
    let model = Model::new(&gguf)?;
    let engine = Engine::new(kernels, &args.engine, &gguf, verbosity)?;
    let tokenizer = engine::tokenizer(&gguf, &model)?;
    let text = files::read_text(&args.file)?;
    let tokens = tokenizer.encode(&text, true, false);
    let mut session = engine::session(
        &model,
        &engine,
        &args.engine,
        Some(CHUNK.min(model.spec.context_length)),
        verbosity,
    )?;
    let n_ctx = session.options().n_ctx;
    if n_ctx < SHORTEST {
        return Err(CliError::usage(format!(
            "a chunk of {n_ctx} tokens is too short to measure; --ctx {SHORTEST} is the least"
        )));
    }
    if tokens.len() < n_ctx {
        let n = tokens.len();
        return Err(CliError::input(format!(
            "{} has {n} tokens; a chunk needs {n_ctx}: give a longer text or a smaller --ctx",
            args.file.display()
        )));
    }
    let chunks = tokens.len() / n_ctx;
    let chunks = args.chunks.map_or(chunks, |n| chunks.min(n as usize));
    let bos = tokenizer.adds_bos().then(|| tokenizer.bos()).flatten();
    let mut sum = Perplexity::default();
    let mut out = std::io::stdout().lock();
    let mut print = |text: String| {
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| CliError::output(&e))
    };
    for (i, chunk) in tokens.chunks_exact(n_ctx).take(chunks).enumerate() {
        sum.add_chunk(&mut session, &engine.team, chunk, bos)?;
        if !verbosity.quiet {
            print(format!("[{}]{:.4},", i + 1, sum.estimate().0))?;
        }
    }
    let (perplexity, error) = sum.estimate();
    let newline = if verbosity.quiet { "" } else { "\n" };
    print(format!("{newline}Final estimate: PPL = {perplexity:.4} +/- {error:.5}\n"))
}
