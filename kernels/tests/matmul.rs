//! Every tier's quantization against the reference, and matmul against the portable tier, bit for bit.

use kinglet_kernels::{Format, Kernels, MatMut, Matrix, QuantizedRows, Tier};

const QUANTIZED: &[Format] = &[
    Format::Q4_0,
    Format::Q4_1,
    Format::Q5_0,
    Format::Q5_1,
    Format::Q8_0,
    Format::Q2_K,
    Format::Q3_K,
    Format::Q4_K,
    Format::Q5_K,
    Format::Q6_K,
    Format::IQ4_NL,
];

/// splitmix64: enough randomness for tests, the same on every machine.
struct Rng(u64);
impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Roughly normal, with an outlier now and then.
    fn float(&mut self) -> f32 {
        let sum: i64 = (0..4).map(|_| (self.next() >> 40) as i64 - (1 << 23)).sum();
        let x = sum as f32 / (1 << 23) as f32;
        if self.next().is_multiple_of(97) { x * 30.0 } else { x }
    }
}

struct Activations {
    q: Vec<i8>,
    d: Vec<f32>,
    sums: Vec<i16>,
}

fn quantize(kernels: &Kernels, x: &[f32]) -> Activations {
    let n = x.len();
    let mut a = Activations { q: vec![99; n], d: vec![9.0; n / 32], sums: vec![99; n / 16] };
    kernels.quantize(x, &mut a.q, &mut a.d, &mut a.sums).unwrap();
    a
}

fn matmul(kernels: &Kernels, w: &Matrix<'_>, a: &Activations, n: usize) -> Vec<f32> {
    let x = QuantizedRows::new(&a.q, &a.d, &a.sums, n, w.cols()).unwrap();
    let mut y = vec![f32::from_bits(0x7fc0_dead); n * w.rows()];
    let mut scratch = vec![0xa5; kernels.matmul_scratch(w)];
    kernels.matmul(w, &x, &mut MatMut::new(&mut y, w.rows(), n).unwrap(), &mut scratch).unwrap();
    y
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
}

/// The tiers to compare with the portable one; prints those that cannot run.
fn tiers() -> Vec<Kernels> {
    let required = std::env::var("KINGLET_REQUIRE_TIERS").unwrap_or_default();
    let mut out = Vec::new();
    for tier in Tier::ALL {
        match Kernels::with_tier(*tier) {
            Ok(k) => out.push(k),
            Err(why) => {
                assert!(!required.split(',').any(|r| r == tier.name()), "required tier: {why}");
                println!("{tier}: NOT RUN: {why}");
            }
        }
    }
    out
}

#[test]
fn every_tier_multiplies_as_the_scalar_one() {
    let scalar = Kernels::with_tier(Tier::Scalar).unwrap();
    for kernels in tiers() {
        for (i, &format) in QUANTIZED.iter().enumerate() {
            let mut rng = Rng(i as u64 + 1);
            for rows in (1..=20).chain([33]) {
                for n in [1, 2, 3, 4, 5, 6, 7, 8, 9, 33] {
                    let cols = format.block_len().max(64) * (1 + (rows + n) % 3);
                    let bytes = rows * format.row_bytes(cols).unwrap();
                    let data: Vec<u8> = (0..bytes).map(|_| rng.next() as u8).collect();
                    let w = Matrix::new(format, &data, rows, cols).unwrap();
                    let x: Vec<f32> = (0..n * cols).map(|_| rng.float()).collect();
                    let a = quantize(&scalar, &x);
                    let (want, got) = (matmul(&scalar, &w, &a, n), matmul(&kernels, &w, &a, n));
                    let tier = kernels.tier();
                    assert!(same(&want, &got), "{format}.matmul.{tier} rows {rows} cols {cols} n {n}");
                }
            }
        }
    }
}

#[test]
fn every_tier_quantizes_as_the_reference() {
    let mut rng = Rng(7);
    let mut x: Vec<f32> = (0..32 * 64).map(|_| rng.float()).collect();
    for (i, special) in [f32::NAN, f32::INFINITY, -0.0, 1e-38, -f32::MAX, 3e-31].into_iter().enumerate() {
        x[32 * i..32 * i + 32].fill(special);
        x[32 * (10 + i) + 5] = special;
    }
    let contract = kinglet_reference::quantize::quantize(&x);
    let want = Activations { q: contract.q, d: contract.d, sums: contract.sums };
    for kernels in tiers() {
        let got = quantize(&kernels, &x);
        assert_eq!((&want.q, &want.sums), (&got.q, &got.sums), "{}", kernels.tier());
        assert!(same(&want.d, &got.d), "{}", kernels.tier());
    }
}
