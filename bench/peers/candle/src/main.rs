//! candle as a peer of `kinglet-bench peers`: reads requests from standard input, one a line, and answers each with a line.
//!
//!     kinglet-peer-candle MODEL.gguf                (RAYON_NUM_THREADS says how many threads)
//!
//!     -> ready candle 0.11.1                        when the model is loaded
//!     greedy N ID…   -> the N most likely next ids
//!     pp N DEPTH     -> seconds to read N tokens behind a context of DEPTH
//!     tg N DEPTH     -> seconds to generate N tokens one by one behind a context of DEPTH
//!
//! What candle cannot do is answered with `error: …`. Tokens of timed tests are `i * 7919 % vocab`, as in every peer.

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Result, Tensor, bail};
use candle_transformers::models::{quantized_gemma3, quantized_llama, quantized_qwen2};
use std::io::{BufRead, Write};
use std::time::Instant;

enum Model {
    Llama(quantized_llama::ModelWeights),
    Qwen2(quantized_qwen2::ModelWeights),
    Gemma3(quantized_gemma3::ModelWeights),
}

impl Model {
    fn load(path: &str) -> Result<(Model, usize)> {
        let mut file = std::fs::File::open(path)?;
        let content = Content::read(&mut file)?;
        let architecture = match content.metadata.get("general.architecture") {
            Some(value) => value.to_string()?.clone(),
            None => bail!("no general.architecture"),
        };
        let vocab = match content.metadata.get("tokenizer.ggml.tokens") {
            Some(tokens) => tokens.to_vec()?.len(),
            None => bail!("no tokenizer.ggml.tokens"),
        };
        let device = Device::Cpu;
        let model = match architecture.as_str() {
            "llama" => Model::Llama(quantized_llama::ModelWeights::from_gguf(content, &mut file, &device)?),
            "qwen2" => Model::Qwen2(quantized_qwen2::ModelWeights::from_gguf(content, &mut file, &device)?),
            "gemma3" => Model::Gemma3(quantized_gemma3::ModelWeights::from_gguf(content, &mut file, &device)?),
            other => bail!("architecture {other} is not wired up here"),
        };
        Ok((model, vocab))
    }

    /// Logits after the last of `tokens`, which begin at `position`; 0 forgets the context.
    fn eval(&mut self, tokens: &[u32], position: usize) -> Result<Vec<f32>> {
        let x = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        let logits = match self {
            Model::Llama(m) => m.forward(&x, position)?,
            Model::Qwen2(m) => m.forward(&x, position)?,
            Model::Gemma3(m) => m.forward(&x, position)?,
        };
        logits.flatten_all()?.to_vec1()
    }

    /// A copy that shares the weights and has a context of its own; `None` where candle's model cannot be cloned.
    fn branch(&self) -> Option<Model> {
        match self {
            Model::Llama(m) => Some(Model::Llama(m.clone())),
            Model::Qwen2(_) => None,
            Model::Gemma3(m) => Some(Model::Gemma3(m.clone())),
        }
    }
}

struct Peer {
    model: Model,
    vocab: usize,
    /// The context that `behind` holds, in tokens, and the model with it.
    depth: usize,
    behind: Option<Model>,
}

impl Peer {
    fn tokens(&self, n: usize) -> Vec<u32> {
        (0..n).map(|i| (i * 7919 % self.vocab) as u32).collect()
    }

    /// `run` behind a context of `depth` tokens.
    fn at_depth<R>(&mut self, depth: usize, run: impl FnOnce(&mut Model) -> Result<R>) -> Result<R> {
        if depth == 0 {
            return run(&mut self.model);
        }
        if self.behind.is_none() || self.depth != depth {
            let context = self.tokens(depth);
            for (i, part) in context.chunks(512).enumerate() {
                self.model.eval(part, i * 512)?;
            }
            (self.behind, self.depth) = (self.model.branch(), depth);
        }
        match self.behind.as_ref().and_then(Model::branch) {
            Some(mut branch) => run(&mut branch),
            None => run(&mut self.model),
        }
    }

    fn answer(&mut self, request: &str) -> Result<String> {
        let words: Vec<&str> = request.split_whitespace().collect();
        let number = |i: usize| -> Result<usize> {
            match words.get(i).and_then(|w| w.parse().ok()) {
                Some(n) => Ok(n),
                None => bail!("not a request: {request}"),
            }
        };
        match words.first() {
            Some(&"greedy") => {
                let n = number(1)?;
                let mut next: Vec<u32> = (2..words.len()).map(|i| Ok(number(i)? as u32)).collect::<Result<_>>()?;
                let (mut position, mut out) = (0, Vec::new());
                for _ in 0..n {
                    let logits = self.model.eval(&next, position)?;
                    position += next.len();
                    let mut best = 0;
                    for (i, l) in logits.iter().enumerate() {
                        if *l > logits[best] {
                            best = i;
                        }
                    }
                    next = vec![best as u32];
                    out.push(best.to_string());
                }
                Ok(out.join(" "))
            }
            Some(&"pp") => {
                let (n, depth) = (number(1)?, number(2)?);
                let tokens = self.tokens(n);
                self.at_depth(depth, |model| {
                    let start = Instant::now();
                    model.eval(&tokens, depth)?;
                    Ok(start.elapsed().as_secs_f64().to_string())
                })
            }
            Some(&"tg") => {
                let (n, depth) = (number(1)?, number(2)?);
                let tokens = self.tokens(n);
                self.at_depth(depth, |model| {
                    let start = Instant::now();
                    for (i, token) in tokens.iter().enumerate() {
                        model.eval(&[*token], depth + i)?;
                    }
                    Ok(start.elapsed().as_secs_f64().to_string())
                })
            }
            _ => bail!("not a request: {request}"),
        }
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("kinglet-peer-candle MODEL.gguf")?;
    let (model, vocab) = Model::load(&path)?;
    let mut peer = Peer { model, vocab, depth: 0, behind: None };
    let mut out = std::io::stdout();
    writeln!(out, "ready candle {}", env!("CANDLE_VERSION"))?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        let answer = peer.answer(&line?).unwrap_or_else(|e| format!("error: {}", e.to_string().lines().next().unwrap_or("")));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
