//! Asking for cache lines ahead of their use.

/// Bytes of a cache line, on most CPUs.
pub(crate) const LINE: usize = 64;
/// Places from which lines are fetched in turn: the cache's own prefetcher starts anew in every page of 4 KiB, and then so many
/// starts overlap.
pub(crate) const STREAMS: usize = 4;

/// A range of memory that is fetched bit by bit while something else is worked on.
pub(crate) struct Ahead {
    /// The next line of the first stream, and from one stream to the next.
    next: *const u8,
    stream: usize,
    /// Bytes that are left, and those of them that are due: as many as the other work has used of its own.
    left: usize,
    due: usize,
}

impl Ahead {
    /// For so many bytes from `start` on, of any memory, up to whole lines of each stream.
    #[inline(always)]
    pub(crate) fn new(start: *const u8, bytes: usize) -> Ahead {
        let left = bytes.next_multiple_of(LINE * STREAMS);
        Ahead { next: start, stream: left / STREAMS, left, due: 0 }
    }

    /// Fetches as much as the other work has just used, to a line of each stream.
    #[inline(always)]
    pub(crate) fn fetch(&mut self, used: usize) {
        self.each_line(used, prefetch);
    }

    #[inline(always)]
    fn each_line(&mut self, used: usize, mut fetch: impl FnMut(*const u8)) {
        self.due = (self.due + used).min(self.left);
        while self.due >= LINE * STREAMS {
            for stream in 0..STREAMS {
                fetch(self.next.wrapping_add(stream * self.stream));
            }
            self.next = self.next.wrapping_add(LINE);
            self.due -= LINE * STREAMS;
            self.left -= LINE * STREAMS;
        }
    }
}

/// Fetches the line at `p` into L2, which may be any address: a prefetch never faults.
#[inline(always)]
pub(crate) fn prefetch(p: *const u8) {
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

/// Fetches the line at `p`, any address, to be written soon: a store that misses waits, and all later ones behind it.
#[inline(always)]
pub(crate) fn prefetch_for_writing(p: *mut u8) {
    // The intrinsic becomes `prefetcht0` where the compiler is not told of `prefetchw`.
    #[cfg(target_arch = "x86_64")]
    // SAFETY: of any address harmless; CPUs of 64 bits that lack it do nothing instead.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) p, options(nostack, preserves_flags, readonly));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as in `prefetch`.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) p, options(nostack, preserves_flags, readonly));
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
                    ahead.each_line(used, |line| assert!(lines.insert(line.addr() / LINE)));
                    calls += 1;
                    let due = (calls * used).min(whole * LINE) / LINE;
                    assert_eq!(lines.len(), due / STREAMS * STREAMS, "{bytes} bytes, {used} at once");
                }
                assert_eq!(lines, (0..whole).collect(), "{bytes} bytes, {used} at once");
                ahead.each_line(1 << 20, |_| panic!("past the end"));
            }
        }
    }
}
