//! What the verbs that run a model share: from a name to an open file, from options to threads and a session.

use super::options::{EngineArgs, KvType, ModelArg, Verbosity, default_tier};
use super::{CliError, model_path};
use crate::decoder::{DecodeError, Session, SessionOptions, cache_bytes};
use crate::gguf::Gguf;
use crate::hub::megabytes;
use crate::machine::Cpus;
use crate::memory::{self, Limit, Needs};
use crate::model::{Model, ModelError};
use crate::team::Team;
use crate::tokenizer::Tokenizer;
use crate::trace;
use crate::tuned::{Key, Tuned};
use kinglet_kernels::Kernels;

/// Threads and kernels.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) team: Team,
    pub(super) kernels: Kernels,
    pub(super) counts: Counts,
}

/// Who decided the numbers of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// `--threads`.
    Given,
    /// `kinglet tune`.
    Tuned,
    /// The CPUs.
    Default,
}

impl Counts {
    pub(super) fn name(self) -> &'static str {
        match self {
            Counts::Given => "as given",
            Counts::Tuned => "from kinglet tune",
            Counts::Default => "by default",
        }
    }
}

/// The kernels that the options ask for.
pub(super) fn kernels(args: &EngineArgs) -> Result<Kernels, CliError> {
    let tier = args.tier.map_or_else(default_tier, Ok)?;
    Kernels::with_tier(tier).map_err(CliError::usage)
}

impl Engine {
    /// The threads that are best for the model, unless the options say how many.
    pub(super) fn new(
        kernels: Kernels,
        args: &EngineArgs,
        gguf: &Gguf,
        verbosity: Verbosity,
    ) -> Result<Engine, CliError> {
        let cpus = Cpus::detect();
        let (threads, threads_batch, counts) = match (args.threads, args.threads_batch) {
            (Some(t), batch) => (t as usize, batch.unwrap_or(t) as usize, Counts::Given),
            (None, batch) => {
                let (t, b, counts) = match remembered(gguf, &cpus, kernels, verbosity) {
                    Some(tuned) => (tuned.threads, tuned.threads_batch, Counts::Tuned),
                    None => (cpus.threads(), cpus.threads_batch(), Counts::Default),
                };
                (t, batch.map_or(b, |n| n as usize), counts)
            }
        };
        let (most, limit) = (threads.max(threads_batch), cpus.limit());
        if most > limit && !verbosity.quiet {
            note(&format!(
                "{most} threads are more than the {limit} that can run here at once, which is no faster; see --threads"
            ));
        }
        let mut team = Team::with_batch(threads, threads_batch).map_err(CliError::failure)?;
        if counts == Counts::Default {
            team.find_pace();
        }
        Ok(Engine { team, kernels, counts })
    }
}

/// What `kinglet tune` found; a file that cannot be used is a remark.
fn remembered(gguf: &Gguf, cpus: &Cpus, kernels: Kernels, verbosity: Verbosity) -> Option<Tuned> {
    // Without a home folder there is no memory either.
    let home = crate::hub::home().ok()?;
    let found = Key::new(gguf, cpus, kernels.tier().name()).load(&home);
    found.unwrap_or_else(|problem| {
        if !verbosity.quiet {
            note(&problem);
        }
        None
    })
}

/// Opens the file that `MODEL` stands for.
pub(super) fn open(arg: &ModelArg, verbosity: Verbosity) -> Result<Gguf, CliError> {
    let gguf = Gguf::open(&model_path(arg, verbosity)?)?;
    trace::mark("file checked");
    trace::name_tensors(&gguf);
    Ok(gguf)
}

/// The options of a session as the flags want them; `default_ctx` where they say nothing.
fn session_options(model: &Model<'_>, args: &EngineArgs, default_ctx: Option<usize>) -> SessionOptions {
    let kv = match args.kv {
        KvType::F32 => kinglet_kernels::KvType::F32,
        KvType::F16 => kinglet_kernels::KvType::F16,
        KvType::Q8_0 => kinglet_kernels::KvType::Q8_0,
    };
    let n_ctx = args.ctx.map(|n| n as usize).or(default_ctx);
    let n_ctx = n_ctx.unwrap_or_else(|| SessionOptions::for_model(model).n_ctx);
    SessionOptions { n_ctx, kv, batch: args.batch as usize }
}

fn needs(model: &Model<'_>, options: SessionOptions) -> Needs {
    let rows = options.batch.min(options.n_ctx) as u64;
    Needs {
        weights: model.bytes_per_token() as u64,
        kv: cache_bytes(&model.spec, options.kv, options.n_ctx, options.batch) as u64,
        activations: memory::ACTIVATION_BYTES.saturating_mul(rows).saturating_mul(model.spec.widest() as u64),
    }
}

/// An error when the model does not fit the budget or the machine, before anything of it is read.
fn check_memory(
    model: &Model<'_>,
    options: SessionOptions,
    args: &EngineArgs,
    verbosity: Verbosity,
) -> Result<(), CliError> {
    let needed = needs(model, options);
    let available = memory::available();
    let limit = args.mem.map(Limit::Budget).or(available.map(Limit::Available));
    // What a person may try, the least of a sacrifice first. Nothing of this is ever done unasked (law 1).
    let q8_0 = kinglet_kernels::KvType::Q8_0;
    let shorter = [2, 4, 8, 16].map(|n| options.n_ctx / n).into_iter().filter(|n| *n >= 256);
    let mut others = Vec::new();
    for n_ctx in std::iter::once(options.n_ctx).chain(shorter) {
        for kv in [options.kv, q8_0] {
            let kv_flag = if kv == q8_0 { " --kv q8_0" } else { "" };
            let ctx_flag = if n_ctx < options.n_ctx { format!(" --ctx {n_ctx}") } else { String::new() };
            let flags = format!("{ctx_flag}{kv_flag}").trim().to_owned();
            others.push((flags, needs(model, SessionOptions { n_ctx, kv, ..options })));
        }
    }
    memory::check_fits(needed, limit, options.n_ctx, others).map_err(CliError::failure)?;
    if let Some(available) = available.filter(|a| needed.total() > *a && !verbosity.quiet) {
        let (needed, available) = (memory::size(needed.total()), memory::size(available));
        note(&format!(
            "the model needs {needed} and {available} are available: expect the speed of the disk, not of memory"
        ));
    }
    Ok(())
}

/// A session as the options want it; `default_ctx` where they say nothing.
pub(super) fn session<'m>(
    model: &'m Model<'m>,
    engine: &Engine,
    args: &EngineArgs,
    default_ctx: Option<usize>,
    verbosity: Verbosity,
) -> Result<Session<'m>, CliError> {
    let options = session_options(model, args, default_ctx);
    let session = open_session(model, engine.kernels, args, options, verbosity)?;
    if verbosity.verbose > 0 {
        let (tier, team, counts) = (engine.kernels.tier(), &engine.team, engine.counts.name());
        let needs = needs(model, options);
        let read = megabytes(needs.weights);
        let cache = megabytes(needs.kv);
        note(&format!(
            "tier {tier}, {} threads for generation and {} for prompts ({counts}), {read} of weights a token, \
             context {} ({cache} when full)",
            team.threads(),
            team.threads_batch(),
            options.n_ctx
        ));
    }
    Ok(session)
}

/// A session whose threads the caller chooses.
pub(super) fn session_for<'m>(
    model: &'m Model<'m>,
    kernels: Kernels,
    args: &EngineArgs,
    verbosity: Verbosity,
) -> Result<Session<'m>, CliError> {
    open_session(model, kernels, args, session_options(model, args, None), verbosity)
}

fn open_session<'m>(
    model: &'m Model<'m>,
    kernels: Kernels,
    args: &EngineArgs,
    options: SessionOptions,
    verbosity: Verbosity,
) -> Result<Session<'m>, CliError> {
    let session = Session::new(model, kernels, options)?;
    check_memory(model, options, args, verbosity)?;
    model.gguf.read_ahead(memory::available());
    Ok(session)
}

/// The tokenizer of a model, which may have fewer tokens than the model has rows of embedding, but not more.
pub(super) fn tokenizer(gguf: &Gguf, model: &Model<'_>) -> Result<Tokenizer, CliError> {
    let tokenizer = Tokenizer::from_gguf(gguf)?;
    trace::mark("tokenizer built");
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
