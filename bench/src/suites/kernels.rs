//! Products: one format, tier and shape.

use crate::checksum::Checksum;
use crate::suite::Run;
use crate::weights;
use kinglet_kernels::{Format, Kernels, MatMut, Matrix, QuantizedRows, Tier};

/// More than any last-level cache that a thread can fill by itself.
const RAM: usize = 512 << 20;

/// What a product's `op` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// Columns.
    pub n: usize,
    /// Whether each product takes the next of more weights than caches hold.
    pub ram: bool,
}

impl std::str::FromStr for Op {
    type Err = String;
    fn from_str(s: &str) -> Result<Op, String> {
        let columns = |n: &str| n.parse::<usize>().ok().filter(|n| (1..=4096).contains(n));
        match s {
            "gemv" => Ok(Op { n: 1, ram: false }),
            "gemv_ram" => Ok(Op { n: 1, ram: true }),
            _ => {
                let n = s.strip_prefix("gemm").and_then(columns);
                n.map(|n| Op { n, ram: false }).ok_or_else(|| {
                    format!("no operation `{s}`; there are gemv, gemv_ram and gemm<N> with N up to 4096")
                })
            }
        }
    }
}

/// A product that is ready.
pub struct Product {
    kernels: Kernels,
    format: Format,
    shape: (usize, usize),
    /// One matrix, or as many as fill memory.
    data: Vec<u8>,
    next: usize,
    x: Vec<f32>,
    q: Vec<i8>,
    d: Vec<f32>,
    sums: Vec<i16>,
    y: Vec<f32>,
    scratch: Vec<u8>,
    n: usize,
}

impl Product {
    /// `rows x cols` weights times `op.n` columns.
    ///
    /// # Errors
    /// When the tier cannot run here or the columns are not whole blocks.
    pub fn new(tier: Tier, format: Format, (rows, cols): (usize, usize), op: Op) -> Result<Product, String> {
        let kernels = Kernels::with_tier(tier).map_err(|e| e.to_string())?;
        let row = format
            .row_bytes(cols)
            .ok_or_else(|| format!("{cols} columns are no whole blocks of {format}"))?;
        let one = if format.is_float() { floats(format, rows * cols) } else { weights(format, rows * row) };
        let copies = if op.ram { RAM.div_ceil(one.len().max(1)) } else { 1 };
        let data = one.repeat(copies);
        let len = op.n * cols;
        let x: Vec<f32> = (0..len).map(|i| ((i * 7919) % 255) as f32 - 127.0).collect();
        let (mut q, mut d, mut sums) = (vec![0; len], vec![0.0; len / 32], vec![0; len / 16]);
        let mut scratch = Vec::new();
        if !format.is_float() {
            kernels.quantize(&x, &mut q, &mut d, &mut sums).map_err(|e| e.to_string())?;
            let w = Matrix::new(format, &one, rows, cols).map_err(|e| e.to_string())?;
            scratch = vec![0; kernels.matmul_scratch(&w)];
        }
        let y = vec![0.0; op.n * rows];
        Ok(Product {
            kernels,
            format,
            shape: (rows, cols),
            data,
            next: 0,
            x,
            q,
            d,
            sums,
            y,
            scratch,
            n: op.n,
        })
    }

    fn once(&mut self) -> Result<(), kinglet_kernels::Error> {
        let (rows, cols) = self.shape;
        let bytes = rows * self.format.row_bytes(cols).unwrap_or(0);
        let start = self.next * bytes;
        self.next = if start + 2 * bytes > self.data.len() { 0 } else { self.next + 1 };
        let w = Matrix::new(self.format, &self.data[start..start + bytes], rows, cols)?;
        let mut y = MatMut::new(&mut self.y, rows, self.n)?;
        if self.format.is_float() {
            return self.kernels.matmul_float(&w, &self.x, &mut y);
        }
        let x = QuantizedRows::new(&self.q, &self.d, &self.sums, self.n, cols)?;
        self.kernels.matmul(&w, &x, &mut y, &mut self.scratch)
    }
}

impl Run for Product {
    fn run(&mut self, iterations: u64) -> Result<Option<f64>, String> {
        for _ in 0..iterations {
            self.once().map_err(|e| e.to_string())?;
        }
        std::hint::black_box(&self.y);
        Ok(None)
    }

    fn checksum(&mut self) -> Result<String, String> {
        self.y.fill(f32::NAN);
        self.once().map_err(|e| e.to_string())?;
        Ok(Checksum::of(&self.y))
    }
}

/// `n` small ordinary floats of a float format.
fn floats(format: Format, n: usize) -> Vec<u8> {
    let value = |i: usize| ((i * 31) % 61) as f32 / 64.0 - 0.45;
    let bits = |i: usize| value(i).to_bits();
    match format {
        Format::F32 => (0..n).flat_map(|i| bits(i).to_le_bytes()).collect(),
        Format::F16 => (0..n).flat_map(|i| half::f16::from_f32(value(i)).to_le_bytes()).collect(),
        _ => (0..n).flat_map(|i| ((bits(i) >> 16) as u16).to_le_bytes()).collect(),
    }
}
