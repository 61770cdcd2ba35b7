//! Threads: rayon's pool, entered once per batch of tokens, with a cheap hand-out of work inside.
//!
//! A [`Team::region`] wakes the pool's threads once. Inside it, [`Crew::for_each`] hands out chunks of one operation
//! through an atomic word for each thread, so an operation costs about a microsecond to start and join instead of a
//! fork/join of the pool. Results never depend on who computed a chunk (law 1).
//!
//! **Beside other processes.** Each thread begins with its own part of the chunks, and one that has finished takes over what
//! others have left: a thread that the system does not run holds back at most the one chunk it has claimed. Whoever waits
//! for it spins briefly and then sleeps, which leaves a core free on which the system runs the thread that is waited for.
//! Between regions all threads sleep.

mod pace;
mod shared;

use crate::trace;
use pace::Pace;
use shared::{QuitOnDrop, Shared};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Threads: some number for single tokens, whose speed is the memory's, and another for batches, whose speed is the cores'.
#[derive(Debug)]
pub struct Team {
    pool: Option<rayon::ThreadPool>,
    threads: usize,
    threads_batch: usize,
    /// Where the number for single tokens may be lowered.
    pace: Option<Mutex<Pace>>,
    /// One for each thread; kernels need scratch, and never allocate.
    scratch: Vec<Mutex<Vec<u8>>>,
    /// One for each thread, for values that never leave it.
    values: Vec<Mutex<Vec<f32>>>,
}

impl Team {
    /// A team of `threads` threads, the caller's own among them.
    ///
    /// # Errors
    /// When `threads` is 0 or the system will not start them.
    pub fn new(threads: usize) -> Result<Team, String> {
        Team::with_batch(threads, threads)
    }

    /// A team of `threads` threads for single tokens and `threads_batch` for batches, the caller's own among them.
    ///
    /// # Errors
    /// When one of them is 0 or the system will not start them.
    pub fn with_batch(threads: usize, threads_batch: usize) -> Result<Team, String> {
        if threads == 0 || threads_batch == 0 {
            return Err("the number of threads must be at least 1".to_owned());
        }
        let most = threads.max(threads_batch);
        let scratch = (0..most).map(|_| Mutex::default()).collect();
        let values = (0..most).map(|_| Mutex::default()).collect();
        if most == 1 {
            return Ok(Team { pool: None, threads, threads_batch, pace: None, scratch, values });
        }
        let builder = rayon::ThreadPoolBuilder::new().num_threads(most - 1);
        let pool = builder.thread_name(|i| format!("kinglet-{}", i + 1)).build();
        let pool = pool.map_err(|e| format!("cannot start {most} threads: {e}"))?;
        Ok(Team { pool: Some(pool), threads, threads_batch, pace: None, scratch, values })
    }

    /// From now on fewer threads compute single tokens where that turns out to be faster.
    pub fn find_pace(&mut self) {
        self.pace = (self.threads > 2).then(|| Mutex::new(Pace::new(self.threads)));
    }

    fn pace(&self) -> Option<MutexGuard<'_, Pace>> {
        self.pace.as_ref().map(|p| p.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Threads for single tokens.
    pub fn threads(&self) -> usize {
        self.pace().map_or(self.threads, |p| p.best())
    }

    /// Threads for batches.
    pub fn threads_batch(&self) -> usize {
        self.threads_batch
    }

    /// Sets both numbers, each at most the larger one the team was made with, and at least 1.
    pub fn set_threads(&mut self, threads: usize, threads_batch: usize) {
        let most = self.scratch.len();
        self.threads = threads.clamp(1, most);
        self.threads_batch = threads_batch.clamp(1, most);
        self.pace = None;
    }

    /// Runs `f` on the caller's thread with the other threads at hand: as many as a batch of `tokens` tokens is worth.
    pub fn region<R>(&self, tokens: usize, f: impl FnOnce(&Crew<'_>) -> R) -> R {
        if tokens > 1 || self.pace.is_none() {
            return self.region_of(if tokens > 1 { self.threads_batch } else { self.threads }, f);
        }
        let threads = self.pace().map_or(self.threads, |p| p.next());
        let start = Instant::now();
        let result = self.region_of(threads, f);
        if let Some(mut pace) = self.pace() {
            pace.took(start.elapsed());
        }
        result
    }

    fn region_of<R>(&self, threads: usize, f: impl FnOnce(&Crew<'_>) -> R) -> R {
        let Some(pool) = self.pool.as_ref().filter(|_| threads > 1) else {
            return f(&Crew { shared: None, team: self, threads: 1 });
        };
        let shared = Shared::new(threads);
        pool.in_place_scope(|scope| {
            let shared = &shared;
            for worker in 1..threads {
                scope.spawn(move |_| shared.work(worker));
            }
            let _quit = QuitOnDrop(shared);
            f(&Crew { shared: Some(shared), team: self, threads })
        })
    }
}

/// The threads of one region.
#[derive(Debug)]
pub struct Crew<'a> {
    shared: Option<&'a Shared>,
    team: &'a Team,
    threads: usize,
}

impl Crew<'_> {
    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The scratch memory of `worker`, kept from one operation to the next. Never waits, because no two calls with one
    /// worker run at the same time.
    pub fn scratch(&self, worker: usize) -> MutexGuard<'_, Vec<u8>> {
        let scratch = &self.team.scratch[worker % self.team.scratch.len()];
        // A thread that panicked leaves garbage behind, which is what scratch is.
        scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Crew::scratch`], for at least `n` values between two steps of one chunk.
    pub fn values(&self, worker: usize, n: usize) -> MutexGuard<'_, Vec<f32>> {
        let values = &self.team.values[worker % self.team.values.len()];
        let mut values = values.lock().unwrap_or_else(PoisonError::into_inner);
        if values.len() < n {
            values.resize(n, 0.0);
        }
        values
    }

    /// Calls `f(worker, i)` for every `i < chunks`, each once, on any thread, and returns when all are done. `worker` is
    /// below [`Crew::threads`], and no two calls with the same worker run at the same time.
    ///
    /// # Panics
    /// When `f` panics, and when `f` itself starts an operation of the crew.
    pub fn for_each(&self, chunks: usize, f: impl Fn(usize, usize) + Sync) {
        self.for_each_to(&self.even_ends(chunks), f);
    }

    /// Where the shares of the threads end when so many chunks are shared out evenly.
    fn even_ends(&self, chunks: usize) -> Vec<usize> {
        (1..=self.threads).map(|t| chunks * t / self.threads).collect()
    }

    /// As [`Crew::for_each`], where the thread `t` begins with the chunks from `ends[t - 1]`, or 0, to `ends[t]`.
    fn for_each_to(&self, ends: &[usize], f: impl Fn(usize, usize) + Sync) {
        let chunks = ends.last().copied().unwrap_or(0);
        let Some(shared) = self.shared.filter(|_| chunks > 1) else {
            return (0..chunks).for_each(|i| f(0, i));
        };
        if trace::on() {
            return shared.run_all(ends, &|worker, i| {
                let _chunk = trace::chunk(worker);
                f(worker, i);
            });
        }
        shared.run_all(ends, &f);
    }

    /// Calls `f(worker, item)` for every item, as [`Crew::for_each`]. Items may hold disjoint `&mut` parts of one result.
    pub fn for_each_owned<T: Send>(&self, items: Vec<T>, f: impl Fn(usize, T) + Sync) {
        self.for_each_owned_to(&self.even_ends(items.len()), items, f);
    }

    /// As [`Crew::for_each_owned`], where the thread `t` begins with the items of `shares[t]`, first to last.
    pub fn for_each_share<T: Send>(&self, shares: Vec<Vec<T>>, f: impl Fn(usize, T) + Sync) {
        let mut ends: Vec<usize> = shares.iter().map(Vec::len).collect();
        (1..ends.len()).for_each(|t| ends[t] += ends[t - 1]);
        self.for_each_owned_to(&ends, shares.into_iter().flatten().collect(), f);
    }

    fn for_each_owned_to<T: Send>(&self, ends: &[usize], items: Vec<T>, f: impl Fn(usize, T) + Sync) {
        struct Items<T>(Vec<std::mem::ManuallyDrop<T>>);
        impl<T> Items<T> {
            /// # Safety
            /// Called at most once for each `i`.
            unsafe fn take(&self, i: usize) -> T {
                // SAFETY: the caller takes each item once, and `ManuallyDrop` never drops it.
                unsafe { std::ptr::read(&*self.0[i]) }
            }
        }
        // SAFETY: an item moves to the one thread that takes it; nothing else of it is shared.
        unsafe impl<T: Send> Sync for Items<T> {}
        let items = Items(items.into_iter().map(std::mem::ManuallyDrop::new).collect());
        // SAFETY: `for_each_to` calls each index once, and every index below the last of `ends`, which is the number of items.
        self.for_each_to(ends, |worker, i| f(worker, unsafe { items.take(i) }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_chunk_runs_once() {
        for threads in 1..=4 {
            let team = Team::new(threads).unwrap();
            team.region(2, |crew| {
                for chunks in (0..40).chain([1000, (1 << 20) + 5]) {
                    let counts: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
                    crew.for_each(chunks, |worker, i| {
                        assert!(worker < threads);
                        counts[i].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1), "{threads} {chunks}");
                }
            });
        }
    }

    #[test]
    fn every_item_is_given_once() {
        let team = Team::new(3).unwrap();
        let mut out = vec![0usize; 100];
        team.region(2, |crew| {
            let parts: Vec<_> = out.chunks_mut(7).enumerate().collect();
            crew.for_each_owned(parts, |_, (i, part)| part.iter_mut().for_each(|x| *x += i + 1));
        });
        assert!(out.iter().enumerate().all(|(i, x)| *x == i / 7 + 1));
    }

    #[test]
    fn batches_have_their_own_number_of_threads() {
        let mut team = Team::with_batch(3, 2).unwrap();
        let counts = |team: &Team| [1, 5].map(|n| team.region(n, |c| c.threads()));
        assert_eq!(counts(&team), [3, 2]);
        team.find_pace();
        let used: Vec<usize> = (0..12).map(|_| team.region(1, |c| c.threads())).collect();
        assert!(used.contains(&2) && used.contains(&3) && team.region(2, |c| c.threads()) == 2, "{used:?}");
        team.set_threads(1, 9);
        assert_eq!((counts(&team), team.threads_batch()), ([1, 3], 3));
        assert!(Team::with_batch(1, 0).is_err());
    }

    #[test]
    fn an_operation_cannot_start_another() {
        let team = Team::new(2).unwrap();
        let nested = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            team.region(2, |crew| crew.for_each(4, |_, _| crew.for_each(4, |_, _| {})));
        }));
        assert!(nested.is_err());
        team.region(2, |crew| crew.for_each(4, |_, _| {}));
    }

    #[test]
    fn zero_threads_is_an_error() {
        assert!(Team::new(0).unwrap_err().contains("at least 1"));
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        let team = Team::new(3).unwrap();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            team.region(2, |crew| crew.for_each(8, |_, i| assert!(i > 100, "chunk {i}")));
        }));
        assert!(result.is_err());
    }
}
