//! Our side of a comparison, as a process that answers the same requests as the peers.

use kinglet::decoder::{DecodeError, Session, SessionOptions, Want};
use kinglet::gguf::Gguf;
use kinglet::model::Model;
use kinglet::perplexity::Perplexity;
use kinglet::team::Team;
use kinglet::tokenizer::Tokenizer;
use kinglet_kernels::{Kernels, KvType, Tier};
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

/// Answers requests from standard input until it ends.
///
/// # Errors
/// When the model cannot be used.
pub fn serve(file: &Path, tier: Tier, threads: usize, n_ctx: usize) -> Result<(), String> {
    let kernels = Kernels::with_tier(tier).map_err(|e| e.to_string())?;
    let gguf = Gguf::open(file).map_err(|e| e.to_string())?;
    let model = Model::new(&gguf).map_err(|e| e.to_string())?;
    let team = Team::new(threads)?;
    let n_ctx = n_ctx.min(model.spec.context_length);
    let options = SessionOptions { n_ctx, kv: KvType::F16, batch: 512 };
    let session = Session::new(&model, kernels, options).map_err(|e| e.to_string())?;
    let mut ours = Ours { gguf: &gguf, session, team, vocab: model.spec.vocab_size, depth: 0 };
    let mut out = std::io::stdout().lock();
    let mut say =
        |line: String| writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|e| e.to_string());
    say(format!("ready kinglet {}", env!("CARGO_PKG_VERSION")))?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|e| e.to_string())?;
        say(ours.answer(&line).unwrap_or_else(|e| format!("error: {e}")))?;
    }
    Ok(())
}

struct Ours<'m> {
    gguf: &'m Gguf,
    session: Session<'m>,
    team: Team,
    vocab: usize,
    /// The context that the session holds first.
    depth: usize,
}

impl Ours<'_> {
    fn tokens(&self, n: usize) -> Vec<u32> {
        (0..n).map(|i| (i * 7919 % self.vocab) as u32).collect()
    }

    fn go_to(&mut self, depth: usize) -> Result<(), DecodeError> {
        if depth != self.depth || self.session.position() < depth {
            self.session.rewind(0);
            self.depth = 0;
            if depth > 0 {
                let context = self.tokens(depth);
                self.session.eval_with(&self.team, &context, Want::Last, |_, _| {})?;
            }
            self.depth = depth;
        }
        self.session.rewind(depth);
        Ok(())
    }

    fn answer(&mut self, request: &str) -> Result<String, String> {
        let wrong = || format!("not a request: {request}");
        let mut words = request.split_whitespace();
        let what = words.next().ok_or_else(wrong)?;
        if what == "ppl" {
            let path = request.split_once(' ').map_or("", |(_, path)| path);
            return self.perplexity(Path::new(path)).map(|p| p.to_string());
        }
        let numbers: Vec<usize> = words.map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
        let answer = match (what, &numbers[..]) {
            ("pp", [n, depth]) => self.timed(*depth, *n, true),
            ("tg", [n, depth]) => self.timed(*depth, *n, false),
            ("greedy", [n, tokens @ ..]) => {
                self.depth = 0;
                self.session.rewind(0);
                self.greedy(*n, tokens.iter().map(|t| *t as u32).collect())
            }
            _ => return Err(wrong()),
        };
        answer.map_err(|e| e.to_string())
    }

    fn timed(&mut self, depth: usize, n: usize, at_once: bool) -> Result<String, DecodeError> {
        self.go_to(depth)?;
        let tokens = self.tokens(n);
        let start = Instant::now();
        if at_once {
            self.session.eval_with(&self.team, &tokens, Want::Last, |_, _| {})?;
        } else {
            for token in &tokens {
                self.session.eval(&self.team, &[*token])?;
            }
        }
        Ok(start.elapsed().as_secs_f64().to_string())
    }

    /// Of a text, by llama.cpp's method.
    fn perplexity(&mut self, path: &Path) -> Result<f64, String> {
        const CHUNK: usize = 512;
        let text =
            std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let tokenizer = Tokenizer::from_gguf(self.gguf).map_err(|e| e.to_string())?;
        let tokens = tokenizer.encode(&text, true, false);
        let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
        let mut perplexity = Perplexity::default();
        for chunk in tokens.chunks_exact(CHUNK) {
            perplexity.add_chunk(&mut self.session, &self.team, chunk, bos).map_err(|e| e.to_string())?;
        }
        self.depth = 0;
        match perplexity.estimate().0 {
            p if p.is_finite() => Ok(p),
            _ => Err(format!("{} has fewer than {CHUNK} tokens", path.display())),
        }
    }

    fn greedy(&mut self, n: usize, mut next: Vec<u32>) -> Result<String, DecodeError> {
        let mut out = Vec::new();
        for _ in 0..n {
            let logits = self.session.eval(&self.team, &next)?;
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
}
