//! The command line.

use kinglet_candle::Pool;
use std::path::PathBuf;

pub const USAGE: &str = "\
kinglet-candle MODEL.gguf [options]      llama or qwen2, for instance SmolLM2 or Qwen2.5
kinglet-candle --formats [-t N] [-r N]   one layer of each format, by candle's product and by kinglet's

  --prompt TEXT       what to continue
  -n N                at most so many tokens (48)
  -t N                threads (as many as there are CPUs)
  --tokenizer FILE    a tokenizer.json; without it, candle's from the vocabulary in the model's file
  --pool NAME         whose threads multiply for kinglet: rayon's, or candle's barrier pool (rayon)
  --compare           by candle's own products too: both texts, how far apart the logits are, and the speed of both:
    --pp N              prompt of N tokens (512)
    --tg N              N tokens one by one (64)
    -r N                repetitions, in turns, of which the median counts (5); 0 measures nothing
    --within X          exit with 1 when logits are further apart than X of the largest
";

/// What the command line says.
pub struct Args {
    pub model: PathBuf,
    pub prompt: String,
    pub n: usize,
    pub threads: usize,
    pub tokenizer: Option<PathBuf>,
    pub pool: Pool,
    pub compare: bool,
    pub formats: bool,
    pub pp: usize,
    pub tg: usize,
    pub repetitions: usize,
    pub within: Option<f32>,
}

fn number<T: std::str::FromStr>(option: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{option} {value}: not a number"))
}

impl Args {
    /// `None` when help is asked for.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Option<Args>, String> {
        let mut args = Args {
            model: PathBuf::new(),
            prompt: "The kinglet is the smallest bird of its forest. In winter it".to_owned(),
            n: 48,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            tokenizer: None,
            pool: Pool::Rayon,
            compare: false,
            formats: false,
            pp: 512,
            tg: 64,
            repetitions: 5,
            within: None,
        };
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "-h" | "--help" => return Ok(None),
                "--compare" => args.compare = true,
                "--formats" => args.formats = true,
                "--prompt" => args.prompt = value()?,
                "--tokenizer" => args.tokenizer = Some(value()?.into()),
                "-n" => args.n = number("-n", &value()?)?,
                "-t" => args.threads = number("-t", &value()?)?,
                "--pp" => args.pp = number("--pp", &value()?)?,
                "--tg" => args.tg = number("--tg", &value()?)?,
                "-r" => args.repetitions = number("-r", &value()?)?,
                "--within" => args.within = Some(number("--within", &value()?)?),
                "--pool" => {
                    args.pool = match value()?.as_str() {
                        "rayon" => Pool::Rayon,
                        "candle" => Pool::Candle,
                        other => return Err(format!("--pool {other}: there are rayon and candle")),
                    }
                }
                option if option.starts_with('-') => return Err(format!("there is no option {option}")),
                _ if args.model.as_os_str().is_empty() => args.model = word.into(),
                _ => return Err(format!("{word}: one model at a time")),
            }
        }
        if args.model.as_os_str().is_empty() && !args.formats {
            return Err("which model?".to_owned());
        }
        if args.threads == 0 || args.n == 0 || args.pp == 0 || args.tg == 0 {
            return Err("-t, -n, --pp and --tg are at least 1".to_owned());
        }
        Ok(Some(args))
    }
}
