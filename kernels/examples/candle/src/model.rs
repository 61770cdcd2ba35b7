//! A decoder of the llama family out of candle's operations, generic over its linear layers. `llama` and `qwen2` are all it knows:
//! Llama, SmolLM2, TinyLlama, Qwen2 and Qwen2.5.

use crate::ModelFile;
use candle_core::{Device, IndexOp, Result, Tensor, bail};
use candle_nn::attention::{AttnMask, flash_attn};
use candle_nn::kv_cache::KvCache;
use candle_nn::{ops, rotary_emb};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Positions that a model is prepared for, at most.
const MOST_POSITIONS: usize = 4096;

/// A matrix of a model, `[outputs][inputs]`, with a bias when the file has one.
pub trait Linear: Sized {
    /// What all layers share.
    type Context;

    /// The layer whose tensors begin with `name`.
    ///
    /// # Errors
    /// When the file does not have it, or it cannot be used.
    fn load(context: &Self::Context, file: &ModelFile, name: &str) -> Result<Self>;

    /// The product with `x`, whose last dimension are the inputs.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn forward(&self, x: &Tensor) -> Result<Tensor>;

    /// Rows `ids` as floats: what an embedding is.
    ///
    /// # Errors
    /// When there is no such row.
    fn rows(&self, ids: &Tensor) -> Result<Tensor>;
}

struct Layer<L> {
    attn_norm: Tensor,
    q: L,
    k: L,
    v: L,
    attn_output: L,
    ffn_norm: Tensor,
    gate: L,
    up: L,
    down: L,
    cache: KvCache,
}

/// A model and its context.
pub struct Model<L> {
    embedding: L,
    layers: Vec<Layer<L>>,
    norm: Tensor,
    /// `None`: that of the embedding.
    output: Option<L>,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    eps: f32,
    /// Whether the rotary embedding pairs neighbours (the files of `llama`) or halves.
    interleaved: bool,
    /// `[positions][head_dim / 2]`
    cos: Tensor,
    sin: Tensor,
    vocab: usize,
    products: Cell<Duration>,
}

impl<L: Linear> Model<L> {
    /// Reads the model in `file`.
    ///
    /// # Errors
    /// When it is of another architecture, or has something that this decoder does not know.
    pub fn load(context: &L::Context, file: &ModelFile) -> Result<Model<L>> {
        let arch = match file.get("general.architecture") {
            Some(value) => value.to_string()?.as_str(),
            None => bail!("the file has no key general.architecture"),
        };
        let interleaved = match arch {
            "llama" => true,
            "qwen2" => false,
            _ => bail!("architecture {arch}: this example knows llama and qwen2"),
        };
        let number = |key: &str| file.number(&format!("{arch}.{key}"));
        if number("expert_count").is_ok_and(|n| n > 0) {
            bail!("a mixture of experts: this example knows none");
        }
        if let Some(scaling) = file.get(&format!("{arch}.rope.scaling.type")) {
            bail!("rope scaling {scaling:?}: this example knows none");
        }
        let (hidden, heads) = (number("embedding_length")?, number("attention.head_count")?);
        let kv_heads = number("attention.head_count_kv").unwrap_or(heads);
        let head_dim = number("attention.key_length").unwrap_or(hidden / heads.max(1));
        if heads == 0
            || kv_heads == 0
            || !heads.is_multiple_of(kv_heads)
            || head_dim == 0
            || !head_dim.is_multiple_of(2)
        {
            bail!("{heads} heads of {head_dim}, {kv_heads} for keys and values");
        }
        // Before memory is taken by what the keys say.
        let queries = file.place("blk.0.attn_q.weight")?.shape.0;
        if heads.checked_mul(head_dim) != Some(queries) {
            bail!("{heads} heads of {head_dim}, but blk.0.attn_q.weight has {queries} rows");
        }
        let float = |key: &str| file.get(&format!("{arch}.{key}")).map(|value| value.to_f32()).transpose();
        let Some(eps) = float("attention.layer_norm_rms_epsilon")? else {
            bail!("the file has no key {arch}.attention.layer_norm_rms_epsilon");
        };
        let base = float("rope.freq_base")?.unwrap_or(10_000.0);
        let factors = match file.has("rope_freqs.weight") {
            true => file.floats("rope_freqs.weight")?.to_vec1()?,
            false => vec![1.0; head_dim / 2],
        };
        let positions = number("context_length")?.min(MOST_POSITIONS);
        let (cos, sin) = rotation(positions, head_dim, base, &factors)?;
        let layer = |i: usize| {
            let linear = |name: &str| L::load(context, file, &format!("blk.{i}.{name}"));
            let norm = |name: &str| file.floats(&format!("blk.{i}.{name}.weight"));
            Ok(Layer {
                attn_norm: norm("attn_norm")?,
                q: linear("attn_q")?,
                k: linear("attn_k")?,
                v: linear("attn_v")?,
                attn_output: linear("attn_output")?,
                ffn_norm: norm("ffn_norm")?,
                gate: linear("ffn_gate")?,
                up: linear("ffn_up")?,
                down: linear("ffn_down")?,
                cache: KvCache::new(1, 512),
            })
        };
        let vocab = file.place("token_embd.weight")?.shape.0;
        Ok(Model {
            embedding: L::load(context, file, "token_embd")?,
            layers: (0..number("block_count")?).map(layer).collect::<Result<_>>()?,
            norm: file.floats("output_norm.weight")?,
            output: file.has("output.weight").then(|| L::load(context, file, "output")).transpose()?,
            heads,
            kv_heads,
            head_dim,
            eps,
            interleaved,
            cos,
            sin,
            vocab,
            products: Cell::default(),
        })
    }

    /// Tokens in the vocabulary.
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// Time that products took since this was last asked.
    pub fn take_products(&self) -> Duration {
        self.products.take()
    }

    fn product(&self, layer: &L, x: &Tensor) -> Result<Tensor> {
        let start = Instant::now();
        let y = layer.forward(x);
        self.products.set(self.products.get() + start.elapsed());
        y
    }

    /// Logits after each of `ids`, `[ids][vocab]`, or after the last alone, `[1][vocab]`. The first id is at `position`; what
    /// the context held from there on is forgotten when that is 0, and must be nothing otherwise.
    ///
    /// # Errors
    /// When an id is not in the vocabulary, or a position is beyond the context.
    pub fn logits(&mut self, ids: &[u32], position: usize, all: bool) -> Result<Tensor> {
        let (n, most) = (ids.len(), self.cos.dim(0)?);
        if n == 0 || position + n > most {
            bail!("{n} tokens at {position}: the context has {most} positions");
        }
        if position == 0 {
            self.layers.iter_mut().for_each(|layer| layer.cache.reset());
        }
        let have = self.layers.first().map_or(0, |layer| layer.cache.current_seq_len());
        if have != position {
            bail!("tokens at {position} behind {have}");
        }
        let (cos, sin) = (self.cos.narrow(0, position, n)?, self.sin.narrow(0, position, n)?);
        let mut x = self.embedding.rows(&Tensor::new(ids, &Device::Cpu)?)?;
        for i in 0..self.layers.len() {
            let layer = &self.layers[i];
            let h = ops::rms_norm(&x, &layer.attn_norm, self.eps)?;
            let q = self.rotate(&self.product(&layer.q, &h)?, self.heads, &cos, &sin)?;
            let k = self.rotate(&self.product(&layer.k, &h)?, self.kv_heads, &cos, &sin)?;
            let v = self.product(&layer.v, &h)?.reshape((1, n, self.kv_heads, self.head_dim))?;
            let (k, v) = self.layers[i].cache.append(&k, &v)?;
            let scale = (1.0 / (self.head_dim as f64).sqrt()) as f32;
            let mask = AttnMask::causal_with_offset(position);
            let y = flash_attn::<f32>(&q, &k, &v, scale, mask, None, None)?;
            let y = y.transpose(1, 2)?.contiguous()?.reshape((n, self.heads * self.head_dim))?;
            let layer = &self.layers[i];
            x = (x + self.product(&layer.attn_output, &y)?)?;
            let h = ops::rms_norm(&x, &layer.ffn_norm, self.eps)?;
            let gated = (ops::silu(&self.product(&layer.gate, &h)?)? * self.product(&layer.up, &h)?)?;
            x = (x + self.product(&layer.down, &gated)?)?;
        }
        let x = if all { x } else { x.i(n - 1..)? };
        let x = ops::rms_norm(&x, &self.norm, self.eps)?;
        self.product(self.output.as_ref().unwrap_or(&self.embedding), &x)
    }

    /// `[n][heads * head_dim]`, rotated, as `[1][n][heads][head_dim]`.
    fn rotate(&self, x: &Tensor, heads: usize, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
        let x = x.reshape((1, x.dim(0)?, heads, self.head_dim))?;
        if !self.interleaved {
            return rotary_emb::rope_thd(&x, cos, sin);
        }
        let x = x.transpose(1, 2)?.contiguous()?;
        rotary_emb::rope_i(&x, cos, sin)?.transpose(1, 2)?.contiguous()
    }
}

/// Cosines and sines of every position and pair.
fn rotation(positions: usize, head_dim: usize, base: f32, factors: &[f32]) -> Result<(Tensor, Tensor)> {
    let half = head_dim / 2;
    if factors.len() != half {
        bail!("{} rotary factors for {half} pairs", factors.len());
    }
    let angles: Vec<f64> = (0..positions * half)
        .map(|i| {
            let (position, pair) = ((i / half) as f64, i % half);
            let frequency = libm::pow(f64::from(base), -2.0 * pair as f64 / head_dim as f64);
            position * frequency / f64::from(factors[pair])
        })
        .collect();
    let table = |f: fn(f64) -> f64| {
        let values: Vec<f32> = angles.iter().map(|a| f(*a) as f32).collect();
        Tensor::from_vec(values, (positions, half), &Device::Cpu)
    };
    Ok((table(libm::cos)?, table(libm::sin)?))
}
