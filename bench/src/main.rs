//! `kinglet-bench`: see `kinglet-bench --help` and `bench/README.md`.

use clap::Parser;
use kinglet_bench::cli::{Cli, Command};
use kinglet_bench::commands;
use std::process::ExitCode;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Record(args) => commands::record(&args),
        Command::Compare(args) => commands::compare(&args),
        Command::Calibrate(args) => commands::calibrate(&args),
        Command::List(args) => commands::list(&args),
        Command::Worker(args) => commands::worker(&args),
        Command::PeakMemory(args) => commands::peak_memory(&args),
        Command::Tool(tool) => tool.run().map(|()| 0).map_err(|f| (f.code, f.message)),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err((code, message)) => {
            eprintln!("error: {message}");
            ExitCode::from(code)
        }
    }
}
