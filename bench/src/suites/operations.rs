//! Operations between the products: norms, rotary embedding, activation, softmax, quantization, the cache, attention.

use super::file::ModelSize;
use super::layer;
use crate::checksum::Checksum;
use crate::record::Work;
use crate::suite::Run;
use kinglet_kernels::{
    Activation, AttentionParams, Error, KV_PAGE, Kernels, KvLayout, KvType, Partial, PartialRef, QueryRow,
    Tier,
};

/// Names of operations.
pub const PARTS: [&str; 11] = [
    "rms_norm",
    "layer_norm",
    "rope_half_split",
    "rope_interleaved",
    "silu_mul",
    "gelu_mul",
    "softmax",
    "quantize",
    "store_kv",
    "attention",
    "layer",
];

/// `decode<depth>`: one token behind that many; `prefill<n>`: n tokens from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// Tokens at once.
    pub tokens: usize,
    /// Tokens before them.
    pub depth: usize,
}

impl std::str::FromStr for Op {
    type Err = String;
    fn from_str(s: &str) -> Result<Op, String> {
        let number = |n: &str| n.parse::<usize>().ok().filter(|n| *n <= 32_768);
        let op = match (s.strip_prefix("decode"), s.strip_prefix("prefill")) {
            (Some(""), _) => Some(Op { tokens: 1, depth: 0 }),
            (Some(depth), _) => number(depth).map(|depth| Op { tokens: 1, depth }),
            (_, Some(n)) => number(n).filter(|n| *n > 0).map(|tokens| Op { tokens, depth: 0 }),
            _ => None,
        };
        op.ok_or_else(|| format!("no operation `{s}`; there are decode, decode<depth> and prefill<tokens>"))
    }
}

/// The cache type with this name.
///
/// # Errors
/// When there is none.
pub fn kv_type(name: &str) -> Result<KvType, String> {
    match name {
        "f32" => Ok(KvType::F32),
        "f16" => Ok(KvType::F16),
        "q8_0" => Ok(KvType::Q8_0),
        other => Err(format!("no cache type `{other}`; there are f32, f16 and q8_0")),
    }
}

/// What one iteration of an operation does.
pub fn work(size: ModelSize, part: &str, kind: &str, op: Op) -> Work {
    let tokens = op.tokens as u64;
    if part == "layer" {
        return layer::work(size, kind, op);
    }
    if part != "attention" {
        return Work { tokens, ..Work::default() };
    }
    // Every query sees the keys up to its own.
    let seen = tokens * op.depth as u64 + tokens * (tokens + 1) / 2;
    let multiply_adds = 2 * (size.n_heads * size.head_dim) as u64 * seen;
    let per_position = match kind {
        "f32" => 8.0,
        "f16" => 4.0,
        _ => 2.125,
    } * (size.n_kv_heads * size.head_dim) as f64;
    Work { bytes: (per_position * (op.depth + op.tokens) as f64) as u64, multiply_adds, tokens }
}

/// Makes an operation ready.
///
/// # Errors
/// When the tier cannot run here or there is no such operation.
pub fn prepare(tier: Tier, size: ModelSize, part: &str, kind: &str, op: Op) -> Result<Box<dyn Run>, String> {
    let kernels = Kernels::with_tier(tier).map_err(|e| e.to_string())?;
    match part {
        "layer" => Ok(Box::new(layer::Layer::new(kernels, size, kind, op)?)),
        "attention" => Ok(Box::new(Attention::new(kernels, size, kv_type(kind)?, op)?)),
        "store_kv" => {
            let layout = layout(size, kv_type(kind)?);
            let (keys, values) = (vec![0; layout.key_page_bytes()], vec![0; layout.value_page_bytes()]);
            let k = values_of(size.head_dim);
            Ok(Box::new(StoreKv { kernels, layout, keys, values, k, slot: 0 }))
        }
        part => Rows::new(kernels, size, part, op).map(|r| Box::new(r) as Box<dyn Run>),
    }
}

/// Values in about [-1, 1) that any machine makes alike.
pub fn values_of(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919) % 257) as f32 / 128.0 - 1.0).collect()
}

fn layout(size: ModelSize, ty: KvType) -> KvLayout {
    KvLayout { ty, head_dim: size.head_dim, value_dim: size.head_dim }
}

/// Operations on rows of activations.
struct Rows {
    kernels: Kernels,
    part: String,
    width: usize,
    /// What every iteration begins with.
    x: Vec<f32>,
    /// Weights, or the second operand.
    w: Vec<f32>,
    b: Vec<f32>,
    y: Vec<f32>,
    q: Vec<i8>,
    d: Vec<f32>,
    sums: Vec<i16>,
}

impl Rows {
    fn new(kernels: Kernels, size: ModelSize, part: &str, op: Op) -> Result<Rows, String> {
        let (width, rows) = match part {
            "rms_norm" | "layer_norm" | "quantize" => (size.dim, op.tokens),
            "rope_half_split" | "rope_interleaved" => (size.head_dim, size.n_heads * op.tokens),
            "silu_mul" | "gelu_mul" => (size.ffn_dim, op.tokens),
            // One row of scores.
            "softmax" => (KV_PAGE, op.tokens),
            other => return Err(format!("no operation `{other}`; there are {}", PARTS.join(", "))),
        };
        let len = width * rows;
        let (x, y) = (values_of(len), vec![0.0; len]);
        let (w, b) = match part {
            "silu_mul" | "gelu_mul" => (values_of(len), Vec::new()),
            "rope_half_split" | "rope_interleaved" => {
                let angle = |i: usize| 1.0 + i as f64;
                let cos = (0..width / 2).map(|i| libm::cos(angle(i)) as f32).collect();
                (cos, (0..width / 2).map(|i| libm::sin(angle(i)) as f32).collect())
            }
            _ => (values_of(width), values_of(width)),
        };
        let (q, d, sums) = (vec![0; len], vec![0.0; len / 32], vec![0; len / 16]);
        Ok(Rows { kernels, part: part.to_owned(), width, x, w, b, y, q, d, sums })
    }

    fn once(&mut self) -> Result<(), Error> {
        let (k, width) = (&self.kernels, self.width);
        if self.part == "quantize" {
            return k.quantize(&self.x, &mut self.q, &mut self.d, &mut self.sums);
        }
        let norm = self.part.ends_with("_norm");
        if !norm {
            // These work in place; the copy is part of each iteration, and small.
            self.y.copy_from_slice(&self.x);
        }
        let other =
            self.w.chunks(if self.w.len() < self.y.len() { self.w.len().max(1) } else { width }).cycle();
        for ((x, y), other) in self.x.chunks(width).zip(self.y.chunks_mut(width)).zip(other) {
            match self.part.as_str() {
                "rms_norm" => k.rms_norm(x, Some(&self.w), 1e-5, y)?,
                "layer_norm" => k.layer_norm(x, Some(&self.w), Some(&self.b), 1e-5, y)?,
                "rope_half_split" => k.rope_half_split(y, &self.w, &self.b)?,
                "rope_interleaved" => k.rope_interleaved(y, &self.w, &self.b)?,
                "silu_mul" => k.activate_mul(Activation::Silu, y, other)?,
                "gelu_mul" => k.activate_mul(Activation::GeluTanh, y, other)?,
                _ => k.softmax(y)?,
            }
        }
        Ok(())
    }
}

impl Run for Rows {
    fn run(&mut self, iterations: u64) -> Result<Option<f64>, String> {
        for _ in 0..iterations {
            self.once().map_err(|e| e.to_string())?;
            std::hint::black_box((&mut self.y, &mut self.q));
        }
        Ok(None)
    }

    fn checksum(&mut self) -> Result<String, String> {
        self.y.fill(f32::NAN);
        self.once().map_err(|e| e.to_string())?;
        if self.part != "quantize" {
            return Ok(Checksum::of(&self.y));
        }
        let mut sum = Checksum::default();
        self.q.iter().for_each(|q| sum.bytes(&q.to_le_bytes()));
        sum.floats(&self.d);
        self.sums.iter().for_each(|s| sum.bytes(&s.to_le_bytes()));
        Ok(sum.finish())
    }
}

/// Stores a key and a value into one slot of a page after the other.
struct StoreKv {
    kernels: Kernels,
    layout: KvLayout,
    keys: Vec<u8>,
    values: Vec<u8>,
    k: Vec<f32>,
    slot: usize,
}

impl Run for StoreKv {
    fn run(&mut self, iterations: u64) -> Result<Option<f64>, String> {
        for _ in 0..iterations {
            let stored = self.kernels.store_kv(
                self.layout,
                &mut self.keys,
                &mut self.values,
                self.slot,
                &self.k,
                &self.k,
            );
            stored.map_err(|e| e.to_string())?;
            self.slot = (self.slot + 1) % KV_PAGE;
        }
        Ok(None)
    }

    fn checksum(&mut self) -> Result<String, String> {
        self.keys.fill(0);
        self.values.fill(0);
        self.slot = 3;
        self.run(1)?;
        let mut sum = Checksum::default();
        sum.bytes(&self.keys);
        sum.bytes(&self.values);
        Ok(sum.finish())
    }
}

/// All heads of one layer over a filled cache, on one thread.
struct Attention {
    kernels: Kernels,
    layout: KvLayout,
    params: AttentionParams,
    /// Queries that share a KV head.
    rows: Vec<QueryRow>,
    q: Vec<f32>,
    pages: Vec<(Vec<u8>, Vec<u8>)>,
    n_kv_heads: usize,
    acc: [Vec<f32>; 3],
    part: [Vec<f32>; 3],
    out: Vec<f32>,
    scratch: Vec<u8>,
}

impl Attention {
    fn new(kernels: Kernels, size: ModelSize, ty: KvType, op: Op) -> Result<Attention, String> {
        let layout = layout(size, ty);
        let keys = op.depth + op.tokens;
        let mut pages = vec![
            (vec![0; layout.key_page_bytes()], vec![0; layout.value_page_bytes()]);
            keys.div_ceil(KV_PAGE)
        ];
        let all = values_of(keys * size.head_dim);
        for (j, k) in all.chunks(size.head_dim).enumerate() {
            let (keys, values) = &mut pages[j / KV_PAGE];
            kernels.store_kv(layout, keys, values, j % KV_PAGE, k, k).map_err(|e| e.to_string())?;
        }
        let group = size.n_heads / size.n_kv_heads.max(1);
        let row = |position| QueryRow { position, visible: 0..position + 1, slope: 0.0 };
        let rows: Vec<QueryRow> = (op.depth..keys).flat_map(|p| std::iter::repeat_n(row(p), group)).collect();
        let (n, dim) = (rows.len(), layout.output_dim());
        let room = || [vec![0.0; n], vec![0.0; n], vec![0.0; n * dim]];
        let scratch = vec![0; kernels.attention_scratch(layout, n)];
        let params = AttentionParams { scale: 1.0 / (size.head_dim as f32).sqrt(), softcap: None };
        let (q, out) = (values_of(n * size.head_dim), vec![0.0; n * size.head_dim]);
        let n_kv_heads = size.n_kv_heads;
        Ok(Attention {
            kernels,
            layout,
            params,
            rows,
            q,
            pages,
            n_kv_heads,
            acc: room(),
            part: room(),
            out,
            scratch,
        })
    }

    fn once(&mut self) -> Result<(), Error> {
        for _ in 0..self.n_kv_heads {
            let [m, l, o] = &mut self.acc;
            m.fill(f32::NEG_INFINITY);
            l.fill(0.0);
            o.fill(0.0);
            for (i, (keys, values)) in self.pages.iter().enumerate() {
                let [pm, pl, po] = &mut self.part;
                let out = Partial { m: pm, l: pl, o: po };
                let (k, scratch) = (&self.kernels, &mut self.scratch);
                k.attention_page(
                    self.layout,
                    self.params,
                    &self.q,
                    &self.rows,
                    i,
                    keys,
                    values,
                    out,
                    scratch,
                )?;
                let part = PartialRef { m: pm, l: pl, o: po };
                k.attention_fold(Partial { m, l, o }, &part)?;
            }
            self.kernels.attention_finish(self.layout, PartialRef { m, l, o }, &mut self.out)?;
        }
        Ok(())
    }
}

impl Run for Attention {
    fn run(&mut self, iterations: u64) -> Result<Option<f64>, String> {
        for _ in 0..iterations {
            self.once().map_err(|e| e.to_string())?;
            std::hint::black_box(&mut self.out);
        }
        Ok(None)
    }

    fn checksum(&mut self) -> Result<String, String> {
        self.out.fill(f32::NAN);
        self.once().map_err(|e| e.to_string())?;
        Ok(Checksum::of(&self.out))
    }
}
