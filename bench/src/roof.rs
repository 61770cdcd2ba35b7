//! What one core can do at most: plain reads, cycles, multiply-adds.

use crate::record::Roof;
use kinglet_kernels::Tier;
use std::hint::black_box;
use std::time::Instant;

/// Larger than the share of a last-level cache that one thread gets on most machines, small enough for a Pi.
const MEMORY: usize = 256 << 20;
/// Fits every L2 of a CPU that kinglet has a tier for.
const CACHE: usize = 192 << 10;

/// Multiply-adds of signed bytes per cycle that a core with two vector pipes reaches at most, by port counts.
fn per_cycle(tier: Tier) -> f64 {
    match tier {
        // vpmaddubsw and vpmaddwd: two multiplications for 32 products.
        Tier::Avx2 => 32.0,
        Tier::AvxVnni => 64.0,
        Tier::Avx512Vnni => 128.0,
        // tdpbssd: 16 x 16 x 64 in 16 cycles.
        Tier::AmxInt8 => 1024.0,
        // smull and smlal of 8 products each, two pipes.
        Tier::Neon => 16.0,
        Tier::DotProd => 32.0,
        Tier::I8mm => 64.0,
        _ => 1.0,
    }
}

/// Measures this machine; about two seconds.
pub fn measure() -> Roof {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let cycles = cycles();
    let large = vec![1u8; MEMORY];
    let small = vec![1u8; CACHE];
    let rate = |bytes: usize, f: &dyn Fn()| {
        let best = (0..5).map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64()
        });
        bytes as f64 / best.fold(f64::INFINITY, f64::min)
    };
    let part = large.len().div_ceil(threads);
    Roof {
        read_one: best(|read| {
            rate(MEMORY, &|| {
                black_box(read(&large));
            })
        }),
        read_all: best(|read| {
            rate(MEMORY, &|| {
                std::thread::scope(|scope| {
                    for part in large.chunks(part) {
                        scope.spawn(move || black_box(read(part)));
                    }
                });
            })
        }),
        read_cache: rate(CACHE * 1000, &|| {
            for _ in 0..1000 {
                black_box(read(black_box(&small)));
            }
        }),
        cycles,
        multiply_adds: Tier::usable().iter().map(|t| (t.name().to_owned(), cycles * per_cycle(*t))).collect(),
    }
}

/// Cycles per second, from additions that each wait for the one before; 0 on other architectures.
fn cycles() -> f64 {
    const BLOCKS: u64 = 200_000;
    let run = || {
        let (start, mut x) = (Instant::now(), 1);
        for _ in 0..BLOCKS {
            x = chain(x);
        }
        black_box(x);
        (BLOCKS * 64) as f64 / start.elapsed().as_secs_f64()
    };
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        (0..5).map(|_| run()).fold(0.0, f64::max)
    } else {
        0.0
    }
}

/// 64 additions, one cycle each, that wait for `x`: calls that did not wait for one another would overlap.
#[inline(always)]
fn chain(mut x: u64) -> u64 {
    // SAFETY: only adds a register to itself.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(".rept 64", "add {x}, {x}", ".endr", x = inout(reg) x, options(nomem, nostack));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(".rept 64", "add {x}, {x}, {x}", ".endr", x = inout(reg) x, options(nomem, nostack));
    }
    x
}

/// A plain read of some bytes.
pub type Read = fn(&[u8]) -> u64;

/// The roof: the higher of the rates that `rate` measures with each plain read. Which one that is depends on the size of the pages.
pub fn best(rate: impl FnMut(Read) -> f64) -> f64 {
    PLAIN_READS.map(rate).into_iter().fold(0.0, f64::max)
}

const PLAIN_READS: [Read; 2] = [read, read_fetching];

/// Reads all whole lines of 64 bytes, as fast as plain loads can: in four streams, because one alone does not fill the memory
/// system. Returns the exclusive or of their words.
fn read(data: &[u8]) -> u64 {
    read_streams::<4>(data, |_| ())
}

/// As [`read`], in two streams with lines fetched into L2 ahead: faster where pages are huge, slower where they are of 4 KiB.
fn read_fetching(data: &[u8]) -> u64 {
    read_streams::<2>(data, |line| {
        // SAFETY: part of every x86-64, and of any address harmless.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T1>(line.cast::<i8>().wrapping_add(1024));
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    })
}

#[inline(always)]
fn read_streams<const S: usize>(data: &[u8], fetch: impl Fn(*const [u8; 64])) -> u64 {
    let lines = data.as_chunks::<64>().0;
    let part = lines.len() / S;
    let (streams, rest) = lines.split_at(S * part);
    let mut sums = [[0u64; 8]; S];
    for i in 0..part {
        for (s, sums) in sums.iter_mut().enumerate() {
            let line = &streams[s * part + i];
            fetch(line);
            add(sums, line);
        }
    }
    rest.iter().for_each(|line| add(&mut sums[0], line));
    sums.iter().flatten().fold(0, |a, b| a ^ b)
}

/// Eight words at once, which compilers make vectors of.
#[inline(always)]
fn add(sums: &mut [u64; 8], line: &[u8; 64]) {
    for (sum, word) in sums.iter_mut().zip(line.as_chunks::<8>().0) {
        *sum ^= u64::from_ne_bytes(*word);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_line_of_every_stream_is_read() {
        for len in [0, 7, 63, 64, 200, 256, 1000, 1024, 64 * 7] {
            let data: Vec<u8> = (0..len).map(|i| (i * 7 % 251 + 1) as u8).collect();
            let words = data[..len / 64 * 64].as_chunks::<8>().0.iter();
            let want = words.fold(0, |sum, word| sum ^ u64::from_ne_bytes(*word));
            for read in super::PLAIN_READS {
                assert_eq!(read(&data), want, "{len}");
            }
        }
    }
}
