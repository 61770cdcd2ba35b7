//! [`Sampler`]: from logits to the next token, the same on every machine.
//!
//! Candidates are ordered by logit, descending, ties by id, ascending; probabilities are computed in f64 with the pure-Rust
//! `libm` and summed in that order; chance comes from a generator whose stream is part of kinglet's promise: SplitMix64
//! (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014), its upper 53 bits as a fraction of 1.

use std::cmp::Ordering;
use std::collections::VecDeque;

/// How a token is chosen. The steps are taken in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplerOptions {
    /// Logits of recent tokens are divided by this where positive and multiplied where negative; 1 changes nothing.
    pub repeat_penalty: f32,
    /// Only this many of the best candidates stay; 0 is all.
    pub top_k: usize,
    /// Only the best candidates that together have this probability stay; 1 is all.
    pub top_p: f32,
    /// Only candidates with this share of the best one's probability stay; 0 is all.
    pub min_p: f32,
    /// Logits are divided by this; 0 takes the best candidate.
    pub temperature: f32,
    /// Seed of the generator.
    pub seed: u64,
}

/// Tokens that the repeat penalty looks back on.
const RECENT: usize = 64;

/// Chooses tokens.
#[derive(Debug, Clone)]
pub struct Sampler {
    options: SamplerOptions,
    state: u64,
    recent: VecDeque<u32>,
    candidates: Vec<(f32, u32)>,
}

impl Sampler {
    /// A sampler at the start of its stream.
    pub fn new(options: SamplerOptions) -> Sampler {
        Sampler { options, state: options.seed, recent: VecDeque::new(), candidates: Vec::new() }
    }

    /// Tells the sampler of a token of the text, for the repeat penalty.
    pub fn accept(&mut self, token: u32) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(token);
    }

    /// The next token after `logits`, one for each id; 0 when there are none.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        let o = self.options;
        if o.temperature <= 0.0 && o.repeat_penalty == 1.0 {
            return best(logits);
        }
        self.candidates.clear();
        self.candidates.extend(
            logits.iter().zip(0..).map(|(l, id)| (if l.is_nan() { f32::NEG_INFINITY } else { *l }, id)),
        );
        if o.repeat_penalty != 1.0 {
            for token in &self.recent {
                // Once per token, however often it occurred.
                let Some(logit) = logits.get(*token as usize) else { continue };
                let scaled = if *logit > 0.0 { logit / o.repeat_penalty } else { logit * o.repeat_penalty };
                self.candidates[*token as usize].0 = scaled;
            }
        }
        self.keep_top_k(if o.temperature <= 0.0 { 1 } else { o.top_k });
        let Some((first, id)) = self.candidates.first().copied() else { return 0 };
        if o.temperature <= 0.0 || !first.is_finite() {
            return id;
        }
        let weight =
            |logit: f32, temperature: f64| libm::exp((f64::from(logit) - f64::from(first)) / temperature);
        if o.top_p < 1.0 {
            let total: f64 = self.candidates.iter().map(|(l, _)| weight(*l, 1.0)).sum();
            let (mut sum, mut keep) = (0.0, 0);
            for (l, _) in &self.candidates {
                sum += weight(*l, 1.0);
                keep += 1;
                if sum >= f64::from(o.top_p) * total {
                    break;
                }
            }
            self.candidates.truncate(keep);
        }
        if o.min_p > 0.0 {
            let keep =
                self.candidates.iter().take_while(|(l, _)| weight(*l, 1.0) >= f64::from(o.min_p)).count();
            self.candidates.truncate(keep.max(1));
        }
        let temperature = f64::from(o.temperature);
        let total: f64 = self.candidates.iter().map(|(l, _)| weight(*l, temperature)).sum();
        let mut left = self.fraction() * total;
        for (l, id) in &self.candidates {
            left -= weight(*l, temperature);
            if left < 0.0 {
                return *id;
            }
        }
        self.candidates.last().map_or(id, |(_, id)| *id)
    }

    /// The `k` best candidates in order; all of them when `k` is 0.
    fn keep_top_k(&mut self, k: usize) {
        if k > 0 && k < self.candidates.len() {
            self.candidates.select_nth_unstable_by(k - 1, order);
            self.candidates.truncate(k);
        }
        self.candidates.sort_unstable_by(order);
    }

    /// The next number of the stream, in [0, 1).
    fn fraction(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Best first, ties by id. Logits here are never NaN.
fn order(a: &(f32, u32), b: &(f32, u32)) -> Ordering {
    b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal).then(a.1.cmp(&b.1))
}

/// The most likely token: the lowest id among equals, never one whose logit is NaN while another is a number.
pub fn best(logits: &[f32]) -> u32 {
    let mut best = (f32::NEG_INFINITY, 0);
    for (logit, id) in logits.iter().zip(0..) {
        if *logit > best.0 {
            best = (*logit, id);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREEDY: SamplerOptions =
        SamplerOptions { repeat_penalty: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, temperature: 0.0, seed: 1 };

    fn counts(options: SamplerOptions, logits: &[f32], n: usize) -> Vec<usize> {
        let mut sampler = Sampler::new(options);
        let mut counts = vec![0; logits.len()];
        (0..n).for_each(|_| counts[sampler.sample(logits) as usize] += 1);
        counts
    }

    #[test]
    fn greedy_takes_the_first_of_the_best() {
        assert_eq!(Sampler::new(GREEDY).sample(&[1.0, f32::NAN, 3.0, 3.0]), 2);
        assert_eq!(Sampler::new(GREEDY).sample(&[f32::NAN, f32::NEG_INFINITY]), 0);
        assert_eq!(Sampler::new(GREEDY).sample(&[]), 0);
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let options = SamplerOptions { temperature: 1.0, ..GREEDY };
        let c = counts(options, &[0.0, std::f32::consts::LN_2, f32::NAN], 30_000);
        assert!((9_500..10_500).contains(&c[0]) && c[2] == 0, "{c:?}");
    }

    #[test]
    fn filters_leave_out_the_unlikely() {
        let hot = SamplerOptions { temperature: 5.0, ..GREEDY };
        let logits = [0.0, 3.0, 2.0, 1.0];
        assert_eq!(
            counts(SamplerOptions { top_k: 2, ..hot }, &logits, 500).iter().filter(|c| **c > 0).count(),
            2
        );
        assert_eq!(counts(SamplerOptions { top_p: 0.5, ..hot }, &logits, 500)[1], 500);
        assert_eq!(counts(SamplerOptions { min_p: 0.3, ..hot }, &logits, 500)[0], 0);
        assert!(counts(hot, &logits, 500).iter().all(|c| *c > 0));
    }

    #[test]
    fn the_stream_is_stable() {
        // SplitMix64 of seed 1234567, as published with the reference implementation.
        let mut s = Sampler::new(SamplerOptions { seed: 1_234_567, ..GREEDY });
        let expected = [6_457_827_717_110_365_317u64, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        for e in expected {
            assert_eq!(s.fraction(), (e >> 11) as f64 / (1u64 << 53) as f64);
        }
    }

    #[test]
    fn a_repeated_token_becomes_less_likely() {
        let mut s = Sampler::new(SamplerOptions { repeat_penalty: 2.0, ..GREEDY });
        s.accept(0);
        s.accept(99);
        assert_eq!(s.sample(&[1.0, 0.9, -1.0]), 1);
    }
}
