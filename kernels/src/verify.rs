//! Every kernel of a tier against the scalar tier, on this very machine: a self-test that can be attached to a bug report.
//!
//! Weights are random bytes, so scales are sometimes infinite or NaN; activations have outliers, and shapes stand around
//! tile edges. The test suite does the same and more against `kinglet-reference`.

use crate::{
    Activation, AttentionParams, Error, Format, KV_PAGE, Kernels, KvLayout, KvType, MatMut, Matrix, Partial,
    PartialRef, QuantizedRows, QueryRow, Tier,
};

/// What was compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Kernels that ran.
    pub kernels: usize,
    /// Calls that were compared.
    pub results: usize,
    /// One line for each kernel that differed, naming it and the first shape at which it did.
    pub differences: Vec<String>,
}

/// Compares the kernels of `tier` with the scalar ones.
///
/// # Errors
/// When the tier cannot run here, or a kernel refuses.
pub fn tier(tier: Tier, seed: u64) -> Result<Report, Error> {
    let (scalar, tier) = (Kernels::with_tier(Tier::Scalar)?, Kernels::with_tier(tier)?);
    let mut v = Verifier { scalar, tier, rng: seed, report: Report::default() };
    for format in Format::ALL {
        v.matmul(*format)?;
    }
    v.rows()?;
    for ty in [KvType::F32, KvType::F16, KvType::Q8_0] {
        v.attention(ty)?;
    }
    Ok(v.report)
}

struct Verifier {
    scalar: Kernels,
    tier: Kernels,
    rng: u64,
    report: Report,
}

impl Verifier {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.rng ^ (self.rng >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [-1, 1), one of 64 in [-32, 32).
    fn floats(&mut self, n: usize) -> Vec<f32> {
        let mut one = || {
            let bits = self.next();
            let x = (bits >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
            if bits.is_multiple_of(64) { x * 32.0 } else { x }
        };
        (0..n).map(|_| one()).collect()
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(n).collect()
    }

    /// Runs `f` on both tiers and compares what it returns. `differs` says whether this kernel already has.
    fn compare(
        &mut self,
        differs: &mut bool,
        name: impl Fn() -> String,
        f: impl Fn(&Kernels) -> Result<Vec<f32>, Error>,
    ) -> Result<(), Error> {
        let (want, got) = (f(&self.scalar)?, f(&self.tier)?);
        self.report.results += 1;
        let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        if !*differs && (want.len() != got.len() || !want.iter().zip(&got).all(same)) {
            *differs = true;
            self.report.differences.push(name());
        }
        Ok(())
    }

    fn matmul(&mut self, format: Format) -> Result<(), Error> {
        self.report.kernels += 1;
        let mut differs = false;
        for (rows, n) in
            [(1, 1), (7, 1), (16, 1), (33, 1), (8, 2), (9, 3), (17, 4), (15, 5), (31, 8), (40, 17), (35, 33)]
        {
            for blocks in [1, 3] {
                let cols = format.block_len().max(64) * blocks;
                let bytes = format.row_bytes(cols).unwrap_or(0) * rows;
                let data = self.bytes(bytes);
                let x = self.floats(n * cols);
                let w = Matrix::new(format, &data, rows, cols)?;
                let name = || format!("{format}.matmul rows {rows} cols {cols} n {n}");
                self.compare(&mut differs, name, |k| {
                    let mut y = vec![0.0; rows * n];
                    let mut out = MatMut::new(&mut y, rows, n)?;
                    if format.is_float() {
                        k.matmul_float(&w, &x, &mut out)?;
                    } else {
                        let (mut q, mut d, mut sums) =
                            (vec![0; x.len()], vec![0.0; x.len() / 32], vec![0; x.len() / 16]);
                        k.quantize(&x, &mut q, &mut d, &mut sums)?;
                        let x = QuantizedRows::new(&q, &d, &sums, n, cols)?;
                        k.matmul(&w, &x, &mut out, &mut vec![0; k.matmul_scratch(&w)])?;
                    }
                    Ok(y)
                })?;
            }
        }
        Ok(())
    }

    /// Kernels over one row of floats.
    fn rows(&mut self) -> Result<(), Error> {
        type Row = fn(&Kernels, &[f32], &[f32], &mut [f32]) -> Result<(), Error>;
        let kernels: &[(&str, Row)] = &[
            ("rms_norm", |k, x, w, y| k.rms_norm(x, Some(w), 1e-6, y)),
            ("layer_norm", |k, x, w, y| k.layer_norm(x, Some(w), Some(x), 1e-5, y)),
            ("softmax", |k, x, _, y| {
                y.copy_from_slice(x);
                k.softmax(y)
            }),
            ("silu", |k, x, w, y| {
                y.copy_from_slice(x);
                k.activate_mul(Activation::Silu, y, w)
            }),
            ("gelu_tanh", |k, x, w, y| {
                y.copy_from_slice(x);
                k.activate_mul(Activation::GeluTanh, y, w)
            }),
            ("gelu_erf", |k, x, _, y| {
                y.copy_from_slice(x);
                k.activate(Activation::GeluErf, y)
            }),
            ("softcap", |k, x, _, y| {
                y.copy_from_slice(x);
                k.softcap(y, 20.0)
            }),
            ("rope_interleaved", |k, x, w, y| {
                y.copy_from_slice(x);
                let pairs = x.len() / 2;
                k.rope_interleaved(y, &w[..pairs], &w[pairs..2 * pairs])
            }),
            ("rope_half_split", |k, x, w, y| {
                y.copy_from_slice(x);
                let pairs = x.len() / 2;
                k.rope_half_split(y, &w[..pairs], &w[pairs..2 * pairs])
            }),
        ];
        for (name, run) in kernels {
            self.report.kernels += 1;
            let mut differs = false;
            for n in (1..=40).chain([576, 1023]) {
                let (x, w) = (self.floats(n), self.floats(n));
                self.compare(
                    &mut differs,
                    || format!("{name} n {n}"),
                    |k| {
                        let mut y = vec![0.0; n];
                        run(k, &x, &w, &mut y)?;
                        Ok(y)
                    },
                )?;
            }
        }
        Ok(())
    }

    fn attention(&mut self, ty: KvType) -> Result<(), Error> {
        self.report.kernels += 1;
        let mut differs = false;
        for head_dim in [16, 64, 80, 128] {
            for rows in [1, 3, 8] {
                let layout = KvLayout { ty, head_dim, value_dim: head_dim };
                let cached = 70;
                let (k, v) = (self.floats(cached * head_dim), self.floats(cached * head_dim));
                let q = self.floats(rows * head_dim);
                let name = || format!("attention {ty:?} head_dim {head_dim} rows {rows}");
                self.compare(&mut differs, name, |kernels| {
                    let mut keys = vec![0u8; layout.key_page_bytes()];
                    let mut values = vec![0u8; layout.value_page_bytes()];
                    for (i, (k, v)) in k.chunks(head_dim).zip(v.chunks(head_dim)).enumerate() {
                        kernels.store_kv(layout, &mut keys, &mut values, i % KV_PAGE, k, v)?;
                    }
                    let row = |r: usize| QueryRow { position: 60 + r, visible: 5 * r..61 + r, slope: 0.0 };
                    let rows: Vec<QueryRow> = (0..rows).map(row).collect();
                    let (mut m, mut l) = (vec![f32::NEG_INFINITY; rows.len()], vec![0.0; rows.len()]);
                    let mut o = vec![0.0; rows.len() * layout.output_dim()];
                    let mut scratch = vec![0; kernels.attention_scratch(layout, rows.len())];
                    let params = AttentionParams { scale: 0.125, softcap: Some(30.0) };
                    let out = Partial { m: &mut m, l: &mut l, o: &mut o };
                    kernels.attention_page(
                        layout,
                        params,
                        &q,
                        &rows,
                        0,
                        &keys,
                        &values,
                        out,
                        &mut scratch,
                    )?;
                    let mut y = vec![0.0; rows.len() * head_dim];
                    kernels.attention_finish(layout, PartialRef { m: &m, l: &l, o: &o }, &mut y)?;
                    Ok(y)
                })?;
            }
        }
        Ok(())
    }
}
