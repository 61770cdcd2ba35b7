//! [`Pace`]: whether fewer threads decode faster, found out while decoding.
//!
//! Decode is bound by memory, and how many cores use up a memory's bandwidth is not written on any CPU: on a small board two
//! threads often beat four. The first tokens are computed with all threads and with half of them in turns, and the faster number
//! stays; `kinglet tune` does the same with more care. No token depends on it.

use std::time::Duration;

/// Tokens that are not measured: pages and caches are cold.
const WARM_UP: u32 = 2;
/// Tokens that are measured with each of two numbers of threads; the fastest counts, for what slows a token down is no property of
/// a number.
const SAMPLES: u32 = 4;
/// Tokens after which it starts again: the machine may be busier or quieter than it was.
const AGAIN: u32 = 1024;

/// The number of threads for the next token.
#[derive(Debug)]
pub(super) struct Pace {
    most: usize,
    current: usize,
    /// Since it started.
    tokens: u32,
    /// The least time of a token with `current` threads, and with half as many.
    best: [Duration; 2],
}

impl Pace {
    pub(super) fn new(most: usize) -> Pace {
        Pace { most, current: most, tokens: 0, best: [Duration::MAX; 2] }
    }

    /// Half of the threads, and at least two: one alone cannot fill a memory system.
    fn half(&self) -> usize {
        self.current.div_ceil(2).max(2).min(self.current)
    }

    /// Which of the two numbers the next token measures, if it does.
    fn measures(&self) -> Option<usize> {
        let measured = self.tokens.checked_sub(WARM_UP)?;
        (measured < 2 * SAMPLES && self.half() < self.current).then_some(measured as usize % 2)
    }

    /// Threads that are best as far as is known.
    pub(super) fn best(&self) -> usize {
        self.current
    }

    /// Threads for the next token.
    pub(super) fn next(&self) -> usize {
        if self.measures() == Some(1) { self.half() } else { self.current }
    }

    /// Hears how long that token took.
    pub(super) fn took(&mut self, time: Duration) {
        if let Some(best) = self.measures().and_then(|i| self.best.get_mut(i)) {
            *best = time.min(*best);
        }
        self.tokens += 1;
        if self.tokens == WARM_UP + 2 * SAMPLES {
            let [all, half] = self.best;
            // Clearly faster, or it stays as it is.
            if half < all.mul_f64(0.95) {
                self.current = self.half();
                self.tokens = WARM_UP;
            }
            self.best = [Duration::MAX; 2];
        } else if self.tokens >= AGAIN {
            *self = Pace::new(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AGAIN, Pace};
    use std::time::Duration;

    /// Decodes on a machine where a token takes `time(threads)` microseconds; the threads of each token.
    fn decode(pace: &mut Pace, tokens: usize, time: impl Fn(usize) -> u64) -> Vec<usize> {
        let mut token = |_| {
            let threads = pace.next();
            pace.took(Duration::from_micros(time(threads)));
            threads
        };
        (0..tokens).map(&mut token).collect()
    }

    #[test]
    fn a_memory_that_two_threads_use_up_gets_two() {
        let mut pace = Pace::new(8);
        let used = decode(&mut pace, 40, |threads| 1000 + 100 * threads as u64);
        assert_eq!((pace.best(), used[0], *used.last().unwrap()), (2, 8, 2));
        assert!(used.contains(&4));
    }

    #[test]
    fn cores_that_help_are_kept() {
        let mut pace = Pace::new(4);
        let used = decode(&mut pace, 200, |threads| 4000 / threads as u64);
        assert_eq!((pace.best(), used.iter().filter(|t| **t == 2).count()), (4, 4));
        // A difference that may be noise changes nothing.
        let mut pace = Pace::new(4);
        decode(&mut pace, 40, |threads| if threads == 4 { 1000 } else { 960 });
        assert_eq!(pace.best(), 4);
    }

    #[test]
    fn it_looks_again_and_leaves_one_or_two_threads_alone() {
        let mut pace = Pace::new(4);
        decode(&mut pace, AGAIN as usize / 2, |threads| 1000 * threads as u64);
        assert_eq!(pace.best(), 2);
        decode(&mut pace, AGAIN as usize, |threads| 4000 / threads as u64);
        assert_eq!(pace.best(), 4);
        for n in [1, 2] {
            assert!(decode(&mut Pace::new(n), 50, |threads| 1000 * threads as u64).iter().all(|t| *t == n));
        }
    }
}
