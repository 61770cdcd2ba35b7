//! `kinglet rm`: remove a model from the cache.

use super::options::Verbosity;
use super::{CliError, progress};
use crate::hub::Hub;

/// Examples under `kinglet rm --help`.
pub const EXAMPLES: &str = "\
  kinglet rm gemma3:270m
  kinglet rm hf:OWNER/REPO/FILE.gguf";

/// Options of `kinglet rm`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Names from `kinglet list`
    #[arg(value_name = "MODEL", required = true)]
    pub models: Vec<String>,
}

/// Runs the verb. Only files inside the cache are ever removed.
///
/// # Errors
/// When a model is not in the cache, is being fetched, or cannot be removed.
pub fn run(args: &Args, verbosity: Verbosity) -> Result<(), CliError> {
    let hub = Hub::from_env()?;
    for model in &args.models {
        hub.remove(model)?;
        progress(verbosity).note(&format!("removed {model}"));
    }
    Ok(())
}
