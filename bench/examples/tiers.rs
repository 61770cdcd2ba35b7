//! Tiers side by side on quantized products, as Markdown:
//!
//!     cargo run --release -p kinglet-bench --example tiers -- [FORMAT…] [--columns N,N…] [--tiers NAME,NAME…] [--k N]
//!
//! For each format, tiers take turns and medians are shown. *cache*: GEMV over weights in L2, GB/s; *memory*: GEMV over
//! 256 MiB beside a plain read of the same bytes, GB/s and share; *n = N*: products of N columns, thousand million
//! multiply-adds per second. `bench/log/x86.md` keeps runs.

use kinglet_bench::{roof::best, stats::median, weights};
use kinglet_kernels::{Format, Kernels, MatMut, Matrix, QuantizedRows, Tier};
use std::hint::black_box;
use std::time::{Duration, Instant};

const ROWS: usize = 896;
const MEMORY: usize = 256 << 20;
const ROUNDS: usize = 9;

/// Seconds per call of `f`, the best of what fits 15 ms.
fn time(mut f: impl FnMut()) -> f64 {
    let (start, mut best, mut calls) = (Instant::now(), f64::INFINITY, 0);
    while calls < 3 || start.elapsed() < Duration::from_millis(15) {
        let one = Instant::now();
        f();
        best = best.min(one.elapsed().as_secs_f64());
        calls += 1;
    }
    best
}

struct Case {
    kernels: Kernels,
    cols: usize,
    q: Vec<i8>,
    d: Vec<f32>,
    sums: Vec<i16>,
}

impl Case {
    /// `None` where the tier cannot run, and says so.
    fn new(tier: Tier, n: usize, cols: usize) -> Option<Case> {
        let kernels = Kernels::with_tier(tier).inspect_err(|why| eprintln!("{tier}: NOT RUN: {why}")).ok()?;
        let x: Vec<f32> = (0..n * cols).map(|i| ((i * 7919) % 255) as f32 - 127.0).collect();
        let (mut q, mut d, mut sums) = (vec![0; n * cols], vec![0.0; n * cols / 32], vec![0; n * cols / 16]);
        kernels.quantize(&x, &mut q, &mut d, &mut sums).ok()?;
        Some(Case { kernels, cols, q, d, sums })
    }

    fn run(&self, w: &Matrix<'_>, n: usize, y: &mut [f32], scratch: &mut Vec<u8>) {
        scratch.resize(self.kernels.matmul_scratch(w), 0);
        let cols = self.cols;
        let (q, d, sums) = (&self.q[..n * cols], &self.d[..n * cols / 32], &self.sums[..n * cols / 16]);
        let x = QuantizedRows::new(q, d, sums, n, cols);
        let mut y = MatMut::new(&mut y[..n * w.rows()], w.rows(), n).expect("lengths fit");
        self.kernels.matmul(w, &x.expect("lengths fit"), &mut y, scratch).expect("shapes fit");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut formats, mut columns, mut tiers) = (Vec::new(), vec![8, 64, 512], Tier::usable());
    let mut cols = 1024;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut list = || args.next().unwrap_or_default().split(',').map(str::to_owned).collect::<Vec<_>>();
        match arg.as_str() {
            "--columns" => columns = list().iter().map(|s| s.parse()).collect::<Result<_, _>>()?,
            "--k" => cols = list().concat().parse()?,
            "--tiers" => tiers = list().iter().map(|s| s.parse()).collect::<Result<_, _>>()?,
            name => {
                let known = Format::ALL.iter().find(|f| f.name().eq_ignore_ascii_case(name) && !f.is_float());
                formats.push(*known.ok_or_else(|| format!("`{name}` is not a quantized format"))?);
            }
        }
    }
    if formats.is_empty() {
        formats = Format::ALL.iter().copied().filter(|f| !f.is_float()).collect();
    }
    tiers.retain(|t| *t != Tier::Scalar);
    let most = columns.iter().copied().max().unwrap_or(1).max(1);
    let cases: Vec<Case> = tiers.iter().filter_map(|t| Case::new(*t, most, cols)).collect();
    let (mut y, mut scratch) = (vec![0.0; most * ROWS], Vec::new());
    println!("{ROWS} rows, {cols} columns of weights, one thread\n");
    let n: String = columns.iter().map(|n| format!(" n = {n} |")).collect();
    println!(
        "| format | tier | cache GB/s | memory GB/s | read GB/s | share |{n}\n|---|---|---:|---:|---:|---:|{}",
        "---:|".repeat(columns.len())
    );
    for format in formats {
        let row = format.row_bytes(cols).ok_or("whole blocks")?;
        // A quarter of the rows: at most 230 kB of weights, which stay in L2.
        let small = weights(format, ROWS * row);
        let large = small.repeat(MEMORY.div_ceil(small.len()));
        let matrices: Vec<_> = large
            .chunks_exact(small.len())
            .map(|data| Matrix::new(format, data, ROWS, cols))
            .collect::<Result<_, _>>()?;
        let few = Matrix::new(format, &small[..ROWS / 4 * row], ROWS / 4, cols)?;
        let all = Matrix::new(format, &small, ROWS, cols)?;
        let mut samples = vec![vec![Vec::new(); 4 + columns.len()]; cases.len()];
        for _ in 0..ROUNDS {
            for (case, samples) in cases.iter().zip(&mut samples) {
                let t = time(|| case.run(&few, 1, &mut y, &mut scratch));
                samples[0].push((ROWS / 4 * row) as f64 / t / 1e9);
                let gb = large.len() as f64 / 1e9;
                let reading = best(|read| {
                    let start = Instant::now();
                    black_box(read(&large));
                    gb / start.elapsed().as_secs_f64()
                });
                let start = Instant::now();
                for (i, w) in matrices.iter().enumerate() {
                    // As a decoder says what it is going to read.
                    let w = matrices.get(i + 1).map_or(*w, |next| w.followed_by(next));
                    case.run(&w, 1, &mut y, &mut scratch);
                }
                let t = start.elapsed().as_secs_f64();
                samples[1].push(gb / t);
                samples[2].push(reading);
                samples[3].push(gb / t / reading);
                for (i, n) in columns.iter().enumerate() {
                    let t = time(|| case.run(&all, *n, &mut y, &mut scratch));
                    samples[4 + i].push((ROWS * cols * n) as f64 / t / 1e9);
                }
            }
        }
        for (case, samples) in cases.iter().zip(samples) {
            let m: Vec<f64> = samples.iter().map(|s| median(s)).collect();
            print!(
                "| {format} | {} | {:.1} | {:.1} | {:.1} | {:.2} |",
                case.kernels.tier(),
                m[0],
                m[1],
                m[2],
                m[3]
            );
            m[4..].iter().for_each(|g| print!(" {g:.0} |"));
            println!();
        }
    }
    Ok(())
}
