//! [`Shared`]: what the threads of a region share, and how they divide the chunks of an operation.
//!
//! Each thread has a range of the chunks to itself and takes them in order, so that it reads weights from one place on; whoever
//! has none left takes the last one of another thread's.

use std::cell::UnsafeCell;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// Iterations of the spin loop before a waiting thread sleeps: longer than an operation of decode usually keeps others
/// waiting, far shorter than a time slice.
const SPINS: u32 = 2_000;

/// The chunks of one thread that nobody has claimed, `epoch << 40 | end << 20 | next`: one word, so that a claim made for an old
/// operation cannot succeed.
#[derive(Debug, Clone, Copy)]
struct Queue(u64);

impl Queue {
    const FIELD: u64 = (1 << 20) - 1;
    fn new(epoch: u64, chunks: Range<usize>) -> Queue {
        Queue((epoch << 40) | ((chunks.end as u64) << 20) | chunks.start as u64)
    }
    fn end(self) -> u64 {
        (self.0 >> 20) & Self::FIELD
    }
    fn next(self) -> u64 {
        self.0 & Self::FIELD
    }
    /// The chunk at one end, and what is left without it.
    fn split(self, own: bool) -> Option<(usize, Queue)> {
        let (next, end) = (self.next(), self.end());
        match next < end {
            true if own => Some((next as usize, Queue(self.0 + 1))),
            true => Some((end as usize - 1, Queue(self.0 - (1 << 20)))),
            false => None,
        }
    }
}

/// Apart from what other threads write: on two lines, because the cache fetches pairs of them.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

type Job = *const (dyn Fn(usize, usize) + Sync);

/// The threads of a region, and the operation that they work on.
#[derive(Debug)]
pub(super) struct Shared {
    /// Goes up with every operation: what waiting threads look at.
    epoch: Apart<AtomicU64>,
    /// A [`Queue`] for each thread.
    queues: Box<[Apart<AtomicU64>]>,
    done: Apart<AtomicUsize>,
    /// Chunks of the operation.
    chunks: AtomicUsize,
    quit: AtomicBool,
    /// Set while an operation runs: there is one job at a time.
    busy: AtomicBool,
    job: UnsafeCell<Option<Job>>,
    /// Threads that sleep on `wake`, or are about to.
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
}

// SAFETY: `job` is written only by `run`, of which `busy` lets one run at a time, while no chunk is claimed, and read only by a thread that has claimed a
// chunk of the operation it belongs to; `run` does not return before every claimed chunk is done. The claim
// (acquire) reads the queue that was published (release) after `job` was written.
unsafe impl Sync for Shared {}

/// Lets the threads of a region go when it ends.
pub(super) struct QuitOnDrop<'a>(pub(super) &'a Shared);
impl Drop for QuitOnDrop<'_> {
    fn drop(&mut self) {
        self.0.quit.store(true, Ordering::SeqCst);
        self.0.notify();
    }
}

/// The chunks that a thread has run, counted as done when it finds no more, also by unwinding, so that nobody waits for ever. Not one by one:
/// every thread would wait for the line of `done` after each of its chunks.
struct Ran<'a>(&'a Shared, usize);
impl Drop for Ran<'_> {
    fn drop(&mut self) {
        let chunks = self.0.chunks.load(Ordering::Relaxed);
        if self.1 > 0 && self.0.done.0.fetch_add(self.1, Ordering::SeqCst) + self.1 == chunks {
            self.0.notify();
        }
    }
}

/// Waits for the claimed chunks also when the caller's own chunk unwinds: they borrow its stack.
struct WaitOnDrop<'a>(&'a Shared, usize);
impl Drop for WaitOnDrop<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Take what is left, so that no new chunk starts.
            while self.0.claim(0).is_some() {
                self.0.done.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        self.0.wait_until(|| self.0.done.0.load(Ordering::SeqCst) >= self.1);
        self.0.busy.store(false, Ordering::Release);
    }
}

impl Shared {
    /// For `threads` threads.
    pub(super) fn new(threads: usize) -> Shared {
        let (epoch, done, chunks, sleepers) = Default::default();
        let (quit, busy, lock, wake) = Default::default();
        let queues = (0..threads).map(|_| Apart::default()).collect();
        Shared { epoch, queues, done, chunks, quit, busy, job: UnsafeCell::new(None), sleepers, lock, wake }
    }

    /// Calls `f(worker, i)` for every `i` below the last of `ends`, where the thread `t`'s own chunks end before `ends[t]`;
    /// as many chunks at a time as a queue can count.
    pub(super) fn run_all(&self, ends: &[usize], f: &(dyn Fn(usize, usize) + Sync)) {
        let most = Queue::FIELD as usize;
        let chunks = ends.last().copied().unwrap_or(0);
        for start in (0..chunks).step_by(most) {
            let end =
                |t: usize| ends.get(t).map_or(chunks, |end| *end).clamp(start, (start + most).min(chunks));
            self.run(|t| end(t) - start, &|worker, i| f(worker, start + i));
        }
    }

    fn run(&self, end: impl Fn(usize) -> usize, f: &(dyn Fn(usize, usize) + Sync)) {
        assert!(!self.busy.swap(true, Ordering::Acquire), "an operation of a crew cannot start another");
        // SAFETY: the lifetime is erased only until this function returns, after every chunk is done.
        let job = unsafe { std::mem::transmute::<*const (dyn Fn(usize, usize) + Sync + '_), Job>(f) };
        // SAFETY: no chunk is claimed: the previous `run` waited for all of its chunks.
        unsafe { *self.job.get() = Some(job) };
        self.done.0.store(0, Ordering::Relaxed);
        let chunks = end(self.queues.len() - 1);
        self.chunks.store(chunks, Ordering::Relaxed);
        let epoch = self.epoch.0.load(Ordering::Relaxed) + 1;
        let mut start = 0;
        for (t, queue) in self.queues.iter().enumerate() {
            let own = start..end(t);
            start = own.end;
            queue.0.store(Queue::new(epoch & 0xff_ffff, own).0, Ordering::Release);
        }
        self.epoch.0.store(epoch, Ordering::SeqCst);
        self.notify();
        let _wait = WaitOnDrop(self, chunks);
        self.claim_and_run(0);
    }

    /// Takes the next chunk of `worker`'s own, or else the last one of another thread's.
    fn claim(&self, worker: usize) -> Option<usize> {
        let threads = self.queues.len();
        (0..threads).find_map(|i| {
            let queue = &self.queues[(worker + i) % threads].0;
            let mut seen = queue.load(Ordering::Acquire);
            loop {
                let (chunk, rest) = Queue(seen).split(i == 0)?;
                match queue.compare_exchange_weak(seen, rest.0, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => return Some(chunk),
                    Err(now) => seen = now,
                }
            }
        })
    }

    /// Claims chunks and runs them until none is left. All are of one operation: it is not done before they are counted.
    fn claim_and_run(&self, worker: usize) {
        let mut ran = Ran(self, 0);
        while let Some(chunk) = self.claim(worker) {
            ran.1 += 1;
            // SAFETY: a chunk of the current operation is claimed, so `job` is its function and stays alive.
            if let Some(job) = unsafe { *self.job.get() } {
                // SAFETY: as above.
                unsafe { (*job)(worker, chunk) };
            }
        }
    }

    /// What thread `worker` does until the region ends.
    pub(super) fn work(&self, worker: usize) {
        while !self.quit.load(Ordering::Acquire) {
            // Before the look at the queues, so that no operation is missed.
            let seen = self.epoch.0.load(Ordering::Acquire);
            self.claim_and_run(worker);
            self.wait_until(|| {
                self.epoch.0.load(Ordering::SeqCst) != seen || self.quit.load(Ordering::SeqCst)
            });
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

#[cfg(test)]
mod tests {
    use super::{Queue, Shared};

    #[test]
    fn a_thread_takes_its_first_chunk_and_another_thread_the_last() {
        let queue = Queue::new(7, 3..6);
        let (first, rest) = queue.split(true).unwrap();
        let (last, rest) = rest.split(false).unwrap();
        let (middle, rest) = rest.split(false).unwrap();
        assert_eq!((first, middle, last), (3, 4, 5));
        assert!(rest.split(true).is_none() && rest.split(false).is_none());
        assert_eq!(rest.0 >> 40, 7);
    }

    #[test]
    fn a_thread_alone_goes_through_its_own_chunks_and_then_through_the_others_from_behind() {
        let (shared, taken) = (Shared::new(3), std::sync::Mutex::new(Vec::new()));
        shared.run_all(&[2, 5, 7], &|worker, i| {
            assert_eq!(worker, 0);
            taken.lock().unwrap().push(i);
        });
        assert_eq!(*taken.lock().unwrap(), [0, 1, 4, 3, 2, 6, 5]);
    }
}
