//! From rounds to verdicts, for all benchmarks of a suite together.

use crate::comparison::Verdict;
use crate::stats::{self, holm, interval, p_above, p_below};

/// What is decided, and with which chance of an error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// The least difference that matters, as a share: 0.02.
    pub min_effect: f64,
    /// Chance of any false verdict in the suite, at most: 0.01.
    pub alpha: f64,
}

/// What is said of one benchmark.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// What is said.
    pub verdict: Verdict,
    /// Median of B over A.
    pub ratio: f64,
    /// Simultaneous interval of the ratio.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Judged {
    /// The largest difference that the interval allows, as a share.
    pub fn bound(&self) -> f64 {
        (self.high - 1.0).max(1.0 - self.low)
    }
}

/// Judges all benchmarks; `rounds` are log-ratios of each. May be called after every round without changing the rule's promise.
pub fn judge(rounds: &[&[f64]], rule: Rule) -> Vec<Judged> {
    let (n, verdicts) = (rounds.len(), verdicts(rounds, rule));
    let all = rounds.iter().zip(verdicts).map(|(rounds, verdict)| {
        // Bonferroni over the suite.
        let (low, high) = interval(rounds, rule.alpha / n as f64);
        let (low, high) = (libm::exp(low), libm::exp(high));
        let within = low >= 1.0 / (1.0 + rule.min_effect) && high <= 1.0 + rule.min_effect;
        let verdict = match verdict {
            None if within => Verdict::NoDifference,
            None => Verdict::Inconclusive,
            Some(v) => v,
        };
        Judged { verdict, ratio: libm::exp(stats::median(rounds)), low, high }
    });
    all.collect()
}

/// Slower, faster or neither of each, by Holm over both questions of all benchmarks.
fn verdicts(rounds: &[&[f64]], rule: Rule) -> Vec<Option<Verdict>> {
    let n = rounds.len();
    let m = libm::log(1.0 + rule.min_effect);
    let p: Vec<f64> =
        rounds.iter().map(|r| p_above(r, m)).chain(rounds.iter().map(|r| p_below(r, -m))).collect();
    let p = holm(&p);
    let verdict = |i: usize| match (p[i] <= rule.alpha, p[n + i] <= rule.alpha) {
        (true, false) => Some(Verdict::Slower),
        (false, true) => Some(Verdict::Faster),
        _ => None,
    };
    (0..n).map(verdict).collect()
}

/// Only slower or faster, which is much quicker than [`judge`]: for replays.
pub fn alarms(rounds: &[&[f64]], rule: Rule) -> Vec<Option<Verdict>> {
    verdicts(rounds, rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const RULE: Rule = Rule { min_effect: 0.02, alpha: 0.01 };

    #[test]
    fn each_benchmark_gets_its_own_verdict() {
        let mut random = Random::new(11);
        let mut rounds = |middle: f64, width: f64| -> Vec<f64> {
            (0..30).map(|_| libm::log(middle) + width * random.normal()).collect()
        };
        let all = [rounds(1.0, 0.003), rounds(1.06, 0.01), rounds(0.93, 0.01), rounds(1.0, 0.2)];
        let slices: Vec<&[f64]> = all.iter().map(Vec::as_slice).collect();
        let judged = judge(&slices, RULE);
        let verdicts: Vec<Verdict> = judged.iter().map(|j| j.verdict).collect();
        let want = [Verdict::NoDifference, Verdict::Slower, Verdict::Faster, Verdict::Inconclusive];
        assert_eq!(verdicts, want, "{judged:?}");
        assert!(judged[0].bound() <= 0.0201 && judged[3].bound() > 0.05, "{judged:?}");
        assert!(judged.iter().all(|j| j.low <= j.ratio && j.ratio <= j.high), "{judged:?}");
        let quick = alarms(&slices, RULE);
        assert_eq!(quick, [None, Some(Verdict::Slower), Some(Verdict::Faster), None]);
    }

    #[test]
    fn a_suite_of_equal_programs_is_left_alone() {
        let mut random = Random::new(12);
        let mut alarmed = 0;
        for _ in 0..300 {
            let all: Vec<Vec<f64>> =
                (0..13).map(|_| (0..25).map(|_| 0.02 * random.normal()).collect()).collect();
            let slices: Vec<&[f64]> = all.iter().map(Vec::as_slice).collect();
            // Even when every difference matters.
            let strict = Rule { min_effect: 0.0, ..RULE };
            alarmed += u32::from(alarms(&slices, strict).iter().any(Option::is_some));
        }
        assert!(alarmed <= 6, "{alarmed} of 300");
    }

    #[test]
    fn nothing_measured_is_inconclusive() {
        let judged = judge(&[&[], &[0.5]], RULE);
        assert!(judged.iter().all(|j| j.verdict == Verdict::Inconclusive), "{judged:?}");
        assert!(judge(&[], RULE).is_empty());
    }
}
