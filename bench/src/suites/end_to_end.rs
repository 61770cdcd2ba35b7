//! Whole models: from the file to the tokens.

use super::operations::kv_type;
use crate::checksum::Checksum;
use crate::record::{Unit, Work};
use crate::suite::Run;
use kinglet::decoder::{Session, SessionOptions, Want};
use kinglet::gguf::Gguf;
use kinglet::model::Model;
use kinglet::team::Team;
use kinglet_kernels::{Kernels, KvType, Tier};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What is measured of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// From a path to a model that can decode.
    Open,
    /// Open, and the first token after a prompt of so many.
    FirstToken(usize),
    /// Prompt processing of so many tokens.
    Prompt(usize),
    /// Generation of so many tokens.
    Generate(usize),
    /// Largest resident memory after a short prompt and a few tokens.
    Resident,
    /// Memory of it that is not the file.
    Anonymous,
    /// Energy of so many generated tokens.
    Energy(usize),
}

/// A measure with its depth and batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// What is measured.
    pub what: What,
    /// Tokens already in the context.
    pub depth: usize,
    /// Tokens decoded at once at most.
    pub batch: usize,
}

impl std::str::FromStr for Measure {
    type Err = String;
    fn from_str(s: &str) -> Result<Measure, String> {
        let wrong = || {
            format!(
                "no measure `{s}`; there are open, ttft<N>, pp<N>, tg<N>, rss, anonymous, energy<N>, with _d<depth> and _b<batch>"
            )
        };
        let number = |n: &str| n.parse::<usize>().ok().filter(|n| (1..=131_072).contains(n));
        let mut parts = s.split('_');
        let first = parts.next().unwrap_or_default();
        let what = match first {
            "open" => What::Open,
            "rss" => What::Resident,
            "anonymous" => What::Anonymous,
            _ => {
                let split = first.find(|c: char| c.is_ascii_digit()).ok_or_else(wrong)?;
                let (name, n) = first.split_at(split);
                let n = number(n).ok_or_else(wrong)?;
                match name {
                    "ttft" => What::FirstToken(n),
                    "pp" => What::Prompt(n),
                    "tg" => What::Generate(n),
                    "energy" => What::Energy(n),
                    _ => return Err(wrong()),
                }
            }
        };
        let mut measure = Measure { what, depth: 0, batch: 512 };
        for part in parts {
            let (place, n) = match (part.strip_prefix('d'), part.strip_prefix('b')) {
                (Some(n), _) => (&mut measure.depth, n),
                (_, Some(n)) => (&mut measure.batch, n),
                _ => return Err(wrong()),
            };
            *place = number(n).ok_or_else(wrong)?;
        }
        Ok(measure)
    }
}

impl Measure {
    /// What its samples count.
    pub fn unit(&self) -> Unit {
        match self.what {
            What::Resident | What::Anonymous => Unit::Bytes,
            What::Energy(_) => Unit::Microjoules,
            _ => Unit::Ns,
        }
    }

    /// What one iteration does.
    pub fn work(&self) -> Work {
        let tokens = match self.what {
            What::FirstToken(n) | What::Prompt(n) | What::Generate(n) | What::Energy(n) => n as u64,
            _ => 0,
        };
        Work { tokens, ..Work::default() }
    }

    /// Why it cannot be measured here, when it cannot.
    pub fn missing(&self) -> Option<String> {
        let energy = matches!(self.what, What::Energy(_)) && energy().is_none();
        let memory = matches!(self.what, What::Anonymous) && memory("RssAnon:").is_none();
        match (energy, memory) {
            (true, _) => Some("no energy counter can be read (RAPL: /sys/class/powercap/intel-rapl:0/energy_uj, often for root only)".to_owned()),
            (_, true) => Some("this system does not tell memory by kind".to_owned()),
            _ => None,
        }
    }
}

/// A model that is measured.
pub struct Whole {
    path: PathBuf,
    kernels: Kernels,
    kv: KvType,
    threads: usize,
    measure: Measure,
}

impl Whole {
    /// Of the model at `path`.
    ///
    /// # Errors
    /// When the tier or the cache type does not exist here, or the file cannot be opened.
    pub fn new(path: &Path, tier: Tier, kv: &str, threads: usize, measure: Measure) -> Result<Whole, String> {
        let kernels = Kernels::with_tier(tier).map_err(|e| e.to_string())?;
        let whole = Whole { path: path.to_owned(), kernels, kv: kv_type(kv)?, threads, measure };
        // Also warms the page cache.
        let gguf = Gguf::open(path).map_err(|e| e.to_string())?;
        Model::new(&gguf).map_err(|e| e.to_string())?;
        Ok(whole)
    }

    /// Opens the model, and calls `f` with an empty session.
    fn with<R>(
        &self,
        tokens: usize,
        f: impl FnOnce(&mut Session<'_>, &Team, usize) -> Result<R, String>,
    ) -> Result<R, String> {
        let gguf = Gguf::open(&self.path).map_err(|e| e.to_string())?;
        let model = Model::new(&gguf).map_err(|e| e.to_string())?;
        let team = Team::new(self.threads)?;
        let n_ctx = (self.measure.depth + tokens).max(1);
        let options = SessionOptions { n_ctx, kv: self.kv, batch: self.measure.batch };
        let mut session = Session::new(&model, self.kernels, options).map_err(|e| e.to_string())?;
        f(&mut session, &team, model.spec.vocab_size)
    }

    /// Time, or energy, of `iterations` times what `f` does behind the depth.
    fn behind_depth(
        &self,
        iterations: u64,
        n: usize,
        f: impl Fn(&mut Session<'_>, &Team, &[u32]) -> Result<(), String>,
    ) -> Result<f64, String> {
        let depth = self.measure.depth;
        self.with(n, |session, team, vocab| {
            let tokens = tokens(depth + n, vocab);
            let (before, now) = tokens.split_at(depth);
            if !before.is_empty() {
                session.eval_with(team, before, Want::Nothing, |_, _| {}).map_err(|e| e.to_string())?;
            }
            // The first pass touches memory for the first time.
            f(session, team, &now[..1])?;
            let (mut ns, mut joules) = (0.0, 0.0);
            for _ in 0..iterations {
                session.rewind(depth);
                let (start, before) = (Instant::now(), energy());
                f(session, team, now)?;
                ns += start.elapsed().as_nanos() as f64;
                joules += before.zip(energy()).map_or(0.0, |(a, b)| b.saturating_sub(a) as f64);
            }
            Ok(if self.measure.unit() == Unit::Microjoules { joules } else { ns })
        })
    }
}

/// Tokens of a prompt: any will do, but no two machines may differ.
fn tokens(n: usize, vocab: usize) -> Vec<u32> {
    (0..n).map(|i| (i * 7919 % vocab) as u32).collect()
}

fn prompt(session: &mut Session<'_>, team: &Team, tokens: &[u32]) -> Result<(), String> {
    session.eval_with(team, tokens, Want::Last, |_, _| {}).map_err(|e| e.to_string())
}

fn generate(session: &mut Session<'_>, team: &Team, tokens: &[u32]) -> Result<(), String> {
    tokens.iter().try_for_each(|t| session.eval(team, &[*t]).map(|_| ()).map_err(|e| e.to_string()))
}

impl Run for Whole {
    fn run(&mut self, iterations: u64) -> Result<Option<f64>, String> {
        match self.measure.what {
            What::Prompt(n) => self.behind_depth(iterations, n, prompt).map(Some),
            What::Generate(n) | What::Energy(n) => self.behind_depth(iterations, n, generate).map(Some),
            What::Open => {
                for _ in 0..iterations {
                    self.with(1, |session, _, _| Ok(session.position()))?;
                }
                Ok(None)
            }
            What::FirstToken(n) => {
                for _ in 0..iterations {
                    self.with(n, |session, team, vocab| prompt(session, team, &tokens(n, vocab)))?;
                }
                Ok(None)
            }
            What::Resident | What::Anonymous => {
                let field = if self.measure.what == What::Resident { "VmRSS:" } else { "RssAnon:" };
                let bytes = self.with(64, |session, team, vocab| {
                    prompt(session, team, &tokens(48, vocab))?;
                    generate(session, team, &tokens(16, vocab))?;
                    memory(field)
                        .ok_or_else(|| "this system does not tell the memory of a process".to_owned())
                })?;
                Ok(Some(bytes * iterations as f64))
            }
        }
    }

    /// Of the logits after 24 tokens: the same for every tier, thread count and batch, but not for every model or cache.
    fn checksum(&mut self) -> Result<String, String> {
        self.with(24, |session, team, vocab| {
            session.eval(team, &tokens(24, vocab)).map(Checksum::of).map_err(|e| e.to_string())
        })
    }
}

/// Bytes of a field of `/proc/self/status`.
fn memory(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(field))?;
    Some(1024.0 * line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()?)
}

/// Microjoules that the first CPU package has used since some time, where RAPL can be read.
fn energy() -> Option<u64> {
    let path = "/sys/class/powercap/intel-rapl:0/energy_uj";
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}
