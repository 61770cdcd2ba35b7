//! [`Weights`]: every tensor of a model, found by name, checked against the spec, borrowed from the file.

use super::ModelError;
use super::spec::{LayerSpec, ModelSpec, Norm, QkNorm};
use crate::gguf::{Gguf, TensorInfo};
use kinglet_kernels::{Format, Matrix};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;

/// A projection: `y = weight * x + bias`.
#[derive(Debug, Clone)]
pub struct Linear<'a> {
    /// `[outputs][inputs]`.
    pub weight: Matrix<'a>,
    /// `[outputs]`.
    pub bias: Option<Cow<'a, [f32]>>,
}

/// A norm's weight and, for some LayerNorms, its bias.
#[derive(Debug, Clone)]
pub struct NormWeights<'a> {
    /// `[n]`.
    pub weight: Cow<'a, [f32]>,
    /// `[n]`.
    pub bias: Option<Cow<'a, [f32]>>,
}

/// The tensors of one layer. Shapes are `[outputs][inputs]`.
#[derive(Debug, Clone)]
pub struct LayerWeights<'a> {
    /// Before attention, `[dim]`.
    pub attn_norm: NormWeights<'a>,
    /// `[n_heads * head_dim][dim]`.
    pub q: Linear<'a>,
    /// `[n_kv_heads * head_dim][dim]`.
    pub k: Linear<'a>,
    /// `[n_kv_heads * value_dim][dim]`.
    pub v: Linear<'a>,
    /// `[head_dim]`, where [`QkNorm::PerHead`].
    pub q_norm: Option<NormWeights<'a>>,
    /// `[head_dim]`, where [`QkNorm::PerHead`].
    pub k_norm: Option<NormWeights<'a>>,
    /// `[dim][n_heads * value_dim]`.
    pub o: Linear<'a>,
    /// Of what attention adds to the stream, `[dim]`, where `post_norms`.
    pub post_attn_norm: Option<NormWeights<'a>>,
    /// Before the feed-forward network, `[dim]`.
    pub ffn_norm: NormWeights<'a>,
    /// `[ffn_dim][dim]`, where `gated`.
    pub gate: Option<Linear<'a>>,
    /// `[ffn_dim][dim]`.
    pub up: Linear<'a>,
    /// `[dim][ffn_dim]`.
    pub down: Linear<'a>,
    /// Of what the feed-forward network adds to the stream, `[dim]`, where `post_norms`.
    pub post_ffn_norm: Option<NormWeights<'a>>,
}

/// The tensors of a model.
#[derive(Debug, Clone)]
pub struct Weights<'a> {
    /// `[vocab_size][dim]`.
    pub embedding: Matrix<'a>,
    /// The layers, first to last.
    pub layers: Vec<LayerWeights<'a>>,
    /// Before the output, `[dim]`.
    pub output_norm: NormWeights<'a>,
    /// `[vocab_size][dim]`; the embedding, when the file has no output of its own.
    pub output: Linear<'a>,
}

/// Tensors that some converters write and nothing needs.
const IGNORED: &[&str] = &["rope_freqs.weight", "attn_rot_embd", "rotary_emb.inv_freq"];

impl<'a> Weights<'a> {
    pub(super) fn new(gguf: &'a Gguf, spec: &ModelSpec) -> Result<Weights<'a>, ModelError> {
        let loader = Loader { gguf, norm: spec.norm, used: RefCell::default() };
        let (vocab, dim) = (spec.vocab_size, spec.dim);
        let embedding = loader.linear("token_embd", vocab, dim)?.weight;
        let output = match gguf.tensor("output.weight") {
            Some(_) => loader.linear("output", vocab, dim)?,
            None => Linear { weight: embedding, bias: None },
        };
        let layers = spec.layers.iter().enumerate().map(|(i, l)| loader.layer(i, l, dim));
        let layers = layers.collect::<Result<_, _>>()?;
        let weights = Weights { embedding, layers, output_norm: loader.norm("output_norm", dim)?, output };
        loader.check_all_used()?;
        Ok(weights)
    }
}

/// `n` values of a float tensor as f32, borrowed where they lie whole and aligned.
pub(super) fn f32_vector<'a>(gguf: &'a Gguf, t: &TensorInfo, n: usize) -> Result<Cow<'a, [f32]>, ModelError> {
    let fail = |what: String| ModelError::new(gguf.file(), format!("tensor `{}` {what}", t.name));
    if t.shape.iter().product::<u64>() != n as u64 || t.shape[0] != n as u64 {
        return Err(fail(format!("has shape {:?} where [{n}] is expected", t.shape)));
    }
    let data = gguf.data(t);
    match t.format {
        Some(Format::F32) => Ok(match bytemuck::try_cast_slice(data) {
            Ok(values) => Cow::Borrowed(values),
            Err(_) => Cow::Owned(
                data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            ),
        }),
        Some(Format::F16) => Ok(Cow::Owned(
            data.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        )),
        Some(Format::BF16) => Ok(Cow::Owned(
            data.chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        )),
        Some(other) => Err(fail(format!("is {other} where floats are expected"))),
        None => Err(fail(format!("has the unknown type {}", t.ggml_type))),
    }
}

struct Loader<'a> {
    gguf: &'a Gguf,
    norm: Norm,
    used: RefCell<HashSet<String>>,
}

impl<'a> Loader<'a> {
    fn find(&self, name: &str) -> Option<&'a TensorInfo> {
        let found = self.gguf.tensor(name)?;
        self.used.borrow_mut().insert(name.to_owned());
        Some(found)
    }

    fn require(&self, name: &str) -> Result<&'a TensorInfo, ModelError> {
        let missing = || ModelError::new(self.gguf.file(), format!("tensor `{name}` is missing"));
        self.find(name).ok_or_else(missing)
    }

    fn vector(&self, name: &str, n: usize) -> Result<Cow<'a, [f32]>, ModelError> {
        f32_vector(self.gguf, self.require(name)?, n)
    }

    fn opt_vector(&self, name: &str, n: usize) -> Result<Option<Cow<'a, [f32]>>, ModelError> {
        self.find(name).map(|t| f32_vector(self.gguf, t, n)).transpose()
    }

    fn linear(&self, name: &str, rows: usize, cols: usize) -> Result<Linear<'a>, ModelError> {
        let t = self.require(&format!("{name}.weight"))?;
        let fail = |what: String| ModelError::new(self.gguf.file(), format!("tensor `{}` {what}", t.name));
        if t.shape != [cols as u64, rows as u64] {
            return Err(fail(format!("has shape {:?} where [{cols}, {rows}] is expected", t.shape)));
        }
        let format = t.format.ok_or_else(|| fail(format!("has the unknown type {}", t.ggml_type)))?;
        let weight = Matrix::new(format, self.gguf.data(t), rows, cols).map_err(|e| fail(e.to_string()))?;
        Ok(Linear { weight, bias: self.opt_vector(&format!("{name}.bias"), rows)? })
    }

    fn norm(&self, name: &str, n: usize) -> Result<NormWeights<'a>, ModelError> {
        let weight = self.vector(&format!("{name}.weight"), n)?;
        let bias = match self.norm {
            Norm::Rms => None,
            Norm::Layer => self.opt_vector(&format!("{name}.bias"), n)?,
        };
        Ok(NormWeights { weight, bias })
    }

    fn norm_if(&self, wanted: bool, name: &str, n: usize) -> Result<Option<NormWeights<'a>>, ModelError> {
        wanted.then(|| self.norm(name, n)).transpose()
    }

    fn layer(&self, i: usize, l: &LayerSpec, dim: usize) -> Result<LayerWeights<'a>, ModelError> {
        let name = |part: &str| format!("blk.{i}.{part}");
        let linear = |part: &str, rows, cols| self.linear(&name(part), rows, cols);
        let qk_norm = l.qk_norm == QkNorm::PerHead;
        Ok(LayerWeights {
            attn_norm: self.norm(&name("attn_norm"), dim)?,
            q: linear("attn_q", l.n_heads * l.head_dim, dim)?,
            k: linear("attn_k", l.n_kv_heads * l.head_dim, dim)?,
            v: linear("attn_v", l.n_kv_heads * l.value_dim, dim)?,
            q_norm: self.norm_if(qk_norm, &name("attn_q_norm"), l.head_dim)?,
            k_norm: self.norm_if(qk_norm, &name("attn_k_norm"), l.head_dim)?,
            o: linear("attn_output", dim, l.n_heads * l.value_dim)?,
            post_attn_norm: self.norm_if(l.post_norms, &name("post_attention_norm"), dim)?,
            ffn_norm: self.norm(&name("ffn_norm"), dim)?,
            gate: l.gated.then(|| linear("ffn_gate", l.ffn_dim, dim)).transpose()?,
            up: linear("ffn_up", l.ffn_dim, dim)?,
            down: linear("ffn_down", dim, l.ffn_dim)?,
            post_ffn_norm: self.norm_if(l.post_norms, &name("post_ffw_norm"), dim)?,
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
