//! `kinglet logits`: the raw output of a model at every position.

use super::CliError;
use super::engine::{self, Engine};
use super::options::{EngineArgs, ModelArg, Verbosity};
use crate::decoder::Want;
use crate::model::Model;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

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
    let engine = Engine::new(&args.engine)?;
    let gguf = engine::open(&args.model, verbosity)?;
    let model = Model::new(&gguf)?;
    let tokens = read_ids(&args.tokens)?;
    let mut session = engine::session(&model, &engine, &args.engine, None)?;
    // Written beside the result and renamed, so that a reader never sees half of it.
    let part = args.out.with_extension("tmp");
    let failed = |e: std::io::Error| CliError::failure(format!("cannot write {}: {e}", args.out.display()));
    let mut file = BufWriter::new(File::create(&part).map_err(failed)?);
    let mut written = Ok(());
    let done = session.eval_with(&engine.team, &tokens, Want::From(0), |_, row| {
        if written.is_ok() {
            written = row.iter().try_for_each(|x| file.write_all(&x.to_le_bytes()));
        }
    });
    let written = written.and_then(|()| file.flush()).and_then(|()| std::fs::rename(&part, &args.out));
    if done.is_err() || written.is_err() {
        // What is left of it is of no use; that it cannot be removed would be the second error, not the first.
        let _ = std::fs::remove_file(&part);
    }
    done?;
    written.map_err(failed)
}

/// A JSON array of token ids.
pub(super) fn read_ids(path: &Path) -> Result<Vec<u32>, CliError> {
    let text =
        std::fs::read_to_string(path).map_err(|e| CliError::input(format!("{}: {e}", path.display())))?;
    parse_ids(&text).map_err(|e| CliError::input(format!("{}: {e}", path.display())))
}

/// Token ids from `[1, 2, 3]`.
pub(super) fn parse_ids(text: &str) -> Result<Vec<u32>, String> {
    serde_json::from_str(text).map_err(|e| format!("not a JSON array of token ids: {e}"))
}
