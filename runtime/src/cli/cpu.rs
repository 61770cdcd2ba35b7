//! `kinglet cpu`: what this CPU can run.

/// Examples under `kinglet cpu --help`.
pub const EXAMPLES: &str = "\
  kinglet cpu
  kinglet cpu --json";

/// Options of `kinglet cpu`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
