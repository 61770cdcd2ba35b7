//! Asking for cache lines ahead of their use.

/// Bytes of a cache line, on most CPUs.
pub(crate) const LINE: usize = 64;
/// Places from which lines are fetched in turn: the cache's own prefetcher starts anew in every page of 4 KiB, and then so many
/// starts overlap.
pub(crate) const STREAMS: usize = 4;

/// A range of memory that is fetched bit by bit while something else is worked on.
pub(crate) struct Ahead {
    start: *const u8,
    /// From one stream to the next.
    stream: usize,
    lines: usize,
    done: usize,
    /// What the other work has used of its own, in bytes: it gets so many here.
    used: usize,
}

impl Ahead {
    /// For so many bytes from `start` on, of any memory, up to whole lines of each stream.
    #[inline(always)]
    pub(crate) fn new(start: *const u8, bytes: usize) -> Ahead {
        let stream = bytes.div_ceil(LINE).div_ceil(STREAMS);
        Ahead { start, stream: stream * LINE, lines: stream * STREAMS, done: 0, used: 0 }
    }

    /// Fetches as much as the other work has just used.
    #[inline(always)]
    pub(crate) fn fetch(&mut self, used: usize) {
        self.each_line(used, prefetch);
    }

    #[inline(always)]
    fn each_line(&mut self, used: usize, mut fetch: impl FnMut(*const u8)) {
        self.used += used;
        while self.done < self.lines && self.done * LINE < self.used {
            let line = self.done / STREAMS * LINE;
            fetch(self.start.wrapping_add(self.done % STREAMS * self.stream + line));
            self.done += 1;
        }
    }
}

/// Fetches the line at `p` into L2, which may be any address: a prefetch never faults.
#[inline(always)]
fn prefetch(p: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: part of every x86-64, and of any address harmless.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(p.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: part of every aarch64, and of any address harmless.
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{}]", in(reg) p, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = p;
}

#[cfg(test)]
mod tests {
    use super::{Ahead, LINE, STREAMS};
    use std::collections::HashSet;

    #[test]
    fn every_line_of_a_range_is_fetched_once_while_as_many_bytes_are_used() {
        for bytes in [0, 1, 64, 65, 320, 4096, 32 << 10] {
            for used in [1, 32, 64, 1000] {
                let (mut ahead, mut lines, mut calls) =
                    (Ahead::new(std::ptr::null(), bytes), HashSet::new(), 0);
                let whole = bytes.div_ceil(LINE * STREAMS) * STREAMS;
                while calls * used < whole * LINE {
                    let before = lines.len();
                    ahead.each_line(used, |line| assert!(lines.insert(line.addr() / LINE)));
                    assert!(lines.len() - before <= used.div_ceil(LINE), "{bytes} bytes, {used} at once");
                    calls += 1;
                }
                assert_eq!(lines, (0..whole).collect(), "{bytes} bytes, {used} at once");
                ahead.each_line(1 << 20, |_| panic!("past the end"));
            }
        }
    }
}
