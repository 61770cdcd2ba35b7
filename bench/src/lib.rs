//! Benchmarks of kinglet and of others: what is measured, how it is recorded, and when two programs differ.
//!
//! The program is `kinglet-bench`; this library is for engine authors who bring a suite of their own ([`suite`]) and for
//! reports ([`record`]). `bench/README.md` explains both.

// `print::say!` instead: see there.
#![warn(clippy::print_stdout)]

pub mod baseline;
pub mod calibrate;
pub mod checksum;
pub mod cli;
pub mod client;
pub mod clock;
pub mod commands;
pub mod compare;
pub mod comparison;
pub mod counts;
pub mod energy;
pub mod exit;
pub mod export;
pub mod files;
pub mod fingerprint;
pub mod history;
pub mod judge;
pub mod pair;
pub mod peers;
pub mod pin;
pub mod plan;
pub mod print;
pub mod protocol;
pub mod random;
pub mod record;
pub mod recorder;
pub mod report;
pub mod roof;
pub mod samples;
pub mod source;
pub mod stats;
pub mod stop;
pub mod suite;
pub mod suites;
pub mod taint;
pub mod tools;
pub mod worker;

use kinglet_kernels::Format;

/// `bytes` bytes with the statistics of weights where it matters: no block of `format` is subnormal, infinite or NaN.
pub fn weights(format: Format, bytes: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    if format == Format::MXFP4 {
        return (0..bytes).map(|i| if i % format.block_bytes() == 0 { 120 } else { next() }).collect();
    }
    // Below 0x40 every two bytes are an ordinary f16, wherever a format keeps its scales.
    (0..bytes).map(|_| next() & 0x3f | 0x10).collect()
}
