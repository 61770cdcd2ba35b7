//! Option groups that verbs share. Values are checked here, so that nonsense is an error naming its flag.

use super::CliError;
use clap::{Args, ValueEnum};
use kinglet_kernels::Tier;

/// What `MODEL` may be; shown by every verb that takes one.
#[derive(Debug, Clone, Args)]
pub struct ModelArg {
    /// A GGUF file, a name from `kinglet list`, or hf:OWNER/REPO/FILE.gguf
    #[arg(value_name = "MODEL")]
    pub model: String,
}

/// How much the program says on stderr.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Verbosity {
    /// Print nothing but the result and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub quiet: bool,
    /// Say more about what happens (-vv: even more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
}

/// Type of the key and value cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KvType {
    /// 4 bytes a value.
    #[value(name = "f32")]
    F32,
    /// 2 bytes a value.
    #[value(name = "f16")]
    F16,
    /// 34 bytes for 32 values.
    #[value(name = "q8_0")]
    Q8_0,
}

impl KvType {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            KvType::F32 => "f32",
            KvType::F16 => "f16",
            KvType::Q8_0 => "q8_0",
        }
    }
}

/// How a model is run. None of these but `--kv` and `--ctx` can change a result.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Engine options")]
pub struct EngineArgs {
    /// Threads that generate [default: as `kinglet tune` found, else at most one for each fast core]
    #[arg(short, long, value_name = "N", value_parser = positive::<1024>(), allow_negative_numbers = true)]
    pub threads: Option<u32>,
    /// Threads that read prompts [default: --threads, else as that default]
    #[arg(long, value_name = "N", value_parser = positive::<1024>(), allow_negative_numbers = true)]
    pub threads_batch: Option<u32>,
    /// Context length in tokens [default: the model's own, at most 4096]
    #[arg(long, value_name = "N", value_parser = positive::<MAX_CTX>(), allow_negative_numbers = true)]
    pub ctx: Option<u32>,
    /// Type of the key and value cache
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    pub kv: KvType,
    /// Prompt tokens computed at once
    #[arg(
        long, value_name = "N", default_value_t = 512, value_parser = positive::<65536>(),
        allow_negative_numbers = true
    )]
    pub batch: u32,
    /// Memory that may be used, such as 2G; a model that needs more is refused before it is loaded
    #[arg(long, value_name = "SIZE", value_parser = crate::memory::parse_size)]
    pub mem: Option<u64>,
    /// Use this kernel tier instead of the fastest usable one (see `kinglet cpu`)
    #[arg(long, value_name = "TIER", value_parser = tier)]
    pub tier: Option<Tier>,
}

/// How the next token is chosen.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sampling options")]
pub struct SampleArgs {
    /// Seed of the random choices: the same seed gives the same text on every machine [default: a new one each time]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<u64>,
    /// Temperature; 0 always takes the most likely token
    #[arg(
        long, value_name = "X", default_value_t = 0.8, value_parser = between::<0, 100>,
        allow_negative_numbers = true
    )]
    pub temp: f32,
    /// Choose among the N most likely tokens; 0 is all
    #[arg(long, value_name = "N", default_value_t = 40, allow_negative_numbers = true)]
    pub top_k: u32,
    /// Choose among the most likely tokens that make up this share of probability
    #[arg(
        long, value_name = "P", default_value_t = 0.95, value_parser = between::<0, 1>,
        allow_negative_numbers = true
    )]
    pub top_p: f32,
    /// Leave out tokens less likely than this share of the most likely one
    #[arg(
        long, value_name = "P", default_value_t = 0.05, value_parser = between::<0, 1>,
        allow_negative_numbers = true
    )]
    pub min_p: f32,
    /// Make tokens of the recent past less likely; 1 changes nothing
    #[arg(
        long, value_name = "X", default_value_t = 1.0, value_parser = penalty,
        allow_negative_numbers = true
    )]
    pub repeat_penalty: f32,
}

/// When to stop.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sampling options")]
pub struct StopArgs {
    /// Generate at most N tokens [default: until the model ends its answer or the context is full]
    #[arg(short = 'n', value_name = "N", value_parser = positive::<MAX_CTX>(), allow_negative_numbers = true)]
    pub n: Option<u32>,
    /// Stop before this text; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub stop: Vec<String>,
}

/// How a prompt becomes what the model was trained on.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Prompt options")]
pub struct PromptArgs {
    /// Give the text to the model as it is, without its chat template
    #[arg(long, conflicts_with_all = ["template", "system"])]
    pub raw: bool,
    /// Use this chat template instead of the model's own: a built-in one or a file
    #[arg(long, value_name = "NAME|FILE", help = template_help())]
    pub template: Option<String>,
    /// Instructions that come before the conversation
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
}

fn template_help() -> String {
    let names: Vec<&str> = crate::chat::Template::builtin_names().collect();
    let what = "Use this chat template instead of the model's own: the file of one, or a built-in one";
    format!("{what} ({})", names.join(", "))
}

/// Longest context that can be asked for, in tokens.
pub(super) const MAX_CTX: i64 = 1 << 24;

/// A parser of whole numbers from 1 to `MAX`.
pub(super) fn positive<const MAX: i64>() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=MAX)
}

fn number(text: &str) -> Result<f32, String> {
    text.parse::<f32>().ok().filter(|x| x.is_finite()).ok_or_else(|| "not a number".to_owned())
}

fn between<const LOW: u8, const HIGH: u8>(text: &str) -> Result<f32, String> {
    let x = number(text)?;
    let fits = (f32::from(LOW)..=f32::from(HIGH)).contains(&x);
    if fits { Ok(x) } else { Err(format!("not in {LOW}..={HIGH}")) }
}

fn penalty(text: &str) -> Result<f32, String> {
    let x = number(text)?;
    if x > 0.0 && x <= 10.0 { Ok(x) } else { Err("not above 0 and at most 10".to_owned()) }
}

pub(super) fn tier(text: &str) -> Result<Tier, String> {
    let found = text.parse::<Tier>().and_then(|t| t.check().map(|()| t));
    found.map_err(|e| with_usable(&e))
}

/// The tier that `KINGLET_TIER` names, or else the fastest.
pub(super) fn default_tier() -> Result<Tier, CliError> {
    Tier::choose().map_err(|e| CliError::usage(with_usable(&e)))
}

fn with_usable(e: &kinglet_kernels::Error) -> String {
    let usable: Vec<&str> = Tier::usable().iter().map(|t| t.name()).collect();
    format!("{e}; usable here: {}", usable.join(", "))
}
