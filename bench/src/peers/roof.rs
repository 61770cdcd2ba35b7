//! The read roof: how fast plain loads get through the very bytes that a model reads, with as many threads.

use crate::roof::{Read, best};
use kinglet::gguf::Gguf;
use std::hint::black_box;
use std::time::Instant;

/// Bytes per second of the best plain read of all `parts` by `threads` threads.
fn read(parts: &[&[u8]], threads: usize) -> f64 {
    best(|one| read_by(one, parts, threads))
}

fn read_by(one: Read, parts: &[&[u8]], threads: usize) -> f64 {
    let total: usize = parts.iter().map(|p| p.len()).sum();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for t in 0..threads.max(1) {
            scope.spawn(move || {
                for part in parts {
                    let (from, to) = (part.len() * t / threads, part.len() * (t + 1) / threads);
                    black_box(one(&part[from..to]));
                }
            });
        }
    });
    total as f64 / start.elapsed().as_secs_f64()
}

/// Reads the weights of a model, and a buffer that no cache holds.
#[derive(Debug)]
pub struct Roof<'a> {
    weights: Vec<&'a [u8]>,
    buffer: &'a [u8],
    threads: usize,
    /// Best bytes per second of the mapped weights so far.
    pub mapped: f64,
    /// Best bytes per second of the buffer so far.
    pub memory: f64,
}

impl<'a> Roof<'a> {
    /// Of the weights of `gguf`.
    pub fn new(gguf: &'a Gguf, buffer: &'a [u8], threads: usize) -> Roof<'a> {
        let weights = gguf.tensors().iter().map(|t| gguf.data(t)).collect();
        Roof { weights, buffer, threads, mapped: 0.0, memory: 0.0 }
    }

    /// Reads both once more.
    pub fn sample(&mut self) {
        self.mapped = self.mapped.max(read(&self.weights, self.threads));
        self.memory = self.memory.max(read(&[self.buffer], self.threads));
    }
}

/// A buffer of four times the last-level cache, at least 256 MiB, at most a quarter of the memory that is free.
pub fn buffer() -> Vec<u8> {
    let cache = (0..=4).filter_map(|i| {
        let text =
            std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{i}/size")).ok()?;
        text.trim().strip_suffix('K')?.parse::<usize>().ok()
    });
    let wanted = (4 * 1024 * cache.max().unwrap_or(0)).max(256 << 20);
    let free =
        kinglet::memory::available().map_or(usize::MAX, |b| usize::try_from(b / 4).unwrap_or(usize::MAX));
    // Written, so that every page is there.
    vec![1; wanted.min(free)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_threads_reads_any_parts() {
        let bytes: Vec<u8> = (0..4096u32).map(|i| (i * 7 % 251) as u8).collect();
        for threads in [1, 2, 3] {
            assert!(read(&[&bytes, &[], &bytes[..100]], threads) > 0.0);
        }
    }
}
