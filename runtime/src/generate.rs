//! [`generate`]: a prompt goes in, text comes out as it is made.

use crate::decoder::{DecodeError, Session};
use crate::sampler::Sampler;
use crate::team::Team;
use crate::tokenizer::{StreamDecoder, Tokenizer};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// When generation ends, besides the model's own end of turn and the end of the context.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits<'a> {
    /// Tokens at most.
    pub max_tokens: Option<usize>,
    /// Texts before which to stop.
    pub stop: &'a [String],
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended its turn.
    EndOfTurn,
    /// A stop text came.
    Stop,
    /// `max_tokens` were made.
    Length,
    /// The context is full.
    Context,
    /// The receiver of the text wanted no more.
    Cancelled,
}

/// What was done, and how long it took.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Why it ended.
    pub finish: Finish,
    /// Tokens of the prompt that were computed now.
    pub prompt_tokens: usize,
    /// Tokens made, the end of the turn included.
    pub generated: usize,
    /// From the call to the first token.
    pub first_token: Duration,
    /// From the first token to the last.
    pub generation: Duration,
}

impl Outcome {
    /// Prompt tokens per second.
    pub fn prompt_speed(&self) -> f64 {
        self.prompt_tokens as f64 / self.first_token.as_secs_f64().max(1e-9)
    }

    /// Tokens per second after the first one.
    pub fn generation_speed(&self) -> f64 {
        self.generated.saturating_sub(1) as f64 / self.generation.as_secs_f64().max(1e-9)
    }
}

/// What happens while generating.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// So many of the prompt's tokens are computed.
    Prompt {
        /// Computed.
        done: usize,
        /// Of so many.
        total: usize,
    },
    /// More text, always whole characters.
    Text(&'a str),
}

/// Appends `prompt` to the session and generates until a limit or the end of the turn. Tokens that were made
/// are pushed to `made` (without the one that ends the turn); those whose keys and values the session holds are the prompt and
/// all of `made` but, unless another followed, the last.
///
/// # Errors
/// An empty prompt, or as [`Session::eval`].
#[allow(clippy::too_many_arguments, reason = "each is a different thing with one use")]
pub fn generate(
    session: &mut Session<'_>,
    team: &Team,
    tokenizer: &Tokenizer,
    sampler: &mut Sampler,
    prompt: &[u32],
    limits: Limits<'_>,
    made: &mut Vec<u32>,
    mut on: impl FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Outcome, DecodeError> {
    let start = Instant::now();
    let Some((last, head)) = prompt.split_last() else {
        return Err(DecodeError::Option("the prompt is empty: there is nothing to go on from".to_owned()));
    };
    let (wanted, n_ctx) = (session.position() + prompt.len(), session.options().n_ctx);
    if wanted > n_ctx {
        return Err(DecodeError::Context { wanted, n_ctx });
    }
    let outcome = |finish, generated, first: Option<Instant>| Outcome {
        finish,
        prompt_tokens: prompt.len(),
        generated,
        first_token: first.map_or_else(|| start.elapsed(), |f| f.duration_since(start)),
        generation: first.map_or(Duration::ZERO, |f| f.elapsed()),
    };
    prompt.iter().for_each(|t| sampler.accept(*t));
    let mut done = 0;
    for batch in head.chunks(session.options().batch) {
        session.eval_with(team, batch, crate::decoder::Want::Nothing, |_, _| {})?;
        done += batch.len();
        if on(Event::Prompt { done, total: prompt.len() }).is_break() {
            return Ok(outcome(Finish::Cancelled, 0, None));
        }
    }
    let mut token = *last;
    let mut text = StreamDecoder::new(tokenizer);
    let mut hold = StopHold::new(limits.stop);
    let (mut generated, mut first) = (0, None);
    let finish = loop {
        if session.position() == n_ctx {
            break Finish::Context;
        }
        // A model may have more rows of output than tokens: the others mean nothing.
        let logits = session.eval(team, &[token])?;
        token = sampler.sample(&logits[..tokenizer.vocab_size().min(logits.len())]);
        sampler.accept(token);
        first.get_or_insert_with(Instant::now);
        generated += 1;
        if tokenizer.is_end_of_generation(token) {
            break Finish::EndOfTurn;
        }
        made.push(token);
        let (ready, stopped) = hold.push(&text.push(token));
        if !ready.is_empty() && on(Event::Text(&ready)).is_break() {
            return Ok(outcome(Finish::Cancelled, generated, first));
        }
        if stopped {
            return Ok(outcome(Finish::Stop, generated, first));
        }
        if limits.max_tokens.is_some_and(|n| generated >= n) {
            break Finish::Length;
        }
    };
    let (ready, stopped) = hold.push(&text.finish());
    let rest = if stopped { ready } else { ready + &hold.held };
    if !rest.is_empty() && on(Event::Text(&rest)).is_break() {
        return Ok(outcome(Finish::Cancelled, generated, first));
    }
    Ok(outcome(finish, generated, first))
}

/// Holds text back while it may be the beginning of a stop text.
struct StopHold<'a> {
    stop: &'a [String],
    held: String,
}

impl<'a> StopHold<'a> {
    fn new(stop: &'a [String]) -> Self {
        StopHold { stop, held: String::new() }
    }

    /// The text that can be shown now, and whether a stop text came after it.
    fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        let found =
            self.stop.iter().filter(|s| !s.is_empty()).filter_map(|s| self.held.find(s.as_str())).min();
        if let Some(at) = found {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let begins = |from: &str| self.stop.iter().any(|s| s.starts_with(from));
        let starts = self.held.char_indices().map(|(i, _)| i);
        let keep = starts.into_iter().find(|i| begins(&self.held[*i..])).unwrap_or(self.held.len());
        let held = self.held.split_off(keep);
        (std::mem::replace(&mut self.held, held), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_text_is_never_shown() {
        let stop = ["###".to_owned(), "END".to_owned()];
        let mut hold = StopHold::new(&stop);
        assert_eq!(hold.push("a#"), ("a".to_owned(), false));
        assert_eq!(hold.push("#b E"), ("##b ".to_owned(), false));
        assert_eq!(hold.push("N"), (String::new(), false));
        assert_eq!(hold.push("Dx"), (String::new(), true));
        let mut none = StopHold::new(&[]);
        assert_eq!(none.push("é#"), ("é#".to_owned(), false));
    }
}
