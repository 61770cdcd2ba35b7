//! What the verbs that run a model share: from a name to an open file, from options to threads and a session.

use super::options::{EngineArgs, KvType, ModelArg, Verbosity};
use super::{CliError, model_path};
use crate::decoder::{DecodeError, Session, SessionOptions, cache_bytes};
use crate::gguf::Gguf;
use crate::hub::megabytes;
use crate::memory;
use crate::model::{Model, ModelError};
use crate::team::Team;
use crate::tokenizer::Tokenizer;
use kinglet_kernels::Kernels;

/// Threads and kernels.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) team: Team,
    pub(super) kernels: Kernels,
}

impl Engine {
    pub(super) fn new(args: &EngineArgs) -> Result<Engine, CliError> {
        let kernels = match args.tier {
            Some(tier) => Kernels::with_tier(tier),
            None => Kernels::detect(),
        };
        let kernels = kernels.map_err(CliError::usage)?;
        let threads = args.threads.map_or_else(default_threads, |t| t as usize);
        Ok(Engine { team: Team::new(threads).map_err(CliError::failure)?, kernels })
    }
}

/// As many as the process may use: affinity and cgroup limits count.
pub(super) fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// Opens the file that `MODEL` stands for.
pub(super) fn open(arg: &ModelArg, verbosity: Verbosity) -> Result<Gguf, CliError> {
    Ok(Gguf::open(&model_path(arg, verbosity)?)?)
}

/// A session as the options want it; `default_ctx` where they say nothing.
pub(super) fn session<'m>(
    model: &'m Model<'m>,
    engine: &Engine,
    args: &EngineArgs,
    default_ctx: Option<usize>,
    verbosity: Verbosity,
) -> Result<Session<'m>, CliError> {
    let defaults = SessionOptions::for_model(model);
    let kv = match args.kv {
        KvType::F32 => kinglet_kernels::KvType::F32,
        KvType::F16 => kinglet_kernels::KvType::F16,
        KvType::Q8_0 => kinglet_kernels::KvType::Q8_0,
    };
    let n_ctx = args.ctx.map(|n| n as usize).or(default_ctx).unwrap_or(defaults.n_ctx);
    let session =
        Session::new(model, engine.kernels, SessionOptions { n_ctx, kv, batch: args.batch as usize })?;
    let needed = cache_bytes(&model.spec, kv, n_ctx) as u64;
    memory::check_fits(needed, memory::available(), n_ctx).map_err(CliError::failure)?;
    if verbosity.verbose > 0 {
        let (tier, threads) = (engine.kernels.tier(), engine.team.threads());
        let read = megabytes(model.bytes_per_token() as u64);
        let cache = megabytes(needed);
        note(&format!(
            "tier {tier}, {threads} threads, {read} of weights a token, context {n_ctx} ({cache} when full)"
        ));
    }
    Ok(session)
}

/// The tokenizer of a model, which may have fewer tokens than the model has rows of embedding, but not more.
pub(super) fn tokenizer(gguf: &Gguf, model: &Model<'_>) -> Result<Tokenizer, CliError> {
    let tokenizer = Tokenizer::from_gguf(gguf)?;
    let (tokens, rows) = (tokenizer.vocab_size(), model.spec.vocab_size);
    if tokens > rows {
        let file = gguf.file();
        return Err(CliError::input(format!(
            "{file}: the vocabulary has {tokens} tokens, `token_embd.weight` {rows} rows"
        )));
    }
    Ok(tokenizer)
}

/// A remark on stderr.
pub(super) fn note(text: &str) {
    use std::io::Write;
    // Nowhere is left to report a stderr that cannot be written to.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

impl From<ModelError> for CliError {
    fn from(e: ModelError) -> CliError {
        CliError::input(e)
    }
}

impl From<DecodeError> for CliError {
    fn from(e: DecodeError) -> CliError {
        match e {
            DecodeError::Token { .. } | DecodeError::Context { .. } => CliError::input(e),
            DecodeError::Option(_) => CliError::usage(e),
            DecodeError::Memory(_) | DecodeError::Kernel(_) => CliError::failure(e),
        }
    }
}
