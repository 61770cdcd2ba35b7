//! [`Shared`]: what the threads of a region share, and how they divide the chunks of an operation.
//!
//! Each thread has a range of the chunks to itself and takes them in order, so that it reads weights from one place on; whoever
//! has none left takes the last one of another thread's.

use std::cell::UnsafeCell;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex, PoisonError};

/// Iterations of the spin loop before a waiting thread sleeps: longer than an operation of decode usually keeps others
/// waiting, far shorter than a time slice.
const SPINS: u32 = 2_000;

/// The chunks of one thread that nobody has claimed, `epoch << 40 | end << 20 | next`: one word, so that a claim made for an old
/// operation cannot succeed, and so that a waiting thread looks at what it is going to claim from, and at nothing else.
#[derive(Debug, Clone, Copy)]
struct Queue(u64);

impl Queue {
    const FIELD: u64 = (1 << 20) - 1;
    /// The epoch of no operation: the region ends.
    const QUIT: u64 = (1 << 24) - 1;
    fn new(epoch: u64, chunks: Range<usize>) -> Queue {
        Queue((epoch << 40) | ((chunks.end as u64) << 20) | chunks.start as u64)
    }
    fn epoch(self) -> u64 {
        self.0 >> 40
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

/// What one thread begins an operation with. In one line: what crosses from core to core is what an operation waits for.
#[derive(Debug, Default)]
struct Share {
    /// A [`Queue`].
    queue: AtomicU64,
    /// What its chunks are given to: the same for every thread.
    job: UnsafeCell<Option<Job>>,
}

/// The threads of a region, and the operation that they work on.
#[derive(Debug)]
pub(super) struct Shared {
    shares: Box<[Apart<Share>]>,
    /// Chunks that threads other than the caller's have run in this region.
    done: Apart<AtomicUsize>,
    /// What only the caller's thread looks at.
    caller: Apart<Caller>,
    /// Where threads wait for an operation.
    idle: Apart<Wait>,
    /// Where the caller's thread waits for those of an operation.
    finish: Apart<Wait>,
}

/// Of the thread that [`Shared::run_all`] is called on.
#[derive(Debug, Default)]
struct Caller {
    /// Set while an operation runs: there is one job at a time.
    busy: AtomicBool,
    /// Of the last operation.
    epoch: AtomicU64,
}

// SAFETY: a share's `job` is written only by `run`, of which `busy` lets one run at a time, while no chunk is claimed, and read only by a
// thread that has claimed a chunk from its queue; `run` does not return before every claimed chunk is done. The claim (acquire) reads
// the queue that was published (release) after that `job` was written.
unsafe impl Sync for Shared {}

/// Lets the threads of a region go when it ends.
pub(super) struct QuitOnDrop<'a>(pub(super) &'a Shared);
impl Drop for QuitOnDrop<'_> {
    fn drop(&mut self) {
        for share in &self.0.shares {
            share.0.queue.store(Queue::new(Queue::QUIT, 0..0).0, Ordering::SeqCst);
        }
        self.0.idle.0.notify();
    }
}

/// The chunks that a thread has run, counted as done when it finds no more, also by unwinding, so that nobody waits for ever. Not one
/// by one: it would wait for the line of `done` after each of them.
struct Ran<'a>(&'a Shared, usize);
impl Drop for Ran<'_> {
    fn drop(&mut self) {
        if self.1 > 0 {
            self.0.done.0.fetch_add(self.1, Ordering::SeqCst);
            self.0.finish.0.notify();
        }
    }
}

/// Waits until `done` is what it is when others have done all that they claimed, also when the caller's own chunk unwinds: they
/// borrow its stack.
struct WaitOnDrop<'a>(&'a Shared, usize);
impl Drop for WaitOnDrop<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Take what is left, so that no new chunk starts.
            while self.0.claim(0).is_some() {
                self.1 = self.1.wrapping_sub(1);
            }
        }
        self.0.finish.0.until(|| self.0.done.0.load(Ordering::SeqCst) == self.1);
        self.0.caller.0.busy.store(false, Ordering::Release);
    }
}

impl Shared {
    /// For `threads` threads.
    pub(super) fn new(threads: usize) -> Shared {
        let (done, caller, idle, finish) = Default::default();
        Shared { shares: (0..threads).map(|_| Apart::default()).collect(), done, caller, idle, finish }
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
        let Caller { busy, epoch } = &self.caller.0;
        assert!(!busy.swap(true, Ordering::Acquire), "an operation of a crew cannot start another");
        // SAFETY: the lifetime is erased only until this function returns, after every chunk is done.
        let job = unsafe { std::mem::transmute::<*const (dyn Fn(usize, usize) + Sync + '_), Job>(f) };
        let chunks = end(self.shares.len() - 1);
        let mut wait = WaitOnDrop(self, self.done.0.load(Ordering::Relaxed).wrapping_add(chunks));
        let next = (epoch.load(Ordering::Relaxed) + 1) % Queue::QUIT;
        epoch.store(next, Ordering::Relaxed);
        let mut start = 0;
        for (t, Apart(share)) in self.shares.iter().enumerate() {
            let own = start..end(t);
            start = own.end;
            // SAFETY: no chunk of this queue is claimed: the previous `run` waited for all of them.
            unsafe { *share.job.get() = Some(job) };
            share.queue.store(Queue::new(next, own).0, Ordering::Release);
        }
        // Between these stores and the look for sleepers.
        fence(Ordering::SeqCst);
        self.idle.0.notify();
        while let Some(claimed) = self.claim(0) {
            wait.1 = wait.1.wrapping_sub(1);
            self.run_chunk(0, claimed);
        }
    }

    /// Takes the next chunk of `worker`'s own, or else the last one of another thread's; and whose it was.
    fn claim(&self, worker: usize) -> Option<(usize, usize)> {
        let threads = self.shares.len();
        let other = || (1..threads).find_map(|i| self.claim_from((worker + i) % threads, false));
        self.claim_own(worker).or_else(other)
    }

    fn claim_own(&self, worker: usize) -> Option<(usize, usize)> {
        self.claim_from(worker, true)
    }

    fn claim_from(&self, owner: usize, own: bool) -> Option<(usize, usize)> {
        let queue = &self.shares[owner].0.queue;
        let mut seen = queue.load(Ordering::Acquire);
        loop {
            let (chunk, rest) = Queue(seen).split(own)?;
            match queue.compare_exchange_weak(seen, rest.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some((owner, chunk)),
                Err(now) => seen = now,
            }
        }
    }

    /// Runs what [`Shared::claim`] returned.
    fn run_chunk(&self, worker: usize, (owner, chunk): (usize, usize)) {
        // SAFETY: a chunk of `owner`'s is claimed and not yet done, so `job` is not written.
        if let Some(job) = unsafe { *self.shares[owner].0.job.get() } {
            // SAFETY: for the same reason the function is alive.
            unsafe { (*job)(worker, chunk) };
        }
    }

    /// What thread `worker`, not the caller's, does until the region ends.
    pub(super) fn work(&self, worker: usize) {
        let epoch = || Queue(self.shares[worker].0.queue.load(Ordering::SeqCst)).epoch();
        let mut seen = 0;
        loop {
            self.idle.0.until(|| epoch() != seen);
            // Before chunks are claimed, so that no operation is missed.
            seen = epoch();
            if seen == Queue::QUIT {
                return;
            }
            // Counted before it looks at what others have left, which takes as long as a small chunk.
            self.run_chunks(worker, || self.claim_own(worker));
            // Its own again, too: the others may be at the next operation by now.
            self.run_chunks(worker, || self.claim(worker));
        }
    }

    /// Runs the chunks that `claim` claims, and then counts them.
    fn run_chunks(&self, worker: usize, claim: impl Fn() -> Option<(usize, usize)>) {
        let mut ran = Ran(self, 0);
        while let Some(claimed) = claim() {
            ran.1 += 1;
            self.run_chunk(worker, claimed);
        }
    }
}

/// Where threads wait: they spin first, and then sleep.
#[derive(Debug, Default)]
struct Wait {
    /// Threads that sleep, or are about to.
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Wait {
    /// Returns when `ready`, which becomes true by a write that [`Wait::notify`] follows: one that is sequentially consistent, or
    /// with such a fence between them.
    ///
    /// Either the writer sees this thread among the sleepers, or this thread, which counts itself before it looks again, sees
    /// the write; and the lock keeps a notification from falling between that look and the sleep.
    fn until(&self, ready: impl Fn() -> bool) {
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
