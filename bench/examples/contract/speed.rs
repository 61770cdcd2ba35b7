//! What each candidate costs on AVX2. Prototypes, as short as they can be: evidence and not product.

use super::Rng;
use kinglet_bench::stats::median;
use kinglet_kernels::{Format, Kernels, MatMut, Matrix, QuantizedRows, Tier};
use std::arch::x86_64::*;
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 25;

fn seconds(f: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

/// Median seconds of each variant, and the median of the ratios first / second of the same round.
fn duel(a: &mut dyn FnMut(), b: &mut dyn FnMut()) -> (f64, f64, f64) {
    a();
    b();
    let rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (seconds(a), seconds(b))).collect();
    let of = |f: fn(&(f64, f64)) -> f64| median(&rounds.iter().map(f).collect::<Vec<_>>());
    (of(|r| r.0), of(|r| r.1), of(|r| r.0 / r.1))
}

pub fn print() {
    step_per_32_or_256();
    lanes_are_rows();
    fraction_of_the_read_roof();
}

const GROUPS: usize = 128;

/// 8 rows x 32 4-bit codes, one dword of each row per vector.
type Codes = [__m256i; 8];

/// 8 rows x 4 columns over 128 groups: an f32 step for each group (order b), or integer sub-scales and an f32 step for each
/// super-block of 8 groups (order a). Everything is in cache.
fn step_per_32_or_256() {
    let mut rng = Rng(5);
    // SAFETY: the caller has detected AVX2; 32-byte vectors from plain integers.
    let mut vector = |mask: u64| unsafe {
        let q =
            [rng.next() & mask, rng.next() & mask, rng.next() & mask, rng.next() & mask].map(|q| q as i64);
        _mm256_setr_epi64x(q[0], q[1], q[2], q[3])
    };
    let codes: Vec<Codes> =
        (0..GROUPS).map(|_| std::array::from_fn(|_| vector(0x0f0f_0f0f_0f0f_0f0f))).collect();
    let x: Vec<[i8; 32]> = (0..4 * GROUPS)
        .map(|_| std::array::from_fn(|i| ((i * 7) % 255) as i8).map(|q: i8| q.max(-127)))
        .collect();
    let sub: Vec<__m256i> = (0..GROUPS).map(|_| vector(0x003f_003f_003f_003f)).collect();
    let (d, dx) = (vec![0.5f32; 8 * GROUPS], vec![0.25f32; 4 * GROUPS]);
    let repeat = 200;
    // SAFETY: AVX2 and FMA were detected; all slices hold GROUPS groups.
    let mut per_32 = || unsafe { (0..repeat).for_each(|_| _ = black_box(gemm_b(&codes, &x, &d, &dx))) };
    // SAFETY: as above.
    let mut per_256 =
        || unsafe { (0..repeat).for_each(|_| _ = black_box(gemm_a(&codes, &x, &sub, &d, &dx))) };
    let (b, a, ratio) = duel(&mut per_32, &mut per_256);
    let rate = |s: f64| (8 * 4 * 32 * GROUPS * repeat) as f64 / s / 1e9;
    println!(
        "### The f32 step: for each group of 32 (chosen), or for each super-block (AVX2, 8 rows x 4 columns, in cache)\n"
    );
    println!("| | G multiply-adds/s |\n|---|---:|");
    println!("| f32 step per 32, activations scaled per 32 | {:.0} |", rate(b));
    println!("| integer sub-scales, f32 step per 256, activations scaled per 256 | {:.0} |", rate(a));
    println!("| time of the first over the second | {ratio:.2} |\n");
}

/// # Safety
/// AVX2; 32 activations at `x`.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn products(codes: &Codes, x: *const i8) -> __m256i {
    let mut sum = _mm256_setzero_si256();
    for (j, codes) in codes.iter().enumerate() {
        // SAFETY: the caller's 32 bytes.
        let x = _mm256_set1_epi32(unsafe { x.add(4 * j).cast::<i32>().read_unaligned() });
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(*codes, x));
    }
    sum
}

/// # Safety
/// AVX2 and FMA; `GROUPS` groups everywhere, four columns of activations one after the other.
#[target_feature(enable = "avx2,fma")]
unsafe fn gemm_b(codes: &[Codes], x: &[[i8; 32]], d: &[f32], dx: &[f32]) -> [__m256; 4] {
    let mut acc = [_mm256_setzero_ps(); 4];
    for g in 0..GROUPS {
        // SAFETY: 8 scales of group g.
        let d = unsafe { _mm256_loadu_ps(d.as_ptr().add(8 * g)) };
        for (c, acc) in acc.iter_mut().enumerate() {
            // SAFETY: group g of column c.
            let sum = unsafe { products(&codes[g], x[c * GROUPS + g].as_ptr()) };
            let isum = _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
            let scale = _mm256_mul_ps(d, _mm256_set1_ps(dx[c * GROUPS + g]));
            *acc = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(isum), *acc);
        }
    }
    acc
}

/// # Safety
/// As [`gemm_b`].
#[target_feature(enable = "avx2,fma")]
unsafe fn gemm_a(codes: &[Codes], x: &[[i8; 32]], sub: &[__m256i], d: &[f32], dx: &[f32]) -> [__m256; 4] {
    let mut acc = [_mm256_setzero_ps(); 4];
    for block in 0..GROUPS / 8 {
        let mut isum = [_mm256_setzero_si256(); 4];
        for g in 8 * block..8 * block + 8 {
            for (c, isum) in isum.iter_mut().enumerate() {
                // SAFETY: group g of column c.
                let sum = unsafe { products(&codes[g], x[c * GROUPS + g].as_ptr()) };
                *isum = _mm256_add_epi32(*isum, _mm256_madd_epi16(sum, sub[g]));
            }
        }
        // SAFETY: 8 scales.
        let d = unsafe { _mm256_loadu_ps(d.as_ptr().add(8 * block)) };
        for (c, acc) in acc.iter_mut().enumerate() {
            let scale = _mm256_mul_ps(d, _mm256_set1_ps(dx[c * GROUPS / 8 + block]));
            *acc = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(isum[c]), *acc);
        }
    }
    acc
}

/// Weights, and activations for one column.
struct Gemv {
    format: Format,
    data: Vec<u8>,
    rows: usize,
    k: usize,
    q: Vec<i8>,
    d: Vec<f32>,
    sums: Vec<i16>,
}

impl Gemv {
    fn new(kernels: &Kernels, format: Format, bytes: usize, k: usize) -> Gemv {
        let mut rng = Rng(6);
        let row = format.row_bytes(k).unwrap_or(1);
        let rows = (bytes / row).max(16);
        let data =
            (0..(rows * row).div_ceil(8)).flat_map(|_| (rng.next() & 0x3f3f_3f3f_3f3f_3f3f).to_le_bytes());
        let data = data.take(rows * row).collect();
        let x = rng.row(k, 4);
        let (mut q, mut d, mut sums) = (vec![0; k], vec![0.0; k / 32], vec![0; k / 16]);
        kernels.quantize(&x, &mut q, &mut d, &mut sums).expect("sizes fit");
        Gemv { format, data, rows, k, q, d, sums }
    }

    fn run(&self, kernels: &Kernels, y: &mut [f32], scratch: &mut [u8]) {
        let w = Matrix::new(self.format, &self.data, self.rows, self.k).expect("sizes fit");
        let x = QuantizedRows::new(&self.q, &self.d, &self.sums, 1, self.k).expect("sizes fit");
        let mut y = MatMut::new(y, self.rows, 1).expect("sizes fit");
        kernels.matmul(&w, &x, &mut y, scratch).expect("sizes fit");
    }

    /// One row at a time, lanes along K, a horizontal sum at its end. Q4_0 only.
    ///
    /// # Safety
    /// AVX2, FMA and F16C.
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn classic(&self, y: &mut [f32]) {
        let row_bytes = self.k / 32 * 18;
        for (row, y) in self.data.chunks_exact(row_bytes).zip(y) {
            let mut acc = _mm256_setzero_ps();
            for (g, block) in row.chunks_exact(18).enumerate() {
                let d = half::f16::from_le_bytes([block[0], block[1]]).to_f32() * self.d[g];
                // SAFETY: 16 bytes of codes, 32 activations.
                let (codes, x) = unsafe {
                    let packed = _mm_loadu_si128(block.as_ptr().add(2).cast());
                    let both = _mm256_set_m128i(_mm_srli_epi16::<4>(packed), packed);
                    (
                        _mm256_and_si256(both, _mm256_set1_epi8(15)),
                        _mm256_loadu_si256(self.q.as_ptr().add(32 * g).cast()),
                    )
                };
                let w = _mm256_sub_epi8(codes, _mm256_set1_epi8(8));
                let sum = _mm256_maddubs_epi16(_mm256_sign_epi8(w, w), _mm256_sign_epi8(x, w));
                let isum = _mm256_cvtepi32_ps(_mm256_madd_epi16(sum, _mm256_set1_epi16(1)));
                acc = _mm256_fmadd_ps(_mm256_set1_ps(d), isum, acc);
            }
            let mut lanes = [0.0f32; 8];
            // SAFETY: 8 floats.
            unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), acc) };
            *y = lanes.iter().sum();
        }
    }
}

fn lanes_are_rows() {
    let Ok(kernels) = Kernels::with_tier(Tier::Avx2) else { return };
    println!(
        "### Lanes are rows (chosen), or lanes run along K with a horizontal sum (Q4_0 GEMV, K = 1024, GB/s)\n"
    );
    println!(
        "| weights | lanes are rows | lanes along K | time of the first over the second |\n|---|---:|---:|---:|"
    );
    for (name, bytes, repeat) in [("in L2 (512 KiB)", 512 << 10, 200), ("in memory (256 MiB)", 256 << 20, 1)]
    {
        let g = Gemv::new(&kernels, Format::Q4_0, bytes, 1024);
        let (mut y, mut z) = (vec![0.0; g.rows], vec![0.0; g.rows]);
        let w = Matrix::new(g.format, &g.data, g.rows, g.k).expect("sizes fit");
        let mut scratch = vec![0; kernels.matmul_scratch(&w)];
        let mut rows = || (0..repeat).for_each(|_| g.run(&kernels, black_box(&mut y), &mut scratch));
        // SAFETY: the avx2 tier is usable.
        let mut along = || (0..repeat).for_each(|_| unsafe { g.classic(black_box(&mut z)) });
        let (a, b, ratio) = duel(&mut rows, &mut along);
        let rate = |s: f64| (g.data.len() * repeat) as f64 / s / 1e9;
        println!("| {name} | {:.1} | {:.1} | {ratio:.2} |", rate(a), rate(b));
    }
    println!();
}

/// Reads bytes in four streams, as fast as plain loads go.
///
/// # Safety
/// AVX2.
#[target_feature(enable = "avx2")]
unsafe fn read(data: &[u8]) -> u64 {
    let quarter = data.len() / 4 / 128 * 128;
    let mut sums = [_mm256_setzero_si256(); 4];
    for i in (0..quarter).step_by(128) {
        for (s, sum) in sums.iter_mut().enumerate() {
            for line in 0..4 {
                // SAFETY: four quarters of the data.
                let v = unsafe { _mm256_loadu_si256(data.as_ptr().add(s * quarter + i + 32 * line).cast()) };
                *sum = _mm256_xor_si256(*sum, v);
            }
        }
    }
    let all = _mm256_xor_si256(_mm256_xor_si256(sums[0], sums[1]), _mm256_xor_si256(sums[2], sums[3]));
    _mm256_extract_epi64::<0>(all) as u64
}

fn fraction_of_the_read_roof() {
    println!("### GEMV from memory (256 MiB, one thread) beside a plain read of the same bytes\n");
    println!("| format | tier | GEMV GB/s | read GB/s | share |\n|---|---|---:|---:|---:|");
    for tier in Tier::usable().into_iter().filter(|t| *t != Tier::Scalar) {
        let Ok(kernels) = Kernels::with_tier(tier) else { continue };
        for format in [Format::Q4_0, Format::Q5_0, Format::Q8_0, Format::Q4_K, Format::Q6_K] {
            let g = Gemv::new(&kernels, format, 256 << 20, 1024);
            let w = Matrix::new(g.format, &g.data, g.rows, g.k).expect("sizes fit");
            let (mut y, mut scratch) = (vec![0.0; g.rows], vec![0; kernels.matmul_scratch(&w)]);
            let mut gemv = || g.run(&kernels, black_box(&mut y), &mut scratch);
            // SAFETY: AVX2 was detected.
            let mut plain = || _ = black_box(unsafe { read(&g.data) });
            let (a, b, ratio) = duel(&mut gemv, &mut plain);
            let rate = |s: f64| g.data.len() as f64 / s / 1e9;
            println!("| {format} | {tier} | {:.1} | {:.1} | {:.2} |", rate(a), rate(b), 1.0 / ratio);
        }
    }
    println!();
}
