//! `kinglet logits`: the raw output of a model at every position.

use super::CliError;
use super::engine::{self, Engine};
use super::files::{self, NewFile};
use super::options::{EngineArgs, ModelArg, Verbosity};
use crate::decoder::Want;
use crate::model::Model;
use std::io::Write;
use std::path::PathBuf;

/// Examples under `kinglet logits --help`.
pub const EXAMPLES: &str = "\
  kinglet tokenize smollm2:135m \"Hello world\" > ids.json
  kinglet logits smollm2:135m --tokens ids.json --out logits.f32
  kinglet logits model.gguf --tokens ids.json --out a.f32 --kv f32 --batch 7 -t 3   # the same bits as --batch 64";

/// Options of `kinglet logits`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
    /// JSON array of token ids
    #[arg(long, value_name = "FILE.json")]
    pub tokens: PathBuf,
    /// Where to write [n_tokens, vocab] little-endian f32
    #[arg(long, value_name = "FILE.f32")]
    pub out: PathBuf,
    /// How it is run.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Runs the verb.
///
/// # Errors
/// When the model or the tokens cannot be used, or the output cannot be written.
pub fn run(args: &Args, verbosity: Verbosity) -> Result<(), CliError> {
    let kernels = engine::kernels(&args.engine)?;
    let gguf = engine::open(&args.model, verbosity)?;
    let model = Model::new(&gguf)?;
    let engine = Engine::new(kernels, &args.engine, &gguf, verbosity)?;
    let tokens = parse_ids(&files::read_text(&args.tokens)?);
    let tokens = tokens.map_err(|e| CliError::input(format!("{}: {e}", args.tokens.display())))?;
    if tokens.is_empty() {
        return Err(CliError::input(format!("{}: there are no tokens in it", args.tokens.display())));
    }
    let mut session = engine::session(&model, &engine, &args.engine, None, verbosity)?;
    let mut file = NewFile::create(&args.out)?;
    let mut written = Ok(());
    session.eval_with(&engine.team, &tokens, Want::From(0), |_, row| {
        if written.is_ok() {
            written = row.iter().try_for_each(|x| file.write_all(&x.to_le_bytes()));
        }
    })?;
    written.map_err(|e| CliError::failure(format!("cannot write {}: {e}", args.out.display())))?;
    file.finish()
}

/// Token ids from `[1, 2, 3]`.
pub(super) fn parse_ids(text: &str) -> Result<Vec<u32>, String> {
    serde_json::from_str(text).map_err(|e| format!("not a JSON array of token ids: {e}"))
}
