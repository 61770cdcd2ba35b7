//! Threads: rayon's pool, entered once per batch of tokens, with a cheap hand-out of work inside.
//!
//! A [`Team::region`] wakes the pool's threads once. Inside it, [`Crew::for_each`] hands out chunks of one operation
//! through a single atomic word, so an operation costs well under a microsecond to start and join instead of a
//! fork/join of the pool. Results never depend on who computed a chunk (law 1).
//!
//! **Beside other processes.** Chunks are claimed, not assigned: a thread that the system does not run holds back at most the
//! one chunk it has claimed. Whoever waits for it spins briefly and then sleeps, which leaves a core free on which the system
//! runs the thread that is waited for. Between regions all threads sleep.

mod pace;

use crate::trace;
use pace::Pace;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Iterations of the spin loop before a waiting thread sleeps: longer than an operation of decode usually keeps others
/// waiting, far shorter than a time slice.
const SPINS: u32 = 2_000;

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
        let shared = Shared::default();
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

    /// As [`Crew::scratch`], for values between two steps of one chunk.
    pub fn values(&self, worker: usize) -> MutexGuard<'_, Vec<f32>> {
        let values = &self.team.values[worker % self.team.values.len()];
        values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `f(worker, i)` for every `i < chunks`, each once, on any thread, and returns when all are done. `worker` is
    /// below [`Crew::threads`], and no two calls with the same worker run at the same time.
    ///
    /// # Panics
    /// When `f` panics, and when `f` itself starts an operation of the crew.
    pub fn for_each(&self, chunks: usize, f: impl Fn(usize, usize) + Sync) {
        let Some(shared) = self.shared.filter(|_| chunks > 1) else {
            return (0..chunks).for_each(|i| f(0, i));
        };
        if trace::on() {
            return shared.run_all(chunks, &|worker, i| {
                let _chunk = trace::chunk(worker);
                f(worker, i);
            });
        }
        shared.run_all(chunks, &f);
    }

    /// Calls `f(worker, item)` for every item, as [`Crew::for_each`]. Items may hold disjoint `&mut` parts of one result.
    pub fn for_each_owned<T: Send>(&self, items: Vec<T>, f: impl Fn(usize, T) + Sync) {
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
        // SAFETY: `for_each` calls each index once.
        self.for_each(items.0.len(), |worker, i| f(worker, unsafe { items.take(i) }));
    }
}

/// `epoch << 40 | chunks << 20 | next`: one word, so that a claim made for an old operation cannot succeed.
#[derive(Debug, Clone, Copy)]
struct Ticket(u64);

impl Ticket {
    const FIELD: u64 = (1 << 20) - 1;
    fn new(epoch: u64, chunks: usize) -> Ticket {
        Ticket((epoch << 40) | ((chunks as u64) << 20))
    }
    fn epoch(self) -> u64 {
        self.0 >> 40
    }
    fn chunks(self) -> u64 {
        (self.0 >> 20) & Self::FIELD
    }
    fn next(self) -> u64 {
        self.0 & Self::FIELD
    }
}

type Job = *const (dyn Fn(usize, usize) + Sync);

#[derive(Debug)]
struct Shared {
    ticket: AtomicU64,
    done: AtomicUsize,
    quit: AtomicBool,
    /// Set while an operation runs: there is one job at a time.
    busy: AtomicBool,
    job: UnsafeCell<Option<Job>>,
    /// Threads that sleep on `wake`, or are about to.
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Default for Shared {
    fn default() -> Self {
        let (ticket, done) = (AtomicU64::new(0), AtomicUsize::new(0));
        let (quit, busy) = (AtomicBool::new(false), AtomicBool::new(false));
        let (sleepers, lock, wake) = (AtomicUsize::new(0), Mutex::default(), Condvar::default());
        Shared { ticket, done, quit, busy, job: UnsafeCell::new(None), sleepers, lock, wake }
    }
}

// SAFETY: `job` is written only by `run`, of which `busy` lets one run at a time, while no chunk is claimed, and read only by a thread that has claimed a
// chunk of the operation it belongs to; `run` does not return before every claimed chunk is done. The claim
// (acquire) reads the ticket that was published (release) after `job` was written.
unsafe impl Sync for Shared {}

struct QuitOnDrop<'a>(&'a Shared);
impl Drop for QuitOnDrop<'_> {
    fn drop(&mut self) {
        self.0.quit.store(true, Ordering::SeqCst);
        self.0.notify();
    }
}

/// Counts a chunk of an operation of so many as done even when its function unwinds, so that nobody waits for ever.
struct DoneOnDrop<'a>(&'a Shared, u64);
impl Drop for DoneOnDrop<'_> {
    fn drop(&mut self) {
        if self.0.done.fetch_add(1, Ordering::SeqCst) as u64 + 1 == self.1 {
            self.0.notify();
        }
    }
}

impl Shared {
    /// As many chunks at a time as a ticket can count.
    fn run_all(&self, chunks: usize, f: &(dyn Fn(usize, usize) + Sync)) {
        let most = Ticket::FIELD as usize;
        for start in (0..chunks).step_by(most) {
            self.run(most.min(chunks - start), &|worker, i| f(worker, start + i));
        }
    }

    fn run(&self, chunks: usize, f: &(dyn Fn(usize, usize) + Sync)) {
        debug_assert!(chunks as u64 <= Ticket::FIELD, "too many chunks");
        assert!(!self.busy.swap(true, Ordering::Acquire), "an operation of a crew cannot start another");
        // SAFETY: the lifetime is erased only until this function returns, after every chunk is done.
        let job = unsafe { std::mem::transmute::<*const (dyn Fn(usize, usize) + Sync + '_), Job>(f) };
        // SAFETY: no chunk is claimed: the previous `run` waited for all of its chunks.
        unsafe { *self.job.get() = Some(job) };
        self.done.store(0, Ordering::Relaxed);
        let epoch = Ticket(self.ticket.load(Ordering::Relaxed)).epoch() + 1;
        self.ticket.store(Ticket::new(epoch & 0xff_ffff, chunks).0, Ordering::SeqCst);
        self.notify();
        let _wait = WaitOnDrop(self, chunks);
        while self.claim_and_run(0) {}
    }

    /// Claims one chunk and runs it; false when none is left.
    fn claim_and_run(&self, worker: usize) -> bool {
        let mut seen = Ticket(self.ticket.load(Ordering::Acquire));
        while seen.next() < seen.chunks() {
            let claim =
                self.ticket.compare_exchange_weak(seen.0, seen.0 + 1, Ordering::AcqRel, Ordering::Acquire);
            match claim {
                Err(now) => seen = Ticket(now),
                Ok(_) => {
                    let _done = DoneOnDrop(self, seen.chunks());
                    // SAFETY: a chunk of the current operation is claimed, so `job` is its function and stays alive.
                    if let Some(job) = unsafe { *self.job.get() } {
                        // SAFETY: as above.
                        unsafe { (*job)(worker, seen.next() as usize) };
                    }
                    return true;
                }
            }
        }
        false
    }

    fn work(&self, worker: usize) {
        while !self.quit.load(Ordering::Acquire) {
            if !self.claim_and_run(worker) {
                self.wait_until(|| {
                    let ticket = Ticket(self.ticket.load(Ordering::SeqCst));
                    ticket.next() < ticket.chunks() || self.quit.load(Ordering::SeqCst)
                });
            }
        }
    }

    /// Returns when `ready`, which becomes true by a sequentially consistent write that [`Shared::notify`] follows.
    ///
    /// Either the writer sees this thread among the sleepers, or this thread, which counts itself before it looks again, sees
    /// the write; and the lock keeps a notification from falling between that look and the sleep.
    fn wait_until(&self, ready: impl Fn() -> bool) {
        for _ in 0..SPINS {
            if ready() {
                return;
            }
            std::hint::spin_loop();
        }
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while !ready() {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes those who wait, after something they may wait for was written.
    fn notify(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_all();
        }
    }
}

/// Waits for the claimed chunks also when the caller's own chunk unwinds: they borrow its stack.
struct WaitOnDrop<'a>(&'a Shared, usize);
impl Drop for WaitOnDrop<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Take what is left, so that no new chunk starts.
            while self.0.claim_and_skip() {}
        }
        self.0.wait_until(|| self.0.done.load(Ordering::SeqCst) >= self.1);
        self.0.busy.store(false, Ordering::Release);
    }
}

impl Shared {
    fn claim_and_skip(&self) -> bool {
        let seen = Ticket(self.ticket.load(Ordering::Acquire));
        if seen.next() >= seen.chunks() {
            return false;
        }
        if self.ticket.compare_exchange(seen.0, seen.0 + 1, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.done.fetch_add(1, Ordering::SeqCst);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
