//! `kinglet-candle MODEL.gguf`: a model in candle with kinglet's matrix products, alone or beside candle's own.

mod args;
mod compare;
mod formats;

use args::{Args, USAGE};
use candle_core::quantized::tokenizer::TokenizerFromGguf;
use candle_core::{Error, Result};
use kinglet_candle::{Engine, KingletLinear, Linear, Model, ModelFile};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use tokenizers::Tokenizer;

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(Some(args)) => args,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(what) => {
            eprintln!("kinglet-candle: {what}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let threads = args.threads.to_string();
    for name in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"] {
        // candle and rayon read these once, when their pools are first used; there is no other way to tell candle.
        // SAFETY: no other thread has been started.
        unsafe { std::env::set_var(name, &threads) };
    }
    match run(&args) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("kinglet-candle: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<ExitCode> {
    if args.formats {
        let engine = Engine::new(args.pool, args.threads)?;
        return formats::formats(args, &engine).map(|()| ExitCode::SUCCESS);
    }
    let file = ModelFile::open(&args.model)?;
    let text = Text::open(&file, args.tokenizer.as_deref())?;
    let ids = text.encode(&args.prompt)?;
    let engine = Engine::new(args.pool, args.threads)?;
    if args.compare {
        return compare::compare(args, &file, &text, &ids, &engine);
    }
    let mut model = Model::<KingletLinear>::load(&engine, &file)?;
    print!("{}", args.prompt);
    let (mut shown, mut first) = (text.decode(&ids)?.len(), None);
    let mut so_far = ids.clone();
    let start = Instant::now();
    let n = greedy(&mut model, &ids, args.n, text.eos, |id| {
        first.get_or_insert(start.elapsed());
        so_far.push(id);
        let whole = text.decode(&so_far)?;
        // A character whose bytes are not complete waits.
        if let Some(new) = whole.get(shown..).filter(|new| !new.ends_with('\u{fffd}')) {
            print!("{new}");
            std::io::stdout().flush()?;
            shown = whole.len();
        }
        Ok(())
    })?;
    let (all, first) = (start.elapsed(), first.unwrap_or_default());
    let rate = n.saturating_sub(1) as f64 / (all - first).as_secs_f64();
    println!();
    eprintln!(
        "{} tokens read in {first:.1?}, then {rate:.1} tokens/s ({})",
        ids.len(),
        engine.kernels().tier()
    );
    Ok(ExitCode::SUCCESS)
}

/// The most likely tokens after `prompt`, at most `n`, each handed to `each`. Returns how many there were.
fn greedy<L: Linear>(
    model: &mut Model<L>,
    prompt: &[u32],
    n: usize,
    eos: Option<u32>,
    mut each: impl FnMut(u32) -> Result<()>,
) -> Result<usize> {
    let (mut next, mut position) = (prompt.to_vec(), 0);
    for made in 0..n {
        let logits = model.logits(&next, position, false)?.flatten_all()?.to_vec1::<f32>()?;
        position += next.len();
        let id = best(&logits);
        if Some(id) == eos {
            return Ok(made);
        }
        each(id)?;
        next = vec![id];
    }
    Ok(n)
}

/// The first of the largest.
fn best(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().reduce(|best, now| if now.1 > best.1 { now } else { best });
    best.map_or(0, |(i, _)| i as u32)
}

/// Words to tokens and back.
struct Text {
    tokenizer: Tokenizer,
    eos: Option<u32>,
}

impl Text {
    /// The tokenizer in `path`, or the one that candle makes of the vocabulary in the model's file.
    fn open(file: &ModelFile, path: Option<&Path>) -> Result<Text> {
        let tokenizer = match path {
            Some(path) => {
                Tokenizer::from_file(path).map_err(|e| Error::msg(format!("{}: {e}", path.display())))?
            }
            None => Tokenizer::from_gguf(&file.content).map_err(|e| {
                e.context("candle makes no tokenizer of this file; give --tokenizer tokenizer.json")
            })?,
        };
        let eos = file.get("tokenizer.ggml.eos_token_id").and_then(|id| id.to_u32().ok());
        Ok(Text { tokenizer, eos })
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let ids = self.tokenizer.encode(text, true).map_err(Error::msg)?.get_ids().to_vec();
        match ids.is_empty() {
            true => Err(Error::msg("the prompt is empty")),
            false => Ok(ids),
        }
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer.decode(ids, true).map_err(Error::msg)
    }
}
