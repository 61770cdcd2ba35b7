//! `kinglet inspect`: what is in a model file.

use super::CliError;
use super::options::{ModelArg, Verbosity};
use crate::gguf::Gguf;
use std::io::Write;
use std::path::Path;

/// Examples under `kinglet inspect --help`.
pub const EXAMPLES: &str = "\
  kinglet inspect model.gguf
  kinglet inspect smollm2:135m | head -n 40
  kinglet inspect model.gguf --json | python3 -m json.tool";

/// Options of `kinglet inspect`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the verb.
///
/// # Errors
/// When the model cannot be opened or the output not written.
pub fn run(args: &Args, _: Verbosity) -> Result<(), CliError> {
    let model = Gguf::open(Path::new(&args.model.model))?;
    let mut out = std::io::stdout().lock();
    for t in model.tensors() {
        writeln!(out, "{} {:?}", t.name, t.shape).map_err(|e| CliError::output(&e))?;
    }
    Ok(())
}
