//! Perplexity by llama.cpp's method, so that figures compare: the text in chunks of the context's length, each beginning with
//! the model's beginning-of-text token, the second half of each counted.

use crate::decoder::{DecodeError, Session, Want};
use crate::team::Team;

/// The sum so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Perplexity {
    nll: f64,
    nll_squared: f64,
    count: usize,
}

impl Perplexity {
    /// Adds one chunk of `n_ctx` tokens. `bos` takes the place of its first token.
    ///
    /// # Errors
    /// As [`Session::eval`]; the session is rewound first.
    pub fn add_chunk(
        &mut self,
        session: &mut Session<'_>,
        team: &Team,
        chunk: &[u32],
        bos: Option<u32>,
    ) -> Result<(), DecodeError> {
        let mut tokens = chunk.to_vec();
        if let (Some(first), Some(bos)) = (tokens.first_mut(), bos) {
            *first = bos;
        }
        let first = tokens.len() / 2;
        session.rewind(0);
        session.eval_with(team, &tokens, Want::From(first), |i, logits| {
            if let Some(next) = chunk.get(i + 1) {
                let nll = negative_log_likelihood(logits, *next as usize);
                self.nll += nll;
                self.nll_squared += nll * nll;
                self.count += 1;
            }
        })
    }

    /// The perplexity, and its standard error.
    pub fn estimate(&self) -> (f64, f64) {
        let n = self.count as f64;
        let mean = self.nll / n;
        let variance = (self.nll_squared / n - mean * mean).max(0.0);
        let perplexity = libm::exp(mean);
        (perplexity, perplexity * libm::sqrt(variance / (n - 1.0)))
    }
}

/// `-log softmax(logits)[token]`
fn negative_log_likelihood(logits: &[f32], token: usize) -> f64 {
    let max = logits.iter().fold(f32::NEG_INFINITY, |m, l| if *l > m { *l } else { m });
    let sum: f64 = logits.iter().map(|l| libm::exp(f64::from(l - max))).sum();
    libm::log(sum) - f64::from(logits[token] - max)
}

#[cfg(test)]
mod tests {
    #[test]
    fn of_a_uniform_distribution() {
        let nll = super::negative_log_likelihood(&[2.0; 8], 3);
        approx::assert_relative_eq!(nll, libm::log(8.0), max_relative = 1e-12);
    }
}
