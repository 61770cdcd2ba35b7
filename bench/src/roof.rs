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
    let large = vec![1u64; MEMORY / 8];
    let small = vec![1u64; CACHE / 8];
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
        read_one: rate(MEMORY, &|| {
            black_box(read(&large));
        }),
        read_all: rate(MEMORY, &|| {
            std::thread::scope(|scope| {
                for part in large.chunks(part) {
                    scope.spawn(move || black_box(read(part)));
                }
            });
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
        let start = Instant::now();
        for _ in 0..BLOCKS {
            chain();
        }
        (BLOCKS * 64) as f64 / start.elapsed().as_secs_f64()
    };
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        (0..5).map(|_| run()).fold(0.0, f64::max)
    } else {
        0.0
    }
}

/// 64 additions, one cycle each.
#[inline(always)]
fn chain() {
    let mut x = 1u64;
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
    black_box(&mut x);
}

/// Reads everything in four streams: one alone does not fill the memory system.
fn read(data: &[u64]) -> u64 {
    let quarter = data.len() / 32 * 8;
    let mut sums = [[0u64; 8]; 4];
    let streams: Vec<&[u64]> = data.chunks(quarter.max(8)).take(4).collect();
    let [a, b, c, d] = streams[..] else { return data.iter().fold(0, |a, b| a ^ b) };
    for (((a, b), c), d) in
        a.chunks_exact(8).zip(b.chunks_exact(8)).zip(c.chunks_exact(8)).zip(d.chunks_exact(8))
    {
        for (sum, block) in sums.iter_mut().zip([a, b, c, d]) {
            for (s, v) in sum.iter_mut().zip(block) {
                *s ^= *v;
            }
        }
    }
    sums.iter().flatten().fold(0, |a, b| a ^ b)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_stream_is_read() {
        for len in [0, 7, 32, 1000, 1024] {
            let data: Vec<u64> = (0..len).map(|i| 1 << (i % 61)).collect();
            let whole = len / 32 * 32;
            let want =
                data[..if whole == 0 { len as usize } else { whole as usize }].iter().fold(0, |a, b| a ^ b);
            assert_eq!(super::read(&data), want, "{len}");
        }
    }
}
