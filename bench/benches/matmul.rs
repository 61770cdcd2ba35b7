//! Quantized products: every format, tier and shape of interest.
//!
//!     cargo bench -p kinglet-bench --bench matmul -- 'q4_k\.gemv\.avx2'
//!
//! Names are `<format>.<op>.<tier>/<rows>x<cols>`. `gemv` has its weights in cache (bytes of weights per second: the
//! arithmetic), `gemv_ram` walks over more weights than any cache holds (the machine's read roof), `gemm64` and `gemm512`
//! have that many columns (elements per second are multiply-adds).

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use kinglet_bench::weights;
use kinglet_kernels::{Format, Kernels, MatMut, Matrix, QuantizedRows, Tier};
use std::cell::OnceCell;
use std::time::Duration;

/// Rows and columns of projections in models of 135M and 0.5B parameters. Formats with super-blocks of 256 skip the
/// columns that they cannot hold, as files do.
const SHAPES: [(usize, usize); 4] = [(1536, 576), (1536, 768), (4864, 896), (896, 4864)];
/// More than any last-level cache that a thread can fill by itself.
const RAM: usize = 512 << 20;

struct Activations {
    q: Vec<i8>,
    d: Vec<f32>,
    sums: Vec<i16>,
}

impl Activations {
    fn new(kernels: &Kernels, n: usize, k: usize) -> Activations {
        let x: Vec<f32> = (0..n * k).map(|i| ((i * 7919) % 255) as f32 - 127.0).collect();
        let mut a = Activations { q: vec![0; n * k], d: vec![0.0; n * k / 32], sums: vec![0; n * k / 16] };
        kernels.quantize(&x, &mut a.q, &mut a.d, &mut a.sums).expect("lengths fit");
        a
    }
    fn view(&self, n: usize, k: usize) -> QuantizedRows<'_> {
        QuantizedRows::new(&self.q, &self.d, &self.sums, n, k).expect("lengths fit")
    }
}

/// One product after the other, each over the next of the matrices in `total` bytes of weights.
fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    kernels: &Kernels,
    (format, total): (Format, usize),
    (rows, cols): (usize, usize),
    n: usize,
) {
    let bytes = rows * format.row_bytes(cols).expect("whole blocks");
    let throughput =
        if n == 1 { Throughput::Bytes(bytes as u64) } else { Throughput::Elements((rows * cols * n) as u64) };
    group.throughput(throughput);
    // Made by the first run, and so not at all for what the command line filters out.
    let data = OnceCell::new();
    group.bench_function(format!("{rows}x{cols}"), |b| {
        let (data, x) = data.get_or_init(|| {
            let data = weights(format, bytes).repeat(total.div_ceil(bytes));
            (data, Activations::new(kernels, n, cols))
        });
        let matrix = |data| Matrix::new(format, data, rows, cols).expect("lengths fit");
        let matrices: Vec<_> = data.chunks_exact(bytes).map(matrix).collect();
        let (mut y, mut scratch) = (vec![0.0; n * rows], vec![0; kernels.matmul_scratch(&matrices[0])]);
        let mut next = matrices.iter().cycle();
        b.iter(|| {
            let w = next.next().expect("a cycle of at least one");
            let mut y = MatMut::new(&mut y, rows, n).expect("lengths fit");
            kernels.matmul(w, &x.view(n, cols), &mut y, &mut scratch).expect("shapes fit");
        });
    });
}

fn matmul(c: &mut Criterion) {
    for &tier in Tier::ALL {
        let Ok(kernels) = Kernels::with_tier(tier) else { continue };
        for &format in Format::ALL.iter().filter(|f| !f.is_float()) {
            for (op, n) in [("gemv", 1), ("gemv_ram", 1), ("gemm64", 64), ("gemm512", 512)] {
                let name = format!("{}.{op}.{tier}", format.name().to_lowercase());
                let mut group = c.benchmark_group(name);
                group.sample_size(10).warm_up_time(Duration::from_millis(100));
                group.measurement_time(Duration::from_secs(1));
                for (rows, cols) in SHAPES {
                    let Some(row) = format.row_bytes(cols) else { continue };
                    if op != "gemv_ram" {
                        bench(&mut group, &kernels, (format, rows * row), (rows, cols), n);
                    } else if cols == 4864 {
                        bench(&mut group, &kernels, (format, RAM), (rows, cols), n);
                    }
                }
                group.finish();
            }
        }
    }
}

criterion_group!(benches, matmul);
criterion_main!(benches);
