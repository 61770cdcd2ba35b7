//! The `kinglet-bench` program.

use clap::Parser;
use kinglet_bench::tools::Tool;
use std::process::ExitCode;

/// Benchmarks: catch a slowdown, and do not cry wolf
#[derive(Parser)]
#[command(name = "kinglet-bench", version)]
struct Cli {
    #[command(subcommand)]
    tool: Tool,
}

fn main() -> ExitCode {
    match Cli::parse().tool.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fail) => {
            eprintln!("kinglet-bench: {fail}");
            ExitCode::from(fail.code)
        }
    }
}
