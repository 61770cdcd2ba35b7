//! Every kernel of a tier against the scalar tier, on this very machine: a self-test that can be attached to a bug report, with hashes
//! by which machines can be compared.
//!
//! Weights are random bytes, so scales are sometimes infinite or NaN; activations have outliers, and shapes stand around
//! tile edges. The test suite does the same and more against `kinglet-reference`.

use crate::list::Op;
use crate::{
    Activation, AttentionParams, Error, Format, KV_PAGE, Kernels, KvLayout, KvType, MatMut, Matrix, Partial,
    PartialRef, QuantizedRows, QueryRow, Tier,
};

/// What was compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// One entry for each operation and format, in a fixed order.
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// Calls that were compared.
    pub fn results(&self) -> usize {
        self.outcomes.iter().map(|o| o.results).sum()
    }

    /// One line for each operation that differed, naming the first shape at which it did.
    pub fn differences(&self) -> impl Iterator<Item = &str> {
        self.outcomes.iter().filter_map(|o| o.difference.as_deref())
    }
}

/// What came of one operation on one format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Such as `q4_k.matmul`, `rms_norm` or `kv_f16.attention`.
    pub name: String,
    /// The operations that ran.
    pub ops: &'static [Op],
    /// Calls that were compared.
    pub results: usize,
    /// FNV-1a of the bits of all results, every NaN being one: the same for one seed on every machine and tier.
    pub hash: u64,
    /// The first shape at which the tiers differ.
    pub difference: Option<String>,
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
        v.dequantize(*format)?;
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

    /// Begins the comparisons of an operation.
    fn begin(&mut self, name: String, ops: &'static [Op]) {
        // The offset of FNV-1a.
        let hash = 0xcbf2_9ce4_8422_2325;
        self.report.outcomes.push(Outcome { name, ops, results: 0, hash, difference: None });
    }

    /// Runs `f` on both tiers and compares what it returns.
    fn compare(
        &mut self,
        shape: impl Fn() -> String,
        f: impl Fn(&Kernels) -> Result<Vec<f32>, Error>,
    ) -> Result<(), Error> {
        let (want, got) = (f(&self.scalar)?, f(&self.tier)?);
        let Some(outcome) = self.report.outcomes.last_mut() else { return Ok(()) };
        outcome.results += 1;
        let bits = |x: &f32| if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() };
        for byte in got.iter().flat_map(|x| bits(x).to_le_bytes()) {
            outcome.hash = (outcome.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        let same = want.len() == got.len() && want.iter().zip(&got).all(|(a, b)| bits(a) == bits(b));
        if outcome.difference.is_none() && !same {
            outcome.difference = Some(format!("{} {}", outcome.name, shape()));
        }
        Ok(())
    }

    fn matmul(&mut self, format: Format) -> Result<(), Error> {
        self.begin(format!("{}.matmul", format.name().to_lowercase()), &[Op::Gemv, Op::Gemm]);
        for (rows, n) in
            [(1, 1), (7, 1), (16, 1), (33, 1), (8, 2), (9, 3), (17, 4), (15, 5), (31, 8), (40, 17), (35, 33)]
        {
            for blocks in [1, 3] {
                let cols = format.block_len().max(64) * blocks;
                let bytes = format.row_bytes(cols).unwrap_or(0) * rows;
                let data = self.bytes(bytes);
                let x = self.floats(n * cols);
                let w = Matrix::new(format, &data, rows, cols)?;
                let shape = || format!("rows {rows} cols {cols} n {n}");
                self.compare(shape, |k| {
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

    fn dequantize(&mut self, format: Format) -> Result<(), Error> {
        self.begin(format!("{}.dequantize_row", format.name().to_lowercase()), &[Op::DequantizeRow]);
        let cols = format.block_len().max(8) * 3;
        let data = self.bytes(format.row_bytes(cols).unwrap_or(0));
        let w = Matrix::new(format, &data, 1, cols)?;
        self.compare(
            || format!("cols {cols}"),
            |k| {
                let mut y = vec![0.0; cols];
                k.dequantize_row(&w, 0, &mut y)?;
                Ok(y)
            },
        )
    }

    /// Kernels over one row of floats.
    fn rows(&mut self) -> Result<(), Error> {
        type Row = fn(&Kernels, &[f32], &[f32], &mut [f32]) -> Result<(), Error>;
        let kernels: &[(&str, &'static [Op], Row)] = &[
            ("rms_norm", &[Op::RmsNorm], |k, x, w, y| k.rms_norm(x, Some(w), 1e-6, y)),
            ("layer_norm", &[Op::LayerNorm], |k, x, w, y| k.layer_norm(x, Some(w), Some(x), 1e-5, y)),
            ("softmax", &[Op::Softmax], |k, x, _, y| {
                y.copy_from_slice(x);
                k.softmax(y)
            }),
            ("silu", &[Op::ActivateMul], |k, x, w, y| {
                y.copy_from_slice(x);
                k.activate_mul(Activation::Silu, y, w)
            }),
            ("gelu_tanh", &[Op::ActivateMul], |k, x, w, y| {
                y.copy_from_slice(x);
                k.activate_mul(Activation::GeluTanh, y, w)
            }),
            ("gelu_erf", &[Op::Activate], |k, x, _, y| {
                y.copy_from_slice(x);
                k.activate(Activation::GeluErf, y)
            }),
            ("softcap", &[Op::Softcap], |k, x, _, y| {
                y.copy_from_slice(x);
                k.softcap(y, 20.0)
            }),
            ("rope_interleaved", &[Op::RopeInterleaved], |k, x, w, y| {
                y.copy_from_slice(x);
                let pairs = x.len() / 2;
                k.rope_interleaved(y, &w[..pairs], &w[pairs..2 * pairs])
            }),
            ("rope_half_split", &[Op::RopeHalfSplit], |k, x, w, y| {
                y.copy_from_slice(x);
                let pairs = x.len() / 2;
                k.rope_half_split(y, &w[..pairs], &w[pairs..2 * pairs])
            }),
            ("relu", &[Op::Activate], |k, x, _, y| {
                y.copy_from_slice(x);
                k.activate(Activation::Relu, y)
            }),
            ("relu2", &[Op::ActivateMul], |k, x, w, y| {
                y.copy_from_slice(x);
                k.activate_mul(Activation::Relu2, y, w)
            }),
            ("exp", &[Op::Exp], |k, x, _, y| {
                y.copy_from_slice(x);
                k.exp(y)
            }),
            ("tanh", &[Op::Tanh], |k, x, _, y| {
                y.copy_from_slice(x);
                k.tanh(y)
            }),
            ("erf", &[Op::Erf], |k, x, _, y| {
                y.copy_from_slice(x);
                k.erf(y)
            }),
            ("scale", &[Op::Scale], |k, x, _, y| {
                y.copy_from_slice(x);
                k.scale(y, 0.3)
            }),
            ("add", &[Op::Add], |k, x, w, y| {
                y.copy_from_slice(x);
                k.add(y, w)
            }),
            ("add_scaled", &[Op::AddScaled], |k, x, w, y| {
                y.copy_from_slice(x);
                k.add_scaled(y, w, 0.3)
            }),
            ("quantize", &[Op::Quantize], |k, x, _, y| {
                let whole = x.len() / 32 * 32;
                let (mut q, mut d, mut sums) = (vec![0; whole], vec![0.0; whole / 32], vec![0; whole / 16]);
                k.quantize(&x[..whole], &mut q, &mut d, &mut sums)?;
                // Each value shows its code, scale and sum.
                for (i, y) in y.iter_mut().enumerate().take(whole) {
                    *y = f32::from(q[i]) * d[i / 32] + f32::from(sums[i / 16]);
                }
                Ok(())
            }),
        ];
        for (name, ops, run) in kernels {
            self.begin((*name).to_owned(), ops);
            for n in (1..=40).chain([576, 1023]) {
                let (x, w) = (self.floats(n), self.floats(n));
                self.compare(
                    || format!("n {n}"),
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
        const OPS: &[Op] = &[Op::StoreKv, Op::AttentionPage, Op::AttentionFold, Op::AttentionFinish];
        self.begin(format!("kv_{ty:?}.attention").to_lowercase(), OPS);
        for head_dim in [16, 64, 80, 128] {
            for rows in [1, 3, 8] {
                let layout = KvLayout { ty, head_dim, value_dim: head_dim };
                // The end of one page and the beginning of the next.
                let cached = KV_PAGE + 70;
                let (k, v) = (self.floats(cached * head_dim), self.floats(cached * head_dim));
                let q = self.floats(rows * head_dim);
                let shape = || format!("head_dim {head_dim} rows {rows}");
                self.compare(shape, |kernels| {
                    let row =
                        |r: usize| QueryRow { position: 570 + r, visible: 450 + 5 * r..571 + r, slope: 0.0 };
                    let rows: Vec<QueryRow> = (0..rows).map(row).collect();
                    let (mut m, mut l) = (vec![f32::NEG_INFINITY; rows.len()], vec![0.0; rows.len()]);
                    let mut o = vec![0.0; rows.len() * layout.output_dim()];
                    let mut scratch = vec![0; kernels.attention_scratch(layout, rows.len())];
                    let params = AttentionParams { scale: 0.125, softcap: Some(30.0) };
                    let pages = k.chunks(KV_PAGE * head_dim).zip(v.chunks(KV_PAGE * head_dim));
                    for (page, (k, v)) in pages.enumerate() {
                        let mut keys = vec![0u8; layout.key_page_bytes()];
                        let mut values = vec![0u8; layout.value_page_bytes()];
                        for (slot, (k, v)) in k.chunks(head_dim).zip(v.chunks(head_dim)).enumerate() {
                            kernels.store_kv(layout, &mut keys, &mut values, slot, k, v)?;
                        }
                        let (mut pm, mut pl, mut po) = (m.clone(), l.clone(), o.clone());
                        let out = Partial { m: &mut pm, l: &mut pl, o: &mut po };
                        let (k, v) = (&keys, &values);
                        kernels.attention_page(layout, params, &q, &rows, page, k, v, out, &mut scratch)?;
                        let part = PartialRef { m: &pm, l: &pl, o: &po };
                        kernels.attention_fold(Partial { m: &mut m, l: &mut l, o: &mut o }, &part)?;
                    }
                    let mut y = vec![0.0; rows.len() * head_dim];
                    kernels.attention_finish(layout, PartialRef { m: &m, l: &l, o: &o }, &mut y)?;
                    Ok(y)
                })?;
            }
        }
        Ok(())
    }
}
