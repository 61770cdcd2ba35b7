//! Finds every tensor of a model by name and checks its shape. Fused tensors become views of their parts.

use super::spec::{
    AttentionSpec, ExpertsSpec, FfnSpec, LatentSpec, LayerSpec, Mixer, ModelSpec, Norm, QkNorm,
};
use super::weights::{
    AttentionWeights, ConvWeights, DenseWeights, DirectWeights, ExpertsWeights, FfnWeights, LatentWeights,
    LayerWeights, Linear, MixerWeights, NormWeights, QkvWeights, Weights,
};
use super::{ModelError, balance};
use crate::gguf::{Gguf, TensorInfo};
use kinglet_kernels::{Format, Matrix};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;

/// Tensors that some converters write and nothing needs.
const IGNORED: &[&str] = &["rope_freqs.weight", "rope_factors_", "attn_rot_embd", "rotary_emb.inv_freq"];

impl<'a> Weights<'a> {
    pub(super) fn new(gguf: &'a Gguf, spec: &ModelSpec) -> Result<Weights<'a>, ModelError> {
        let loader = Loader { gguf, spec, used: RefCell::default() };
        let (vocab, dim) = (spec.vocab_size, spec.dim);
        let embedding = loader.linear("token_embd", vocab, dim)?.weight;
        let output = match gguf.tensor("output.weight") {
            Some(_) => loader.linear("output", vocab, dim)?,
            None => Linear { bias: loader.opt_vector("output.bias", &[vocab])?, ..Linear::plain(embedding) },
        };
        let positions = || loader.linear("position_embd", spec.context_length, dim).map(|l| l.weight);
        let layers = spec.layers.iter().enumerate().map(|(i, l)| loader.layer(i, l));
        let mut weights = Weights {
            embedding,
            positions: spec.learned_positions.then(positions).transpose()?,
            embedding_norm: loader.norm_if(spec.embedding_norm, "token_embd_norm", &[dim])?,
            layers: layers.collect::<Result<_, _>>()?,
            output_norm: loader.norm(spec.output_norm, &[dim])?,
            output,
        };
        loader.check_all_used()?;
        weights.chain();
        Ok(weights)
    }
}

/// The values of a float tensor of `shape` (the contiguous dimension first) as f32, borrowed where they lie whole and aligned.
pub(super) fn f32_values<'a>(
    gguf: &'a Gguf,
    t: &TensorInfo,
    shape: &[usize],
) -> Result<Cow<'a, [f32]>, ModelError> {
    let fail = |what: String| ModelError::new(gguf.file(), format!("tensor `{}` {what}", t.name));
    // Converters may add or drop dimensions of 1.
    let same = t.shape.iter().filter(|d| **d != 1).eq(shape
        .iter()
        .map(|d| *d as u64)
        .filter(|d| *d != 1)
        .collect::<Vec<_>>()
        .iter());
    if !same {
        return Err(fail(format!("has shape {:?} where {shape:?} is expected", t.shape)));
    }
    let data = gguf.data(t);
    let wide = |b: &[u8], f: fn([u8; 2]) -> f32| data_pairs(b).map(f).collect();
    match t.format {
        Some(Format::F32) => Ok(match bytemuck::try_cast_slice(data) {
            Ok(values) => Cow::Borrowed(values),
            Err(_) => Cow::Owned(
                data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            ),
        }),
        Some(Format::F16) => Ok(Cow::Owned(wide(data, |b| half::f16::from_le_bytes(b).to_f32()))),
        Some(Format::BF16) => Ok(Cow::Owned(wide(data, |b| half::bf16::from_le_bytes(b).to_f32()))),
        Some(other) => Err(fail(format!("is {other} where floats are expected"))),
        None => Err(fail(format!("has the unknown type {}", t.ggml_type))),
    }
}

fn data_pairs(bytes: &[u8]) -> impl Iterator<Item = [u8; 2]> + '_ {
    bytes.chunks_exact(2).map(|b| [b[0], b[1]])
}

struct Loader<'a, 's> {
    gguf: &'a Gguf,
    spec: &'s ModelSpec,
    used: RefCell<HashSet<String>>,
}

impl<'a> Loader<'a, '_> {
    fn has(&self, name: &str) -> bool {
        self.gguf.tensor(name).is_some()
    }

    fn find(&self, name: &str) -> Option<&'a TensorInfo> {
        let found = self.gguf.tensor(name)?;
        self.used.borrow_mut().insert(name.to_owned());
        Some(found)
    }

    fn require(&self, name: &str) -> Result<&'a TensorInfo, ModelError> {
        let missing = || ModelError::new(self.gguf.file(), format!("tensor `{name}` is missing"));
        self.find(name).ok_or_else(missing)
    }

    fn vector(&self, name: &str, shape: &[usize]) -> Result<Cow<'a, [f32]>, ModelError> {
        f32_values(self.gguf, self.require(name)?, shape)
    }

    fn opt_vector(&self, name: &str, shape: &[usize]) -> Result<Option<Cow<'a, [f32]>>, ModelError> {
        self.find(name).map(|t| f32_values(self.gguf, t, shape)).transpose()
    }

    /// A tensor of `shape` (the contiguous dimension first) as a matrix of all its rows.
    fn matrix(&self, name: &str, shape: &[usize]) -> Result<Matrix<'a>, ModelError> {
        let t = self.require(name)?;
        let fail = |what: String| ModelError::new(self.gguf.file(), format!("tensor `{name}` {what}"));
        if !t.shape.iter().copied().eq(shape.iter().map(|d| *d as u64)) {
            return Err(fail(format!("has shape {:?} where {shape:?} is expected", t.shape)));
        }
        let format = t.format.ok_or_else(|| fail(format!("has the unknown type {}", t.ggml_type)))?;
        // Cannot overflow: the tensor has been found in the file, and has this shape.
        let rows = shape.iter().skip(1).product();
        Matrix::new(format, self.gguf.data(t), rows, shape[0]).map_err(|e| fail(e.to_string()))
    }

    fn linear(&self, name: &str, rows: usize, cols: usize) -> Result<Linear<'a>, ModelError> {
        let weight = self.matrix(&format!("{name}.weight"), &[cols, rows])?;
        let scale = self.opt_vector(&format!("{name}.scale"), &[1])?.and_then(|s| s.first().copied());
        Ok(Linear {
            scale,
            bias: self.opt_vector(&format!("{name}.bias"), &[rows])?,
            ..Linear::plain(weight)
        })
    }

    /// A norm over `shape[0]` values, with a weight for each of `shape[1]` rows when there is that.
    fn norm(&self, name: &str, shape: &[usize]) -> Result<NormWeights<'a>, ModelError> {
        let (weight, bias) = match self.spec.norm {
            Norm::Plain => (None, None),
            Norm::Rms => (Some(self.vector(&format!("{name}.weight"), shape)?), None),
            Norm::Layer => {
                let weight = self.vector(&format!("{name}.weight"), shape)?;
                (Some(weight), self.opt_vector(&format!("{name}.bias"), &shape[..1])?)
            }
        };
        Ok(NormWeights { width: shape[0], weight, bias })
    }

    fn norm_if(
        &self,
        wanted: bool,
        name: &str,
        shape: &[usize],
    ) -> Result<Option<NormWeights<'a>>, ModelError> {
        wanted.then(|| self.norm(name, shape)).transpose()
    }

    fn layer(&self, i: usize, l: &LayerSpec) -> Result<LayerWeights<'a>, ModelError> {
        let dim = self.spec.dim;
        let blk = format!("blk.{i}.");
        let norm = |part: &str| self.norm(&format!("{blk}{part}"), &[dim]);
        Ok(LayerWeights {
            mixer_norm: l.mixer_norm.map(norm).transpose()?,
            mixer: match &l.mixer {
                Mixer::Attention(a) => MixerWeights::Attention(Box::new(self.attention(&blk, a)?)),
                Mixer::ShortConv(n) => MixerWeights::ShortConv(Box::new(self.short_conv(&blk, *n)?)),
            },
            post_mixer_norm: l.post_norms.then(|| norm("post_attention_norm")).transpose()?,
            ffn_norm: l.ffn_norm.map(norm).transpose()?,
            ffn: match &l.ffn.experts {
                None => FfnWeights::Dense(Box::new(self.dense(&blk, "", &l.ffn, l.ffn.dim)?)),
                Some(e) => FfnWeights::Experts(Box::new(self.experts(&blk, &l.ffn, e)?)),
            },
            post_ffn_norm: l.post_norms.then(|| norm("post_ffw_norm")).transpose()?,
        })
    }

    fn attention(&self, blk: &str, a: &AttentionSpec) -> Result<AttentionWeights<'a>, ModelError> {
        let name = |part: &str| format!("{blk}{part}");
        let width = a.n_heads * a.value_dim;
        let shape = |heads: usize| match a.qk_norm {
            QkNorm::None | QkNorm::PerHead => vec![a.head_dim],
            QkNorm::OwnPerHead => vec![a.head_dim, heads],
            QkNorm::Whole => vec![heads * a.head_dim],
        };
        let normed = a.qk_norm != QkNorm::None;
        let qkv = match a.latent {
            Some(latent) => QkvWeights::Latent(Box::new(self.latent(blk, a, latent)?)),
            None => QkvWeights::Direct(Box::new(self.qkv(blk, a)?)),
        };
        let k_bias = match &qkv {
            // A norm would take the bias away again.
            QkvWeights::Direct(w) if !normed => w.k.bias.as_deref(),
            _ => None,
        };
        let pairs = a.rope.map(|r| (self.spec.ropes[r].style, self.spec.ropes[r].n_rot));
        let k_balance = k_bias.and_then(|bias| balance::of_bias(a, pairs, bias));
        Ok(AttentionWeights {
            qkv,
            k_balance,
            q_norm: self.norm_if(normed, &name("attn_q_norm"), &shape(a.n_heads))?,
            k_norm: self.norm_if(normed, &name("attn_k_norm"), &shape(a.n_kv_heads))?,
            sub_norm: self.norm_if(a.sub_norm, &name("attn_sub_norm"), &[width])?,
            o: self.linear(&name("attn_output"), self.spec.dim, width)?,
        })
    }

    fn qkv(&self, blk: &str, a: &AttentionSpec) -> Result<DirectWeights<'a>, ModelError> {
        let dim = self.spec.dim;
        let (nq, nk) = (a.n_heads * a.head_dim, a.n_kv_heads * a.head_dim);
        let nv = a.n_kv_heads * a.value_dim;
        let fused = format!("{blk}attn_qkv");
        if self.has(&format!("{fused}.weight")) {
            let all = self.linear(&fused, nq + nk + nv, dim)?;
            let (q, k, v) = (0..nq, nq..nq + nk, nq + nk..nq + nk + nv);
            return Ok(DirectWeights { q: all.rows(q), k: all.rows(k), v: all.rows(v) });
        }
        if !self.has(&format!("{blk}attn_q.weight")) {
            let what =
                format!("tensor `{blk}attn_q.weight` is missing, and `{fused}.weight` is not there instead");
            return Err(ModelError::new(self.gguf.file(), what));
        }
        let linear = |part: &str, rows| self.linear(&format!("{blk}{part}"), rows, dim);
        Ok(DirectWeights { q: linear("attn_q", nq)?, k: linear("attn_k", nk)?, v: linear("attn_v", nv)? })
    }

    fn latent(
        &self,
        blk: &str,
        a: &AttentionSpec,
        ranks: LatentSpec,
    ) -> Result<LatentWeights<'a>, ModelError> {
        let linear = |part: &str, rows, cols| self.linear(&format!("{blk}{part}"), rows, cols);
        let norm = |part: &str, n| self.norm(&format!("{blk}{part}"), &[n]);
        let (dim, LatentSpec { q_rank, kv_rank }) = (self.spec.dim, ranks);
        let n_rot = a.head_dim - a.rope_start;
        let kv_a = linear("attn_kv_a_mqa", kv_rank + n_rot, dim)?;
        let q_a = |rank| Ok::<_, ModelError>((linear("attn_q_a", rank, dim)?, norm("attn_q_a_norm", rank)?));
        let q_b = if q_rank.is_some() { "attn_q_b" } else { "attn_q" };
        Ok(LatentWeights {
            q_a: q_rank.map(q_a).transpose()?,
            q_b: linear(q_b, a.n_heads * a.head_dim, q_rank.unwrap_or(dim))?,
            k_rot: kv_a.rows(kv_rank..kv_rank + n_rot),
            kv_a: kv_a.rows(0..kv_rank),
            kv_a_norm: norm("attn_kv_a_norm", kv_rank)?,
            kv_b: linear("attn_kv_b", a.n_heads * (a.rope_start + a.value_dim), kv_rank)?,
        })
    }

    fn short_conv(&self, blk: &str, n: usize) -> Result<ConvWeights<'a>, ModelError> {
        let (dim, name) = (self.spec.dim, |part: &str| format!("{blk}shortconv.{part}"));
        Ok(ConvWeights {
            input: self.linear(&name("in_proj"), 3 * dim, dim)?,
            kernel: self.vector(&name("conv.weight"), &[n, dim])?,
            bias: self.opt_vector(&name("conv.bias"), &[dim])?,
            output: self.linear(&name("out_proj"), dim, dim)?,
        })
    }

    /// A network of `width`, whose tensors end in `suffix`.
    fn dense(
        &self,
        blk: &str,
        suffix: &str,
        f: &FfnSpec,
        width: usize,
    ) -> Result<DenseWeights<'a>, ModelError> {
        let (dim, name) = (self.spec.dim, |part: &str| format!("{blk}{part}{suffix}"));
        let wide = |t: &TensorInfo| t.shape.get(1) == Some(&(2 * width as u64));
        let fused = f.gated
            && !self.has(&format!("{}.weight", name("ffn_gate")))
            && self.gguf.tensor(&format!("{}.weight", name("ffn_up"))).is_some_and(wide);
        let (gate, up) = if fused {
            let both = self.linear(&name("ffn_up"), 2 * width, dim)?;
            (Some(both.rows(0..width)), both.rows(width..2 * width))
        } else {
            // First, because a fused file has no gate, and must not be told that one is missing.
            let up = self.linear(&name("ffn_up"), width, dim)?;
            (f.gated.then(|| self.linear(&name("ffn_gate"), width, dim)).transpose()?, up)
        };
        Ok(DenseWeights {
            gate,
            up,
            sub_norm: self.norm_if(f.sub_norm, &name("ffn_sub_norm"), &[width])?,
            down: self.linear(&name("ffn_down"), dim, width)?,
        })
    }

    fn experts(&self, blk: &str, f: &FfnSpec, e: &ExpertsSpec) -> Result<ExpertsWeights<'a>, ModelError> {
        let (dim, n) = (self.spec.dim, e.n);
        // One tensor holds a matrix of `[rows][cols]` for each expert; the first files had a tensor for each.
        let each = |part: &str| (0..n).any(|i| self.has(&format!("{blk}{part}.{i}.weight")));
        let all = |part: &str, rows: usize, cols: usize| {
            if each(part) {
                return (0..n).map(|i| self.linear(&format!("{blk}{part}.{i}"), rows, cols)).collect();
            }
            let weight = self.matrix(&format!("{blk}{part}_exps.weight"), &[cols, rows, n])?;
            let expert = |i: usize| weight.slice_rows(i * rows..(i + 1) * rows);
            Ok::<Vec<_>, ModelError>((0..n).map(|i| Linear::plain(expert(i))).collect())
        };
        let fused = format!("{blk}ffn_gate_up_exps.weight");
        let gate = format!("{blk}ffn_gate_exps.weight");
        let (gate, up) = if self.has(&fused) {
            let both = all("ffn_gate_up", 2 * f.dim, dim)?;
            both.iter().map(|b| (b.rows(0..f.dim), b.rows(f.dim..2 * f.dim))).unzip()
        } else if self.has(&gate) || each("ffn_gate") {
            (all("ffn_gate", f.dim, dim)?, all("ffn_up", f.dim, dim)?)
        } else {
            let what = format!("tensor `{gate}` is missing, and `{fused}` is not there instead");
            return Err(ModelError::new(self.gguf.file(), what));
        };
        let down = all("ffn_down", dim, f.dim)?;
        let networks = gate.into_iter().zip(up).zip(down);
        let expert = |((gate, up), down)| DenseWeights { gate: Some(gate), up, sub_norm: None, down };
        let shared = |width| {
            let gate = format!("{blk}ffn_gate_inp_shexp");
            // A single output: the file may have it as a vector.
            let t = self.require(&format!("{gate}.weight"))?;
            let shape = if t.shape.len() == 1 { &[dim][..] } else { &[dim, 1] };
            let weight = self.matrix(&format!("{gate}.weight"), shape)?;
            let gate = Linear::plain(weight);
            Ok::<_, ModelError>((self.dense(blk, "_shexp", f, width)?, gate))
        };
        Ok(ExpertsWeights {
            router: self.linear(&format!("{blk}ffn_gate_inp"), e.n, dim)?,
            experts: networks.map(expert).collect(),
            shared: e.shared.map(shared).transpose()?,
        })
    }

    /// A tensor that nothing reads means that the model does something this decoder would leave out.
    fn check_all_used(&self) -> Result<(), ModelError> {
        let used = self.used.borrow();
        let ignored = |name: &str| IGNORED.iter().any(|i| name.contains(i));
        match self.gguf.tensors().iter().find(|t| !used.contains(&t.name) && !ignored(&t.name)) {
            None => Ok(()),
            Some(t) => {
                let what =
                    format!("tensor `{}` is not part of this architecture as kinglet knows it", t.name);
                Err(ModelError::new(self.gguf.file(), what))
            }
        }
    }
}
