//! [`Weights`]: every tensor of a model, checked against the spec, borrowed from the file ([`super::loader`] finds them).

use kinglet_kernels::Matrix;
use std::borrow::Cow;
use std::ops::Range;

/// A projection: `y = (weight * x) * scale + bias`.
#[derive(Debug, Clone)]
pub struct Linear<'a> {
    /// `[outputs][inputs]`.
    pub weight: Matrix<'a>,
    /// Some BitNet files keep the scale of ternary weights apart.
    pub scale: Option<f32>,
    /// `[outputs]`.
    pub bias: Option<Cow<'a, [f32]>>,
    /// The matrix that a token needs after this one, where it is known.
    pub next: Option<Matrix<'a>>,
}

impl<'a> Linear<'a> {
    /// A projection without scale and bias.
    pub(super) fn plain(weight: Matrix<'a>) -> Linear<'a> {
        Linear { weight, scale: None, bias: None, next: None }
    }

    /// Some of the outputs, in place.
    pub(super) fn rows(&self, range: Range<usize>) -> Linear<'a> {
        let bias = self.bias.as_ref().map(|bias| match bias {
            Cow::Borrowed(b) => Cow::Borrowed(&b[range.clone()]),
            Cow::Owned(b) => Cow::Owned(b[range.clone()].to_vec()),
        });
        Linear { weight: self.weight.slice_rows(range), bias, ..*self }
    }
}

/// A norm over rows of `width` values.
#[derive(Debug, Clone)]
pub struct NormWeights<'a> {
    /// Values that are normed together.
    pub width: usize,
    /// `[width]`, or `[rows][width]` when each of some consecutive rows has a weight of its own.
    pub weight: Option<Cow<'a, [f32]>>,
    /// `[width]`, for some LayerNorms.
    pub bias: Option<Cow<'a, [f32]>>,
}

/// The tensors of one layer. Shapes are `[outputs][inputs]`.
#[derive(Debug, Clone)]
pub struct LayerWeights<'a> {
    /// Before the mixer, `[dim]`.
    pub mixer_norm: Option<NormWeights<'a>>,
    /// Attention or convolution.
    pub mixer: MixerWeights<'a>,
    /// Of what the mixer adds to the stream, `[dim]`, where `post_norms`.
    pub post_mixer_norm: Option<NormWeights<'a>>,
    /// Before the feed-forward network, `[dim]`.
    pub ffn_norm: Option<NormWeights<'a>>,
    /// The feed-forward network.
    pub ffn: FfnWeights<'a>,
    /// Of what the feed-forward network adds to the stream, `[dim]`, where `post_norms`.
    pub post_ffn_norm: Option<NormWeights<'a>>,
}

/// The tensors of a mixer.
#[derive(Debug, Clone)]
pub enum MixerWeights<'a> {
    /// Attention.
    Attention(Box<AttentionWeights<'a>>),
    /// Short convolution.
    ShortConv(Box<ConvWeights<'a>>),
}

/// The tensors of attention.
#[derive(Debug, Clone)]
pub struct AttentionWeights<'a> {
    /// How queries, keys and values are made.
    pub qkv: QkvWeights<'a>,
    /// `[head_dim]`, `[n_heads][head_dim]` or `[n_heads * head_dim]`: see [`super::spec::QkNorm`].
    pub q_norm: Option<NormWeights<'a>>,
    /// The same for the key heads.
    pub k_norm: Option<NormWeights<'a>>,
    /// `[n_heads * value_dim]`, where `sub_norm`.
    pub sub_norm: Option<NormWeights<'a>>,
    /// `[dim][n_heads * value_dim]`.
    pub o: Linear<'a>,
    /// Powers of two, `[n_kv_heads * head_dim]`: with a q8_0 cache keys are divided by them, and queries multiplied.
    pub k_balance: Option<Vec<f32>>,
}

/// How queries, keys and values are made.
#[derive(Debug, Clone)]
pub enum QkvWeights<'a> {
    /// From the layer's input.
    Direct(Box<DirectWeights<'a>>),
    /// From latent vectors (MLA).
    Latent(Box<LatentWeights<'a>>),
}

/// Projections of the layer's input; parts of one matrix, where the file fuses them.
#[derive(Debug, Clone)]
pub struct DirectWeights<'a> {
    /// `[n_heads * head_dim][dim]`.
    pub q: Linear<'a>,
    /// `[n_kv_heads * head_dim][dim]`.
    pub k: Linear<'a>,
    /// `[n_kv_heads * value_dim][dim]`.
    pub v: Linear<'a>,
}

/// The tensors of multi-head latent attention, whose heads have `n_rot` rotated values after the others.
#[derive(Debug, Clone)]
pub struct LatentWeights<'a> {
    /// `[q_rank][dim]` and the norm of what it gives, where queries have a latent vector.
    pub q_a: Option<(Linear<'a>, NormWeights<'a>)>,
    /// `[n_heads * head_dim][q_rank]`; without a latent vector `[n_heads * head_dim][dim]`.
    pub q_b: Linear<'a>,
    /// `[kv_rank][dim]`.
    pub kv_a: Linear<'a>,
    /// `[kv_rank]`.
    pub kv_a_norm: NormWeights<'a>,
    /// The rotated end of every key, `[n_rot][dim]`.
    pub k_rot: Linear<'a>,
    /// Each head's key without its rotated end, then its value: `[n_heads * (head_dim - n_rot + value_dim)][kv_rank]`.
    pub kv_b: Linear<'a>,
}

/// The tensors of a short convolution.
#[derive(Debug, Clone)]
pub struct ConvWeights<'a> {
    /// Gate of the input, gate of the output, input: `[3 * dim][dim]`.
    pub input: Linear<'a>,
    /// `[dim][kernel]`, the oldest position first.
    pub kernel: Cow<'a, [f32]>,
    /// `[dim]`.
    pub bias: Option<Cow<'a, [f32]>>,
    /// `[dim][dim]`.
    pub output: Linear<'a>,
}

/// The tensors of a feed-forward network.
#[derive(Debug, Clone)]
pub enum FfnWeights<'a> {
    /// One network.
    Dense(Box<DenseWeights<'a>>),
    /// Many.
    Experts(Box<ExpertsWeights<'a>>),
}

/// The tensors of one network.
#[derive(Debug, Clone)]
pub struct DenseWeights<'a> {
    /// `[ffn_dim][dim]`, where `gated`.
    pub gate: Option<Linear<'a>>,
    /// `[ffn_dim][dim]`.
    pub up: Linear<'a>,
    /// `[ffn_dim]`, where `sub_norm`.
    pub sub_norm: Option<NormWeights<'a>>,
    /// `[dim][ffn_dim]`.
    pub down: Linear<'a>,
}

impl<'a> DenseWeights<'a> {
    /// The weights that read the network's input.
    pub fn readers(&self) -> Vec<&Linear<'a>> {
        self.gate.iter().chain([&self.up]).collect()
    }
}

/// The tensors of a mixture of experts.
#[derive(Debug, Clone)]
pub struct ExpertsWeights<'a> {
    /// `[n][dim]`.
    pub router: Linear<'a>,
    /// The experts.
    pub experts: Vec<DenseWeights<'a>>,
    /// The network that every token uses, and its gate `[1][dim]`.
    pub shared: Option<(DenseWeights<'a>, Linear<'a>)>,
}

/// The tensors of a model.
#[derive(Debug, Clone)]
pub struct Weights<'a> {
    /// `[vocab_size][dim]`.
    pub embedding: Matrix<'a>,
    /// `[context_length][dim]`, where `learned_positions`.
    pub positions: Option<Matrix<'a>>,
    /// `[dim]`, where `embedding_norm`.
    pub embedding_norm: Option<NormWeights<'a>>,
    /// The layers, first to last.
    pub layers: Vec<LayerWeights<'a>>,
    /// Before the output, `[dim]`.
    pub output_norm: NormWeights<'a>,
    /// `[vocab_size][dim]`; the embedding, when the file has no output of its own.
    pub output: Linear<'a>,
}

impl Weights<'_> {
    /// Tells each matrix which one a token needs after it.
    pub(super) fn chain(&mut self) {
        // `None` where what follows is chosen for each token.
        let mut order: Vec<Option<&mut Linear<'_>>> = Vec::new();
        for layer in &mut self.layers {
            match &mut layer.mixer {
                MixerWeights::Attention(w) => {
                    match &mut w.qkv {
                        QkvWeights::Direct(w) => order.extend([&mut w.q, &mut w.k, &mut w.v].map(Some)),
                        QkvWeights::Latent(w) => {
                            order.extend(w.q_a.as_mut().map(|(q_a, _)| Some(q_a)));
                            order.extend([&mut w.q_b, &mut w.kv_a, &mut w.k_rot, &mut w.kv_b].map(Some));
                        }
                    }
                    order.push(Some(&mut w.o));
                }
                MixerWeights::ShortConv(w) => order.extend([&mut w.input, &mut w.output].map(Some)),
            }
            match &mut layer.ffn {
                FfnWeights::Dense(w) => {
                    order.extend(w.gate.as_mut().map(Some));
                    order.extend([&mut w.up, &mut w.down].map(Some));
                }
                FfnWeights::Experts(_) => order.push(None),
            }
        }
        order.push(Some(&mut self.output));
        let mut next = order.first().and_then(|first| first.as_ref()).map(|first| first.weight);
        for linear in order.into_iter().rev() {
            let Some(linear) = linear else {
                next = None;
                continue;
            };
            linear.next = next.replace(linear.weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Gguf;
    use crate::model::Model;
    use std::path::Path;

    /// The attention of `layer`, and its projections of the stream.
    fn attention<'a, 'b>(layer: &'b LayerWeights<'a>) -> (&'b DirectWeights<'a>, &'b Linear<'a>) {
        let MixerWeights::Attention(attention) = &layer.mixer else { panic!("{:?}", layer.mixer) };
        let QkvWeights::Direct(qkv) = &attention.qkv else { panic!("{:?}", attention.qkv) };
        (qkv, &attention.o)
    }

    fn with_weights(name: &str, check: impl Fn(&Weights<'_>)) {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../reference/fixtures/{name}/model.gguf"));
        check(&Model::new(&Gguf::open(&path).unwrap()).unwrap().weights);
    }

    /// Where a matrix begins, which tells tensors and their parts apart.
    fn start(w: Option<&Matrix<'_>>) -> Option<*const u8> {
        w.map(|w| w.data().as_ptr())
    }

    #[test]
    fn each_matrix_knows_the_one_that_a_token_needs_next() {
        with_weights("llama-tinyllama", |w| {
            let mut order = Vec::new();
            for layer in &w.layers {
                let (qkv, o) = attention(layer);
                let FfnWeights::Dense(ffn) = &layer.ffn else { panic!("{:?}", layer.ffn) };
                order.extend([&qkv.q, &qkv.k, &qkv.v, o, ffn.gate.as_ref().unwrap(), &ffn.up, &ffn.down]);
            }
            order.push(&w.output);
            assert!(w.layers.len() > 1);
            for (i, linear) in order.iter().enumerate() {
                let next = &order[(i + 1) % order.len()].weight;
                assert_eq!(start(linear.next.as_ref()), start(Some(next)), "projection {i}");
            }
        });
    }

    #[test]
    fn what_experts_need_is_not_known_beforehand() {
        with_weights("tiny-llama-moe", |w| {
            for (i, layer) in w.layers.iter().enumerate() {
                let (qkv, o) = attention(layer);
                assert_eq!(start(qkv.v.next.as_ref()), start(Some(&o.weight)), "layer {i}");
                assert_eq!(start(o.next.as_ref()), None, "layer {i}");
            }
            let first = &attention(&w.layers[0]).0.q.weight;
            assert_eq!(start(w.output.next.as_ref()), start(Some(first)));
        });
    }
}
