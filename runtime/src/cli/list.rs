//! `kinglet list`: the models that have a name, and those that have been fetched.

use super::options::Verbosity;
use super::{CliError, output};
use crate::hub::{Hub, Listed, megabytes};
use serde_json::{Value as Json, json};

/// Examples under `kinglet list --help`.
pub const EXAMPLES: &str = "\
  kinglet list
  kinglet list --json";

/// Options of `kinglet list`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the verb.
///
/// # Errors
/// When the cache cannot be read or the output not written.
pub fn run(args: &Args, _: Verbosity) -> Result<(), CliError> {
    let models = Hub::from_env()?.list()?;
    output(|out| {
        if args.json {
            let all: Vec<Json> = models.iter().map(model_json).collect();
            serde_json::to_writer_pretty(&mut *out, &all)?;
            return writeln!(out);
        }
        let width = models.iter().map(|m| m.name.len()).max().unwrap_or(0);
        for m in &models {
            let size = megabytes(m.bytes);
            let place =
                if m.fetched { m.path.display().to_string() } else { format!("not fetched. {}", m.about) };
            writeln!(out, "{:width$}  {size:>9}  {place}", m.name)?;
        }
        Ok(())
    })
}

fn model_json(m: &Listed) -> Json {
    json!({
        "name": m.name,
        "about": m.about,
        "fetched": m.fetched,
        "bytes": m.bytes,
        "path": m.fetched.then(|| m.path.display().to_string()),
        "licence": m.licence,
    })
}
