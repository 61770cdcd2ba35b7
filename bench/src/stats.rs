//! The statistics of a comparison: `bench/README.md` explains why these.
//!
//! What is compared is a log-ratio per *round*: both programs are started anew, so that every round draws its own memory
//! layout. If the programs are equal, swapping them changes nothing, so a round's log-ratio is distributed symmetrically around
//! 0, whatever the noise looks like. For a symmetric `x`, `1 + c tanh(l x)` has the expectation 1 for every `l` and `c`, so the product
//! over rounds is a martingale: it exceeds `1/a` with a chance of at most `a` *at any time* (Ville), and looking after every
//! round costs nothing. `1 + c tanh(l (x - t))` rises with `x` and falls with `t`, which makes tests against a least effect and
//! intervals of the same product.

use statrs::distribution::{Beta, ContinuousCDF};

/// Factors of the scale, and shares of the wealth that are bet; the product is averaged over them. Less than everything is bet, so
/// that one round in which the machine stalled does not ruin what all others say.
const BETS: [(f64, f64); 3] = [(0.7, 0.97), (1.0, 0.85), (1.5, 0.7)];
/// What the spread of rounds is taken for until some are known: 1 %.
const FIRST_SPREAD: f64 = 0.01;

/// The median, or the mean of the two in the middle; NaN of nothing.
pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// The quantile `q` of 0 to 1, interpolated; NaN of nothing.
pub fn quantile(samples: &[f64], q: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = q.clamp(0.0, 1.0) * last as f64;
    let (low, share) = (at as usize, at.fract());
    let high = (low + 1).min(last);
    sorted[low] + (sorted[high] - sorted[low]) * share
}

/// Median distance from the median, scaled to a standard deviation of normal values.
pub fn spread(samples: &[f64]) -> f64 {
    let m = median(samples);
    1.4826 * median(&samples.iter().map(|x| (x - m).abs()).collect::<Vec<_>>())
}

/// Mean of the middle half; a quarter is cut off at each end.
pub fn middle_mean(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let cut = sorted.len() / 4;
    let middle = &sorted[cut..sorted.len() - cut];
    middle.iter().sum::<f64>() / middle.len() as f64
}

/// What each round is bet with: one over the spread of the rounds before it, so that no round decides its own bet.
fn scales(rounds: &[f64]) -> Vec<f64> {
    let scale = |i: usize| {
        let known = &rounds[..i];
        // A prior of four rounds keeps the first few, which may lie together by chance, from betting everything.
        let seen = if i < 3 { FIRST_SPREAD } else { spread(known) };
        let weight = i as f64 / (i as f64 + 4.0);
        1.0 / (weight * seen + (1.0 - weight) * FIRST_SPREAD).max(1e-4)
    };
    (0..rounds.len()).map(scale).collect()
}

/// Logarithm of the evidence that the centre of `rounds` lies above `t`; its largest value so far is what counts.
fn evidence_above(rounds: &[f64], scales: &[f64], t: f64) -> f64 {
    let mut sums = [0.0f64; BETS.len()];
    let mut best = 0.0f64;
    for (x, scale) in rounds.iter().zip(scales) {
        for (sum, (factor, share)) in sums.iter_mut().zip(BETS) {
            *sum += libm::log1p(share * libm::tanh(factor * scale * (x - t)));
        }
        let top = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mean = sums.iter().map(|s| libm::exp(s - top)).sum::<f64>() / BETS.len() as f64;
        best = best.max(top + libm::log(mean));
    }
    best
}

/// Anytime-valid p-value of "the centre is at most `t`".
pub fn p_above(rounds: &[f64], t: f64) -> f64 {
    libm::exp(-evidence_above(rounds, &scales(rounds), t)).min(1.0)
}

/// Anytime-valid p-value of "the centre is at least `t`".
pub fn p_below(rounds: &[f64], t: f64) -> f64 {
    p_above(&rounds.iter().map(|x| -x).collect::<Vec<_>>(), -t)
}

/// An interval that contains the centre at every look, except with a chance of `alpha`.
pub fn interval(rounds: &[f64], alpha: f64) -> (f64, f64) {
    let wanted = libm::log(2.0 / alpha);
    let lower = |rounds: &[f64]| {
        let scales = scales(rounds);
        // Evidence falls with t: below everything it is largest.
        let (mut low, mut high) =
            (-8.0, rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max).clamp(-8.0, 8.0));
        if evidence_above(rounds, &scales, low) < wanted {
            return f64::NEG_INFINITY;
        }
        for _ in 0..60 {
            let t = (low + high) / 2.0;
            if evidence_above(rounds, &scales, t) >= wanted { low = t } else { high = t }
        }
        low
    };
    let mirrored: Vec<f64> = rounds.iter().map(|x| -x).collect();
    (lower(rounds), -lower(&mirrored))
}

/// Holm's correction: adjusted p-values in the order given.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let (mut adjusted, mut largest) = (vec![1.0; p.len()], 0.0f64);
    for (rank, i) in order.into_iter().enumerate() {
        largest = largest.max((p[i] * (p.len() - rank) as f64).min(1.0));
        adjusted[i] = largest;
    }
    adjusted
}

/// Bounds of a rate by Clopper and Pearson: `k` of `n`, with confidence `1 - alpha`. (0, 1) of nothing.
pub fn clopper_pearson(k: u64, n: u64, alpha: f64) -> (f64, f64) {
    let beta = |a: u64, b: u64, p: f64| Beta::new(a as f64, b as f64).map_or(f64::NAN, |d| d.inverse_cdf(p));
    let low = if k == 0 || n == 0 { 0.0 } else { beta(k, n - k + 1, alpha / 2.0) };
    let high = if k >= n { 1.0 } else { beta(k + 1, n - k, 1.0 - alpha / 2.0) };
    (low, high)
}

/// Whether values fall into two groups: the best cut leaves a gap that is larger than both groups are wide. At least a fifth of
/// the values are on each side, and the gap is at least 1 %.
pub fn bimodal(logs: &[f64]) -> bool {
    let mut sorted = logs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    let least = (n / 5).max(3);
    (least..n.saturating_sub(least - 1)).any(|cut| {
        let (low, high) = sorted.split_at(cut);
        let gap = median(high) - median(low);
        gap > 0.01
            && gap > 4.0 * spread(low).max(spread(high)).max(1e-4)
            && high[0] - low[cut - 1] > gap / 2.0
    })
}

/// Whether values moved in the order in which they came: rank correlation with time, with a chance of about 1 in 1000 when they
/// did not, and by more than 1 % between the first and the last third.
pub fn drift(logs: &[f64]) -> bool {
    let n = logs.len();
    if n < 9 {
        return false;
    }
    let mut concordant = 0i64;
    for i in 0..n {
        for j in 0..i {
            concordant += i64::from(logs[i] > logs[j]) - i64::from(logs[i] < logs[j]);
        }
    }
    let n_f = n as f64;
    let z = concordant as f64 / (n_f * (n_f - 1.0) * (2.0 * n_f + 5.0) / 18.0).sqrt();
    let moved = median(&logs[n - n / 3..]) - median(&logs[..n / 3]);
    z.abs() > 3.3 && moved.abs() > 0.01
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
