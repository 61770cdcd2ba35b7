//! How far kernels are from exact arithmetic, beside the bounds that `docs/contract.md` derives: the largest error over a million random
//! and adversarial results per operation, as a part of its bound. Prints the table of `docs/accuracy.md`.
//!
//!     cargo run --release -p kinglet-kernels --example accuracy [RESULTS] [SEED]
//!
//! Any tier gives the same table, since all give the same bits. Exits with 1 when a bound does not hold.

use kinglet_kernels::format::{Mins, decode_groups};
use kinglet_kernels::{
    Activation, AttentionParams, Error, Format, KV_PAGE, Kernels, KvLayout, KvType, MatMut, Matrix, Partial,
    PartialRef, QuantizedRows, QueryRow,
};

/// The unit roundoff of f32.
const U: f64 = 1.0 / (1u64 << 24) as f64;
/// What a rounding into the subnormals can be off by, and with it each operation.
const TINY: f64 = 1e-45;

/// Where exp(-x) is infinite x / (1 + exp(-x)) is 0, which is off by less than this.
const OVERFLOW: f64 = 3e-37;

/// `(1 + u)^n - 1`, the factor of `n` roundings one after the other.
fn gamma(n: usize) -> f64 {
    libm::expm1(n as f64 * libm::log1p(U))
}

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
    /// Rows of one of several kinds: even, with outliers, over many magnitudes, alternating and nearly cancelling, constant.
    fn row(&mut self, n: usize) -> Vec<f32> {
        let kind = self.next() % 5;
        let level = self.unit();
        let mut one = |i: usize| match kind {
            0 => self.unit(),
            1 if self.next().is_multiple_of(50) => 60.0 * self.unit(),
            1 => self.unit(),
            2 => self.unit() * libm::exp2(16.0 * self.unit()),
            3 => (if i.is_multiple_of(2) { 1.0 } else { -1.0 }) * (1.0 + 1e-3 * self.unit()),
            _ => level,
        };
        (0..n).map(|i| one(i) as f32).collect()
    }
}

/// The worst of one operation.
struct Worst {
    name: String,
    bound: &'static str,
    results: usize,
    /// The largest error, relative to what the bound is relative to, in units of u, and as a part of the bound.
    units: f64,
    part: f64,
}

impl Worst {
    fn new(name: impl Into<String>, bound: &'static str) -> Worst {
        Worst { name: name.into(), bound, results: 0, units: 0.0, part: 0.0 }
    }
    /// A result that may be off by `factor * scale`, and by `small` for what underflows on the way.
    fn add(&mut self, got: f32, exact: f64, factor: f64, scale: f64, small: f64) {
        let error = ((f64::from(got) - exact).abs() - small - 16.0 * TINY).max(0.0);
        self.results += 1;
        let units = error / scale.max(f64::MIN_POSITIVE) / U;
        self.units = if units <= self.units { self.units } else { units };
        let part = if error == 0.0 { 0.0 } else { error / (factor * scale) };
        // A NaN is as wrong as can be.
        self.part = if part <= self.part { self.part } else { part };
    }
}

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1).filter_map(|a| a.parse::<u64>().ok());
    let (results, seed) = (args.next().unwrap_or(1_000_000) as usize, args.next().unwrap_or(1));
    let k = Kernels::detect()?;
    let mut rng = Rng(seed);
    let mut all = Vec::new();
    for &format in Format::ALL {
        all.push(products(&k, &mut rng, format, results)?);
    }
    all.push(quantization(&k, &mut rng, results)?);
    all.extend(rows(&k, &mut rng, results)?);
    for ty in [KvType::F32, KvType::F16, KvType::Q8_0] {
        all.push(attention(&k, &mut rng, ty, results / 10)?);
    }
    println!("{results} results per operation ({} for attention), seed {seed}.\n", results / 10);
    println!(
        "| operation | bound, see contract.md | results | largest error, units of u | of the bound |\n|---|---|---:|---:|---:|"
    );
    for w in &all {
        println!("| {} | {} | {} | {:.2} | {:.3} |", w.name, w.bound, w.results, w.units, w.part);
    }
    if let Some(bad) = all.iter().find(|w| w.part.is_nan() || w.part > 1.0) {
        eprintln!("{} exceeds its bound", bad.name);
        std::process::exit(1);
    }
    Ok(())
}

fn products(k: &Kernels, rng: &mut Rng, format: Format, results: usize) -> Result<Worst, Error> {
    let bound = match (format.is_float(), format.mins()) {
        (true, _) => "gamma(ceil(K / 16) + 4) * sum of magnitudes",
        (_, Mins::None) => "gamma(K / 32 + 1) * sum of group magnitudes",
        _ => "gamma(groups * mins + 2) * sum of group magnitudes",
    };
    let mut worst = Worst::new(format!("{}.matmul", format.name().to_lowercase()), bound);
    let (rows, n) = (16, 16);
    while worst.results < results {
        let cols = format.block_len().max(32)
            * (1 + rng.next() as usize % if format.block_len() == 256 { 3 } else { 16 });
        let size = format.row_bytes(cols).unwrap_or(0) * rows;
        let mut data: Vec<u8> = (0..size).map(|_| rng.next() as u8).collect();
        if rng.next().is_multiple_of(4) {
            // The largest codes, next to each other.
            let pattern = [0xff, 0x00, 0x7f, 0x80, 0x0f, 0xf0][rng.next() as usize % 6];
            data.fill(pattern);
        }
        let x: Vec<f32> = (0..n).flat_map(|_| rng.row(cols)).collect();
        let w = Matrix::new(format, &data, rows, cols)?;
        let mut y = vec![0.0; rows * n];
        let mut out = MatMut::new(&mut y, rows, n)?;
        if format.is_float() {
            // Random bytes have few ordinary floats.
            let values: Vec<f32> = (0..rows).flat_map(|_| rng.row(cols)).collect();
            if kinglet_kernels::format::encode_row(format, &values, &mut data).is_err() {
                continue;
            }
            let w = Matrix::new(format, &data, rows, cols)?;
            k.matmul_float(&w, &x, &mut out)?;
            let mut row = vec![0.0; cols];
            for r in 0..rows {
                k.dequantize_row(&w, r, &mut row)?;
                for c in 0..n {
                    let products =
                        row.iter().zip(&x[c * cols..][..cols]).map(|(w, x)| f64::from(*w) * f64::from(*x));
                    let (sum, size) = products.fold((0.0, 0.0), |(s, m), p| (s + p, m + p.abs()));
                    worst.add(y[c * rows + r], sum, gamma(cols.div_ceil(16) + 4), size, TINY * cols as f64);
                }
            }
            continue;
        }
        let (mut q, mut d, mut sums) = (vec![0; x.len()], vec![0.0; x.len() / 32], vec![0; x.len() / 16]);
        k.quantize(&x, &mut q, &mut d, &mut sums)?;
        let rows_of_x = QuantizedRows::new(&q, &d, &sums, n, cols)?;
        k.matmul(&w, &rows_of_x, &mut out, &mut vec![0; k.matmul_scratch(&w)])?;
        for r in 0..rows {
            let mut exact = vec![(0.0f64, 0.0f64); n];
            decode_groups(format, w.row(r).unwrap_or_default(), |g, group| {
                for (c, (sum, size)) in exact.iter_mut().enumerate() {
                    let at = c * cols / 32 + g;
                    let (q, dx) = (&q[at * 32..][..32], f64::from(d[at]));
                    let codes =
                        |i: usize| i32::from(group.s[i / 16]) * i32::from(group.q[i]) * i32::from(q[i]);
                    let isum: i32 = (0..32).map(codes).sum();
                    let min = |h: usize| f64::from(group.m[h]) * dx * f64::from(sums[2 * at + h]);
                    let t = f64::from(group.d) * dx * f64::from(isum);
                    *sum += t + min(0) + min(1);
                    // A min of 32 meets one sum, in which halves may cancel.
                    let mins = if format.mins() == Mins::Per32 {
                        (min(0) + min(1)).abs()
                    } else {
                        min(0).abs() + min(1).abs()
                    };
                    *size += t.abs() + mins;
                }
            });
            for (c, (sum, size)) in exact.iter().enumerate() {
                if !size.is_finite() || *size > 1e37 {
                    continue; // scales that are not finite, or overflow
                }
                // A product of scales may be subnormal, and is multiplied by up to 2^23.
                let underflow = (cols / 32) as f64 * f64::from(1 << 23) * TINY;
                let chain = cols / 32 * if format.mins() == Mins::Per16 { 2 } else { 1 };
                let factor = gamma(chain + if format.mins() == Mins::None { 1 } else { 2 });
                worst.add(y[c * rows + r], *sum, factor, *size, underflow);
            }
        }
    }
    Ok(worst)
}

fn quantization(k: &Kernels, rng: &mut Rng, results: usize) -> Result<Worst, Error> {
    let mut worst = Worst::new("quantize", "(1 / 254 + 2 u) * largest of the block");
    let (mut q, mut d, mut sums) = ([0; 32], [0.0], [0; 2]);
    while worst.results < results {
        let x = rng.row(32);
        k.quantize(&x, &mut q, &mut d, &mut sums)?;
        let amax = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for (x, q) in x.iter().zip(q) {
            let back = f64::from(d[0]) * f64::from(q);
            // As the error of what is put back, which is exact in f64.
            let error = back - f64::from(*x);
            worst.add(error as f32, 0.0, 1.0 / 254.0 + 2.0 * U, f64::from(amax), 0.0);
        }
    }
    Ok(worst)
}

fn rows(k: &Kernels, rng: &mut Rng, results: usize) -> Result<Vec<Worst>, Error> {
    let mut rms = Worst::new("rms_norm", "gamma(ceil(n / 16) / 2 + 8) * result");
    let mut layer =
        Worst::new("layer_norm", "E r (1 + y) / (1 - E r) + gamma(ceil(n / 16) / 2 + 10) * result");
    let mut rope = Worst::new("rope_interleaved", "gamma(2) * (magnitudes of both products)");
    let mut soft =
        Worst::new("softmax", "gamma(distance to the largest + its mean + ceil(n / 16) + 11) * result");
    let mut silu = Worst::new("silu", "gamma(5) * result");
    let mut tanh_gelu = Worst::new("gelu_tanh", "gamma(12 t e / (1 + e) + 6) * result");
    let mut erf_gelu = Worst::new("gelu_erf", "gamma(10) * x");
    let mut exp = Worst::new("exp", "2 u * result");
    let mut tanh = Worst::new("tanh", "6 u * result");
    let mut erf = Worst::new("erf", "6 u * result");
    while rms.results < results {
        let n = 1 + rng.next() as usize % 600;
        let x: Vec<f32> = rng.row(n).iter().map(|x| x * 6.0).collect();
        let wide: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        let mut y = vec![0.0; n];
        k.rms_norm(&x, None, 1e-6, &mut y)?;
        let mean = wide.iter().map(|x| x * x).sum::<f64>() / n as f64 + f64::from(1e-6f32);
        for (y, x) in y.iter().zip(&wide) {
            let exact = x / libm::sqrt(mean);
            rms.add(*y, exact, gamma(n.div_ceil(16) / 2 + 8), exact.abs(), 0.0);
        }
        let long = n.div_ceil(16);
        k.layer_norm(&x, None, None, 1e-5, &mut y)?;
        let size = wide.iter().map(|x| x.abs()).sum::<f64>() / n as f64;
        let most = wide.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let mu = wide.iter().sum::<f64>() / n as f64;
        let variance = wide.iter().map(|x| (x - mu) * (x - mu)).sum::<f64>() / n as f64 + f64::from(1e-5f32);
        let scale = 1.0 / libm::sqrt(variance);
        let moved = gamma(long + 6) * (size + most) * scale;
        for (y, x) in y.iter().zip(&wide) {
            let exact = (x - mu) * scale;
            let bound =
                moved * (1.0 + exact.abs()) / (1.0 - moved).max(1e-9) + gamma(long / 2 + 10) * exact.abs();
            let base = (size + most) * scale * (1.0 + exact.abs());
            layer.add(*y, exact, bound / base, base, 0.0);
        }
        let (angles, pairs) = (rng.row(n / 2), n / 2);
        let turn =
            |f: fn(f64) -> f64| -> Vec<f32> { angles.iter().map(|a| f(f64::from(*a)) as f32).collect() };
        let (cos, sin) = (turn(libm::cos), turn(libm::sin));
        y.copy_from_slice(&x);
        k.rope_interleaved(&mut y, &cos, &sin)?;
        for i in 0..pairs {
            let (a, b, c, s) = (wide[2 * i], wide[2 * i + 1], f64::from(cos[i]), f64::from(sin[i]));
            rope.add(y[2 * i], a * c - b * s, gamma(2), (a * c).abs() + (b * s).abs(), 0.0);
            rope.add(y[2 * i + 1], b * c + a * s, gamma(2), (b * c).abs() + (a * s).abs(), 0.0);
        }
        y.copy_from_slice(&x);
        k.softmax(&mut y)?;
        let top = wide.iter().fold(f64::NEG_INFINITY, |m, x| m.max(*x));
        let e: Vec<f64> = wide.iter().map(|x| libm::exp(x - top)).collect();
        let sum: f64 = e.iter().sum();
        let mean = e.iter().zip(&wide).map(|(e, x)| e * (top - x)).sum::<f64>() / sum;
        for ((y, x), e) in y.iter().zip(&wide).zip(&e) {
            let steps = (top - x) + mean + (n.div_ceil(16) + 11) as f64;
            // exp rounds into the subnormals where the result is smaller than they are.
            soft.add(*y, e / sum, libm::expm1(steps * libm::log1p(U)), e / sum, 1e-37);
        }
        let apply = |f: &dyn Fn(&mut [f32]) -> Result<(), Error>| {
            let mut y = x.clone();
            f(&mut y).map(|()| y)
        };
        let one = |t: f64| libm::expm1(t * libm::log1p(U));
        for (y, x) in apply(&|y| k.activate(Activation::Silu, y))?.iter().zip(&wide) {
            let exact = x / (1.0 + libm::exp(-x));
            silu.add(*y, exact, gamma(5), exact.abs(), OVERFLOW);
        }
        for (y, x) in apply(&|y| k.activate(Activation::GeluTanh, y))?.iter().zip(&wide) {
            let t = 0.797_884_560_802_865_4 * (x + 0.044715 * x * x * x);
            let e = libm::exp(-2.0 * t);
            let exact = x / (1.0 + e);
            let share = if e.is_infinite() { 1.0 } else { e / (1.0 + e) };
            tanh_gelu.add(*y, exact, one(12.0 * t.abs() * share + 6.0), exact.abs(), OVERFLOW);
        }
        for (y, x) in apply(&|y| k.activate(Activation::GeluErf, y))?.iter().zip(&wide) {
            let exact = 0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2);
            erf_gelu.add(*y, exact, gamma(10), x.abs(), 0.0);
        }
        for (y, x) in apply(&|y| k.exp(y))?.iter().zip(&wide) {
            if *x < 88.0 {
                let exact = libm::exp(*x);
                exp.add(*y, exact, 2.0 * U, exact, 1e-44);
            }
        }
        for (y, x) in apply(&|y| k.tanh(y))?.iter().zip(&wide) {
            let exact = libm::tanh(*x);
            tanh.add(*y, exact, 6.0 * U, exact.abs(), 0.0);
        }
        for (y, x) in apply(&|y| k.erf(y))?.iter().zip(&wide) {
            let exact = libm::erf(*x);
            erf.add(*y, exact, 6.0 * U, exact.abs(), 0.0);
        }
    }
    Ok(vec![rms, layer, rope, soft, silu, tanh_gelu, erf_gelu, exp, tanh, erf])
}

/// Against attention in f64 over keys and values as the cache holds them (f32, f16) or over the caller's (q8_0, whose bound is that
/// of its quantization and is not derived here: the column then says how many units of the largest value it is off).
fn attention(k: &Kernels, rng: &mut Rng, ty: KvType, results: usize) -> Result<Worst, Error> {
    let bound = match ty {
        KvType::Q8_0 => "1 / 20 of the largest value (measured)",
        _ => "(2 gamma(head_dim + 4) S + gamma(17 keys / 16 + 16)) * largest value",
    };
    let mut worst = Worst::new(format!("kv_{ty:?}.attention").to_lowercase(), bound);
    let dim = 64;
    let layout = KvLayout { ty, head_dim: dim, value_dim: dim };
    while worst.results < results {
        let keys = 1 + rng.next() as usize % KV_PAGE;
        let rounded = |x: Vec<f32>| -> Vec<f32> {
            let mut bytes = vec![0; 2 * x.len()];
            if ty == KvType::F16 && kinglet_kernels::format::encode_row(Format::F16, &x, &mut bytes).is_ok() {
                let mut back = vec![0.0; x.len()];
                if let Ok(w) = Matrix::new(Format::F16, &bytes, 1, x.len()) {
                    let _ = k.dequantize_row(&w, 0, &mut back);
                }
                return back;
            }
            x
        };
        let mut plain = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.unit() as f32).collect() };
        let (q, key, value) = (plain(dim), rounded(plain(keys * dim)), rounded(plain(keys * dim)));
        let (mut kp, mut vp) = (vec![0; layout.key_page_bytes()], vec![0; layout.value_page_bytes()]);
        for (slot, (key, value)) in key.chunks(dim).zip(value.chunks(dim)).enumerate() {
            k.store_kv(layout, &mut kp, &mut vp, slot, key, value)?;
        }
        let (mut m, mut l, mut o) = ([f32::NEG_INFINITY], [0.0], vec![0.0; dim]);
        let mut scratch = vec![0; k.attention_scratch(layout, 1)];
        let row = QueryRow { position: keys, visible: 0..keys, slope: 0.0 };
        let params = AttentionParams { scale: 1.0, softcap: None };
        let out = Partial { m: &mut m, l: &mut l, o: &mut o };
        k.attention_page(layout, params, &q, &[row], 0, &kp, &vp, out, &mut scratch)?;
        let mut y = vec![0.0; dim];
        k.attention_finish(layout, PartialRef { m: &m, l: &l, o: &o }, &mut y)?;

        let dot = |key: &[f32]| {
            let products = q.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b));
            products.fold((0.0, 0.0), |(s, size), p| (s + p, size + p.abs()))
        };
        let scores: Vec<(f64, f64)> = key.chunks(dim).map(dot).collect();
        let top = scores.iter().fold(f64::NEG_INFINITY, |m, s| m.max(s.0));
        let size = scores.iter().fold(0.0f64, |m, s| m.max(s.1));
        let p: Vec<f64> = scores.iter().map(|s| libm::exp(s.0 - top)).collect();
        let sum: f64 = p.iter().sum();
        let largest = value.iter().fold(0.0f64, |m, v| m.max(f64::from(v.abs())));
        let factor = match ty {
            KvType::Q8_0 => 0.05,
            _ => 2.0 * gamma(dim + 4) * size + gamma(keys + keys.div_ceil(16) + 16),
        };
        for (t, y) in y.iter().enumerate() {
            let exact = p.iter().zip(value.chunks(dim)).map(|(p, v)| p * f64::from(v[t])).sum::<f64>() / sum;
            worst.add(*y, exact, factor, largest, 0.0);
        }
    }
    Ok(worst)
}
