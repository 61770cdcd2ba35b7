//! Judges the decoder against an oracle's logits: `cargo run --release -p kinglet --example conformance -- DIR [FILE]`.
//!
//! `DIR` holds a folder for each case (`model.gguf`, `tokens.json`, `logits.f32`, `case.json`). Prints a table of our distance and
//! llama.cpp's and writes it to `FILE` too, when that is given; fails when a case does, or there is none.

#[path = "../tests/oracle/mod.rs"]
mod oracle;

use std::path::Path;
use std::process::ExitCode;

const HEAD: &str = "# Conformance\n
Our distance from an independent oracle beside llama.cpp's, over tiny models of every family. Written by
`cargo run --release -p kinglet --example conformance -- DIR reference/CONFORMANCE.md` from a set of cases larger than the one in
`reference/fixtures`, whose logits come from the original implementations (transformers, open_lm, the models' own code) in f32, those of
quantized models with the dequantized weights. Keys and values are kept in f32. Where llama.cpp is 1e-4 away and more, it takes GELU from a table in f16, or
leaves out a window (`phi3-swa`).\n
";

fn run() -> Result<(), String> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("usage: conformance DIR [FILE]")?;
    let file = args.next();
    let cases: Vec<_> = oracle::folders(Path::new(&dir))?.iter().map(|f| oracle::Case::run(f)).collect();
    if cases.is_empty() {
        return Err(format!("{dir}: no folder in it has a case.json"));
    }
    let verdict = oracle::judge(&cases);
    println!("{}", verdict.table);
    if let Some(file) = file {
        std::fs::write(&file, format!("{HEAD}{}", verdict.table)).map_err(|e| format!("{file}: {e}"))?;
    }
    if verdict.failures.is_empty() { Ok(()) } else { Err(verdict.failures.join("\n")) }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}
