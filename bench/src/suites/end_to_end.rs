//! Whole models: from the file to the tokens.

use super::memory;
use super::operations::kv_type;
use crate::checksum::Checksum;
use crate::energy::{self, Meter};
use crate::record::{Unit, Work};
use crate::suite::Run;
use kinglet::decoder::{Session, SessionOptions, Want};
use kinglet::gguf::Gguf;
use kinglet::model::Model;
use kinglet::team::Team;
use kinglet_kernels::{Kernels, Tier};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
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
    /// Largest resident memory of a fresh process that opens the model and decodes a short prompt and a few tokens.
    Resident,
    /// The largest part of it that is not of files.
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
        match self.what {
            What::Energy(_) if Meter::find().is_none() => Some(energy::MISSING.to_owned()),
            What::Resident if memory::field("VmHWM:").is_none() => {
                Some("this system does not tell the memory of a process".to_owned())
            }
            What::Anonymous if memory::field("RssAnon:").is_none() => {
                Some("this system does not tell memory by kind".to_owned())
            }
            _ => None,
        }
    }
}

/// A model, and how it is run.
#[derive(Debug, Clone)]
pub struct Case {
    /// The file.
    pub path: PathBuf,
    /// The tier of the kernels.
    pub tier: Tier,
    /// The type of the cache: `f16`, `q8_0`.
    pub kv: String,
    /// Threads.
    pub threads: usize,
    /// What is measured.
    pub measure: Measure,
}

impl Case {
    /// Opens the model, and calls `f` with an empty session for so many tokens behind the depth, a team, and the number of
    /// tokens that there are.
    ///
    /// # Errors
    /// When the tier or the cache type does not exist here, the file cannot be opened, or `f` fails.
    pub fn with<R>(
        &self,
        tokens: usize,
        f: impl FnOnce(&mut Session<'_>, &Team, usize) -> Result<R, String>,
    ) -> Result<R, String> {
        let kernels = Kernels::with_tier(self.tier).map_err(|e| e.to_string())?;
        let gguf = Gguf::open(&self.path).map_err(|e| e.to_string())?;
        let model = Model::new(&gguf).map_err(|e| e.to_string())?;
        let team = Team::new(self.threads)?;
        let n_ctx = (self.measure.depth + tokens).max(1);
        let options = SessionOptions { n_ctx, kv: kv_type(&self.kv)?, batch: self.measure.batch };
        let mut session = Session::new(&model, kernels, options).map_err(|e| e.to_string())?;
        f(&mut session, &team, model.spec.vocab_size)
    }

    /// As [`Case::with`], with a session that has taken in the depth. Then `f` gets the tokens that follow, and what was before.
    fn behind_depth<R>(
        &self,
        n: usize,
        f: impl FnOnce(&mut Session<'_>, &Team, &[u32], &[u32]) -> Result<R, String>,
    ) -> Result<R, String> {
        self.with(n, |session, team, vocab| {
            let tokens = tokens(self.measure.depth + n, vocab);
            let (before, now) = tokens.split_at(self.measure.depth);
            if !before.is_empty() {
                session.eval_with(team, before, Want::Nothing, |_, _| {}).map_err(|e| e.to_string())?;
            }
            f(session, team, now, before)
        })
    }
}

/// Tokens of a prompt: any will do, but no two machines may differ.
pub fn tokens(n: usize, vocab: usize) -> Vec<u32> {
    (0..n).map(|i| (i * 7919 % vocab) as u32).collect()
}

/// Takes in tokens at once.
///
/// # Errors
/// As decoding.
pub fn prompt(session: &mut Session<'_>, team: &Team, tokens: &[u32]) -> Result<(), String> {
    session.eval_with(team, tokens, Want::Last, |_, _| {}).map_err(|e| e.to_string())
}

fn generate(session: &mut Session<'_>, team: &Team, tokens: &[u32]) -> Result<(), String> {
    tokens.iter().try_for_each(|t| session.eval(team, &[*t]).map(|_| ()).map_err(|e| e.to_string()))
}

/// Goes back to the end of `before`. Where the cache has lost what is needed there (a sliding window, a convolution), it is
/// decoded again now rather than when the clock runs.
fn back(session: &mut Session<'_>, team: &Team, before: &[u32]) -> Result<(), String> {
    let lost = session.resumes_at(before.len()) < before.len();
    session.rewind(before.len() - usize::from(lost));
    if lost { prompt(session, team, &before[before.len() - 1..]) } else { Ok(()) }
}

/// A benchmark of a whole model.
pub struct Whole {
    case: Case,
    /// Of what is measured behind a depth: filling it takes longer than most measurements, so that is done once.
    kept: Option<Kept>,
}

impl Whole {
    /// Ready to run.
    ///
    /// # Errors
    /// When the tier or the cache type does not exist here, or the model cannot be opened or run.
    pub fn new(case: Case) -> Result<Whole, String> {
        kv_type(&case.kv)?;
        // Also warms the page cache.
        let gguf = Gguf::open(&case.path).map_err(|e| e.to_string())?;
        Model::new(&gguf).map_err(|e| e.to_string())?;
        let kept = match case.measure.what {
            What::Prompt(n) | What::Generate(n) | What::Energy(n) => Some(Kept::new(case.clone(), n)?),
            _ => None,
        };
        Ok(Whole { case, kept })
    }
}

/// A thread that keeps a session between measurements: a session borrows from the model, and that from the file.
struct Kept {
    requests: Option<Sender<u64>>,
    answers: Receiver<Result<f64, String>>,
    thread: Option<JoinHandle<()>>,
}

impl Kept {
    /// Opens the model and fills the depth.
    fn new(case: Case, n: usize) -> Result<Kept, String> {
        let (requests, asked) = channel();
        let (say, answers) = channel();
        let thread = std::thread::spawn(move || {
            let kept = case.behind_depth(n, |session, team, now, before| {
                let run = if matches!(case.measure.what, What::Prompt(_)) { prompt } else { generate };
                // The first pass touches memory for the first time.
                run(session, team, &now[..1])?;
                let meter = match case.measure.what {
                    What::Energy(_) => Some(Meter::find().ok_or(energy::MISSING)?),
                    _ => None,
                };
                let _ = say.send(Ok(0.0));
                for iterations in asked {
                    let mut cost = 0.0;
                    for _ in 0..iterations {
                        back(session, team, before)?;
                        let start = Instant::now();
                        cost += match &meter {
                            None => {
                                run(session, team, now)?;
                                start.elapsed().as_nanos() as f64
                            }
                            Some(meter) => {
                                let (result, microjoules) = meter.over(|| run(session, team, now))?;
                                result?;
                                microjoules
                            }
                        };
                    }
                    let _ = say.send(Ok(cost));
                }
                Ok(())
            });
            if let Err(e) = kept {
                let _ = say.send(Err(e));
            }
        });
        let kept = Kept { requests: Some(requests), answers, thread: Some(thread) };
        kept.answer()?;
        Ok(kept)
    }

    fn run(&self, iterations: u64) -> Result<f64, String> {
        // Where the thread has ended, there is no answer either.
        let _ = self.requests.as_ref().map(|r| r.send(iterations));
        self.answer()
    }

    fn answer(&self) -> Result<f64, String> {
        self.answers.recv().unwrap_or_else(|_| Err("the thread that decodes has ended".to_owned()))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Its memory is free before something else is prepared.
        self.requests = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Run for Whole {
    fn run(&mut self, iterations: u64) -> Result<Option<f64>, String> {
        match self.case.measure.what {
            What::Prompt(_) | What::Generate(_) | What::Energy(_) => {
                self.kept.as_ref().map(|k| k.run(iterations)).transpose()
            }
            What::Open => {
                for _ in 0..iterations {
                    self.case.with(1, |session, _, _| Ok(session.position()))?;
                }
                Ok(None)
            }
            What::FirstToken(n) => {
                for _ in 0..iterations {
                    self.case.with(n, |session, team, vocab| prompt(session, team, &tokens(n, vocab)))?;
                }
                Ok(None)
            }
            What::Resident | What::Anonymous => {
                let peak = memory::of_a_fresh_process(&self.case)?;
                let resident = self.case.measure.what == What::Resident;
                let bytes = if resident { peak.resident } else { peak.anonymous };
                Ok(Some(bytes as f64 * iterations as f64))
            }
        }
    }

    /// Of the logits after 24 tokens: the same for every tier, thread count and batch, but not for every model or cache.
    fn checksum(&mut self) -> Result<String, String> {
        let mut case = self.case.clone();
        case.measure.depth = 0;
        case.with(24, |session, team, vocab| {
            session.eval(team, &tokens(24, vocab)).map(Checksum::of).map_err(|e| e.to_string())
        })
    }
}
