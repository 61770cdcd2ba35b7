//! What it costs to divide an operation among threads, as Markdown:
//!
//!     cargo run --release -p kinglet-bench --example crew -- [THREADS]
//!
//! Operations like those of a small model's decode, whose chunks sum bytes that are in L1 or L2, by one thread and by THREADS (default 2) of
//! a crew; medians of rounds in turns. *beyond a share* is what the crew takes longer than its part of one thread's time. Below the
//! table is how long a value takes from one core to another and back. `bench/log/threads.md` keeps runs.

use kinglet::team::{Crew, Team};
use kinglet_bench::stats::median;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Chunks, and bytes of each.
const OPERATIONS: [(usize, usize); 4] = [(2, 256), (8, 1024), (8, 11520), (24, 4096)];
const ROUNDS: usize = 15;
const REPEATED: u32 = 4000;

/// Nanoseconds for one operation.
fn operation(crew: &Crew<'_>, data: &[u8], bytes: usize) -> f64 {
    let start = Instant::now();
    for _ in 0..REPEATED {
        crew.for_each(data.len() / bytes, |_, i| {
            let chunk = &data[i * bytes..(i + 1) * bytes];
            black_box(chunk.iter().map(|x| u64::from(*x)).sum::<u64>());
        });
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(REPEATED)
}

/// Nanoseconds until another thread has answered, by words that are in different lines.
fn round_trip() -> f64 {
    #[repr(align(128))]
    struct Line(AtomicU32);
    let [call, answer] = [(); 2].map(|()| Line(AtomicU32::new(0)));
    let wait = |line: &Line, i| {
        while line.0.load(Ordering::Acquire) != i {
            spin_loop();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (1..=REPEATED).for_each(|i| {
                wait(&call, i);
                answer.0.store(i, Ordering::Release);
            });
        });
        let start = Instant::now();
        for i in 1..=REPEATED {
            call.0.store(i, Ordering::Release);
            wait(&answer, i);
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(REPEATED)
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let threads: usize = std::env::args().nth(1).map_or(Ok(2), |n| n.parse())?;
    let (alone, team) = (Team::new(1)?, Team::new(threads)?);
    println!("| chunks | bytes of each | one thread, ns | {threads} threads, ns | beyond a share, ns |");
    println!("|---:|---:|---:|---:|---:|");
    for (chunks, bytes) in OPERATIONS {
        let data = vec![1; chunks * bytes];
        let (mut one, mut all) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            one.push(alone.region(1, |crew| operation(crew, &data, bytes)));
            all.push(team.region(1, |crew| operation(crew, &data, bytes)));
        }
        let (one, all) = (median(&one), median(&all));
        println!("| {chunks} | {bytes} | {one:.0} | {all:.0} | {:.0} |", all - one / threads as f64);
    }
    let trips: Vec<f64> = (0..ROUNDS).map(|_| round_trip()).collect();
    println!("\nFrom core to core and back: {:.0} ns.", median(&trips));
    Ok(())
}
