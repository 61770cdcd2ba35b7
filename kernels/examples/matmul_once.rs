//! Quantizes activations and multiplies, a number of times, for counting instructions under an emulator or a profiler.
//!
//! `matmul_once FORMAT ROWS COLS N TIMES`; the tier is the one that `KINGLET_TIER` names, or the fastest.

use kinglet_kernels::{Format, Kernels, MatMut, Matrix, QuantizedRows};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [format, sizes @ ..] = &args[..] else { return Err("FORMAT ROWS COLS N TIMES".into()) };
    let sizes: Vec<usize> = sizes.iter().map(|s| s.parse()).collect::<Result<_, _>>()?;
    let [rows, cols, n, times] = sizes[..] else { return Err("FORMAT ROWS COLS N TIMES".into()) };
    let format = Format::ALL.iter().copied().find(|f| f.name() == format).ok_or("unknown format")?;
    let kernels = Kernels::detect()?;
    let row_bytes = format.row_bytes(cols).ok_or("COLS is not a whole number of blocks")?;
    let data: Vec<u8> = (0..rows * row_bytes).map(|i| (i * 7 % 61) as u8).collect();
    let w = Matrix::new(format, &data, rows, cols)?;
    let x: Vec<f32> = (0..n * cols).map(|i| (i % 17) as f32 - 8.0).collect();
    let (mut q, mut d, mut sums) = (vec![0; n * cols], vec![0.0; n * cols / 32], vec![0; n * cols / 16]);
    let (mut y, mut scratch) = (vec![0.0; n * rows], vec![0; kernels.matmul_scratch(&w)]);
    for _ in 0..times {
        kernels.quantize(&x, &mut q, &mut d, &mut sums)?;
        let x = QuantizedRows::new(&q, &d, &sums, n, cols)?;
        kernels.matmul(&w, &x, &mut MatMut::new(&mut y, rows, n)?, &mut scratch)?;
    }
    println!("{} {format} {rows} x {cols} x {n}, {times} times: {}", kernels.tier(), y[0]);
    Ok(())
}
