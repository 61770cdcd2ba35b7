//! How `record` spends its time: one launch of every benchmark first, then what is left is shared out by what each cost.
//!
//! Nothing here looks at a clock, so that it can be tested with costs that are made up.

/// Fresh processes per benchmark at most: each has its own memory layout.
pub const LAUNCHES: u32 = 5;
/// Samples of each process at most.
pub const SAMPLES: usize = 20;
/// Samples that a launch should give, lest its preparation be for one number.
const ENOUGH: usize = 3;
/// Share of a benchmark's part of the budget that samples of its first launch may use: what they cost is not known before, and
/// a benchmark further down may need the time.
const FIRST: f64 = 0.05;

/// What a benchmark has cost so far, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Of a launch before its first sample: start, preparation, warming up.
    pub setup: f64,
    /// Of one sample.
    pub sample: f64,
    /// Of everything.
    pub spent: f64,
    /// Launches that were made.
    pub launches: u32,
}

/// What a benchmark still gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Launches.
    pub launches: u32,
    /// Samples of each.
    pub samples: usize,
}

impl Cost {
    /// Of a launch with so many samples.
    pub fn launch(&self, samples: usize) -> f64 {
        self.setup + self.sample * samples as f64
    }

    /// Samples that a launch is worth making for: where a sample is longer than its preparation, one.
    fn least(&self) -> usize {
        if self.sample > self.setup { 1 } else { ENOUGH }
    }
}

/// Whether a first launch that has taken `samples` takes another one. `part` is a benchmark's equal part of the budget, if there
/// is one; `late` is whether the recording has used more than such parts up to here.
pub fn another(cost: &Cost, samples: usize, part: Option<f64>, late: bool) -> bool {
    let used = cost.launch(samples);
    match part {
        None => samples < cost.least(),
        Some(part) => {
            let cheap = samples < ENOUGH && cost.sample <= used / 10.0 && !late;
            samples < SAMPLES && (cheap || used + cost.sample <= part * FIRST)
        }
    }
}

/// Shares out `left` seconds: launches first, nobody's third before everybody's second that there is time for; then their samples,
/// to whom the least time was given that can use it.
pub fn share(costs: &[Cost], mut left: f64) -> Vec<Share> {
    let mut shares = vec![Share::default(); costs.len()];
    let mut spent: Vec<f64> = costs.iter().map(|c| c.spent).collect();
    let mut give = |rank: &dyn Fn(usize, &Share) -> u32,
                    price: &dyn Fn(usize, &Share) -> Option<f64>,
                    change: &dyn Fn(usize, &mut Share)| {
        loop {
            let all = shares.iter().enumerate().filter_map(|(i, s)| Some((i, price(i, s)?)));
            let order = |i: usize| (rank(i, &shares[i]), spent[i]);
            let fitting = all.filter(|n| n.1 <= left);
            let next = fitting.min_by(|a, b| {
                let (a, b) = (order(a.0), order(b.0));
                a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
            });
            let Some((i, price)) = next else { break };
            left -= price;
            spent[i] += price;
            change(i, &mut shares[i]);
        }
    };
    give(
        &|i, s| costs[i].launches + s.launches,
        &|i, s| (costs[i].launches + s.launches < LAUNCHES).then(|| costs[i].launch(costs[i].least())),
        &|i, s| *s = Share { launches: s.launches + 1, samples: costs[i].least() },
    );
    give(
        &|_, _| 0,
        &|i, s| (s.launches > 0 && s.samples < SAMPLES).then(|| costs[i].sample * f64::from(s.launches)),
        &|_, s| s.samples += 1,
    );
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// What `record` would do with benchmarks of these costs of (setup, sample): seconds, and the costs at the end.
    fn run(each: &[(f64, f64)], budget: f64) -> (f64, Vec<Cost>) {
        let (mut now, part) = (0.0, budget / each.len() as f64);
        let mut costs = Vec::new();
        for (i, (setup, sample)) in each.iter().enumerate() {
            let mut cost = Cost { setup: *setup, sample: *sample, spent: 0.0, launches: 1 };
            let mut samples = 1;
            while another(&cost, samples, Some(part), now + cost.launch(samples) > part * (i + 1) as f64) {
                samples += 1;
            }
            cost.spent = cost.launch(samples);
            now += cost.spent;
            costs.push(cost);
        }
        for (share, cost) in share(&costs, budget - now).iter().zip(&mut costs) {
            cost.launches += share.launches;
            cost.spent += f64::from(share.launches) * cost.launch(share.samples);
        }
        (costs.iter().map(|c| c.spent).sum(), costs)
    }

    #[test]
    fn a_budget_is_kept_wherever_one_launch_of_each_allows_it() {
        let mut random = Random::new(1);
        for round in 0..2000 {
            // From milliseconds to a minute, few or many.
            let mut seconds = |low: f64| low * libm::pow(10.0, random.below(400) as f64 / 100.0);
            let each: Vec<_> = (0..1 + round % 40).map(|_| (seconds(0.004), seconds(0.001))).collect();
            let once: f64 = each.iter().map(|c| c.0 + c.1).sum();
            for factor in [1.0, 1.2, 2.0, 10.0] {
                let (took, costs) = run(&each, once * factor);
                assert!(took <= 1.15 * once * factor, "{took} of {} s: {each:?}", once * factor);
                assert!(costs.iter().all(|c| (1..=LAUNCHES).contains(&c.launches)));
            }
            let (took, costs) = run(&each, once / 3.0);
            assert!(costs.iter().all(|c| c.launches == 1), "one launch of each, whatever the budget");
            assert!(took <= 1.2 * once, "{took} of {once} s");
        }
    }

    #[test]
    fn without_a_budget_launches_take_what_is_worth_them() {
        let cost = |setup, sample| Cost { setup, sample, spent: 0.0, launches: 1 };
        for (cost, samples) in [(cost(0.02, 0.004), 3), (cost(8.0, 0.9), 3), (cost(1.0, 60.0), 1)] {
            assert_eq!((1..).find(|n| !another(&cost, *n, None, true)), Some(samples));
        }
    }

    #[test]
    fn what_is_left_goes_to_those_that_had_least() {
        let cost = |setup, sample, spent| Cost { setup, sample, spent, launches: 1 };
        let quick = cost(0.02, 0.004, 0.1);
        let deep = cost(8.0, 0.5, 9.5);
        let long = cost(0.5, 20.0, 20.5);
        // The quick ones get all there is to have long before the others could be launched again.
        assert_eq!(
            share(&[deep, quick, long], 2.0),
            [Share::default(), Share { launches: 4, samples: SAMPLES }, Share::default()]
        );
        // A sample that is longer than its preparation comes alone.
        assert_eq!(
            share(&[deep, long], 50.0),
            [Share { launches: 3, samples: 3 }, Share { launches: 1, samples: 1 }]
        );
        // A second launch of all comes before the third of one.
        let medium = cost(0.5, 0.4, 1.7);
        assert_eq!(
            share(&[deep, medium], 11.9),
            [Share { launches: 1, samples: 3 }, Share { launches: 1, samples: 4 }]
        );
        assert_eq!(share(&[deep, quick], -5.0), [Share::default(); 2]);
        assert_eq!(share(&[], 10.0), []);
        let done = Cost { launches: LAUNCHES, ..quick };
        assert_eq!(share(&[done], 10.0), [Share::default()]);
    }
}
