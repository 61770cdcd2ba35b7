//! The `kinglet` program; everything is in [`kinglet::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    kinglet::cli::main()
}
