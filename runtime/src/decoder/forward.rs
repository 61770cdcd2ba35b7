//! The forward pass of a batch of tokens, top to bottom.

use super::attention::{Heads, attend};
use super::cache::Cache;
use super::ops::{Ops, Quantized};
use super::rope::RopeTable;
use crate::model::spec::{LayerSpec, RopeStyle};
use crate::model::{LayerWeights, Model};
use crate::trace::{self, Work};

/// Rows of activations of a batch of `n` tokens.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// The residual stream, `[n][dim]`.
    pub(super) x: Vec<f32>,
    /// A norm of it, or what is about to be added to it, `[n][dim]`.
    h: Vec<f32>,
    /// Queries `[n][n_heads * head_dim]`.
    q: Vec<f32>,
    /// Keys `[n][n_kv_heads * head_dim]`.
    k: Vec<f32>,
    /// Values `[n][n_kv_heads * value_dim]`.
    v: Vec<f32>,
    /// What attention returns, `[n][n_heads * value_dim]`.
    att: Vec<f32>,
    /// Feed-forward network, `[n][ffn_dim]` each.
    gate: Vec<f32>,
    up: Vec<f32>,
    quantized: Quantized,
    /// One table for each rotary embedding of the model.
    pub(super) ropes: Vec<RopeTable>,
}

impl Buffers {
    /// Empty buffers, with a table for each of `n_ropes` rotary embeddings.
    pub(super) fn new(n_ropes: usize) -> Buffers {
        Buffers { ropes: vec![RopeTable::default(); n_ropes], ..Buffers::default() }
    }
}

/// Embeds `tokens`, whose ids have been checked, into `b.x`.
pub(super) fn embed(ops: &Ops<'_>, model: &Model<'_>, tokens: &[u32], b: &mut Buffers) {
    let _op = trace::op(|| Work::light("embed", tokens.len()));
    let (dim, scale) = (model.spec.dim, model.spec.embedding_scale);
    b.x.resize(tokens.len() * dim, 0.0);
    let parts = b.x.chunks_mut(dim).zip(tokens).collect();
    ops.crew.for_each_owned(parts, |_, (x, token)| {
        ops.note(ops.kernels.dequantize_row(&model.weights.embedding, *token as usize, x));
        if scale != 1.0 {
            ops.note(ops.kernels.scale(x, scale));
        }
    });
}

/// All layers over the tokens in `b.x`, the first of which is at `position`.
pub(super) fn layers(ops: &Ops<'_>, model: &Model<'_>, b: &mut Buffers, cache: &mut Cache, position: usize) {
    let layers = model.spec.layers.iter().zip(&model.weights.layers);
    for ((layer, w), cache) in layers.zip(&mut cache.layers) {
        attention_half(ops, model, layer, w, b, Heads { cache, position });
        ffn_half(ops, model, layer, w, b);
    }
}

/// `x += post_norm(wo · attention(norm(x)))`
fn attention_half(
    ops: &Ops<'_>,
    model: &Model<'_>,
    layer: &LayerSpec,
    w: &LayerWeights<'_>,
    b: &mut Buffers,
    mut heads: Heads<'_>,
) {
    let (spec, n) = (&model.spec, b.x.len() / model.spec.dim);
    b.h.resize(b.x.len(), 0.0);
    b.q.resize(n * layer.n_heads * layer.head_dim, 0.0);
    b.k.resize(n * layer.n_kv_heads * layer.head_dim, 0.0);
    b.v.resize(n * layer.n_kv_heads * layer.value_dim, 0.0);
    b.att.resize(n * layer.n_heads * layer.value_dim, 0.0);

    ops.norm(spec, &w.attn_norm, &b.x, &mut b.h);
    let input = ops.input(&b.h, spec.dim, &[&w.q, &w.k, &w.v], &mut b.quantized);
    ops.linear(&mut [(&w.q, &mut b.q), (&w.k, &mut b.k), (&w.v, &mut b.v)], input);

    let rope = layer.rope.map(|r| (spec.ropes[r].style, &b.ropes[r]));
    ops.token_tiles("qk_norm+rope", n, &mut b.q, &mut b.k, |first, q, k| {
        for (x, norm, heads) in [(q, &w.q_norm, layer.n_heads), (k, &w.k_norm, layer.n_kv_heads)] {
            if let Some(norm) = norm {
                ops.norm_in_place(spec, norm, x);
            }
            let Some((style, table)) = rope else { continue };
            for (i, head) in x.chunks_mut(layer.head_dim).enumerate() {
                let (cos, sin) = table.at(first + i / heads);
                ops.note(match style {
                    RopeStyle::Interleaved => ops.kernels.rope_interleaved(head, cos, sin),
                    RopeStyle::HalfSplit => ops.kernels.rope_half_split(head, cos, sin),
                });
            }
        }
    });

    heads.store(ops, layer, &b.k, &b.v);
    attend(ops, layer, &heads, &b.q, &mut b.att);

    let input = ops.input(&b.att, layer.n_heads * layer.value_dim, &[&w.o], &mut b.quantized);
    ops.linear(&mut [(&w.o, &mut b.h)], input);
    add_to_stream(ops, model, layer, w.post_attn_norm.as_ref(), b);
}

/// `x += post_norm(down · (act(gate · norm(x)) * (up · norm(x))))`, or `down · act(up · norm(x))` without a gate.
fn ffn_half(ops: &Ops<'_>, model: &Model<'_>, layer: &LayerSpec, w: &LayerWeights<'_>, b: &mut Buffers) {
    let (spec, n) = (&model.spec, b.x.len() / model.spec.dim);
    b.up.resize(n * layer.ffn_dim, 0.0);
    ops.norm(spec, &w.ffn_norm, &b.x, &mut b.h);
    match &w.gate {
        Some(gate) => {
            b.gate.resize(n * layer.ffn_dim, 0.0);
            let input = ops.input(&b.h, spec.dim, &[gate, &w.up], &mut b.quantized);
            ops.linear(&mut [(gate, &mut b.gate), (&w.up, &mut b.up)], input);
            ops.token_tiles("activation_mul", n, &mut b.up, &mut b.gate, |_, up, gate| {
                ops.note(ops.kernels.activate_mul(layer.activation, gate, up));
            });
        }
        None => {
            b.gate.resize(n * layer.ffn_dim, 0.0);
            let input = ops.input(&b.h, spec.dim, &[&w.up], &mut b.quantized);
            ops.linear(&mut [(&w.up, &mut b.gate)], input);
            ops.token_tiles("activation", n, &mut b.up, &mut b.gate, |_, _, x| {
                ops.note(ops.kernels.activate(layer.activation, x));
            });
        }
    }
    let input = ops.input(&b.gate, layer.ffn_dim, &[&w.down], &mut b.quantized);
    ops.linear(&mut [(&w.down, &mut b.h)], input);
    add_to_stream(ops, model, layer, w.post_ffn_norm.as_ref(), b);
}

/// `x += norm(h) * residual_scale`
fn add_to_stream(
    ops: &Ops<'_>,
    model: &Model<'_>,
    layer: &LayerSpec,
    norm: Option<&crate::model::NormWeights<'_>>,
    b: &mut Buffers,
) {
    let n = b.x.len() / model.spec.dim;
    ops.token_tiles("add_residual", n, &mut b.x, &mut b.h, |_, x, h| {
        if let Some(norm) = norm {
            ops.norm_in_place(&model.spec, norm, h);
        }
        ops.note(match layer.residual_scale {
            1.0 => ops.kernels.add(x, h),
            scale => ops.kernels.add_scaled(x, h, scale),
        });
    });
}

/// Logits `[rows][vocab_size]` of the tokens `rows` of the batch.
pub(super) fn logits(
    ops: &Ops<'_>,
    model: &Model<'_>,
    b: &mut Buffers,
    rows: std::ops::Range<usize>,
    out: &mut Vec<f32>,
) {
    let spec = &model.spec;
    out.resize(rows.len() * spec.vocab_size, 0.0);
    let x = &b.x[rows.start * spec.dim..rows.end * spec.dim];
    b.h.resize(x.len().max(b.h.len()), 0.0);
    let h = &mut b.h[..x.len()];
    ops.norm(spec, &model.weights.output_norm, x, h);
    let input = ops.input(h, spec.dim, &[&model.weights.output], &mut b.quantized);
    ops.linear(&mut [(&model.weights.output, out)], input);
    if spec.logit_scale == 1.0 && spec.logit_softcap.is_none() {
        return;
    }
    ops.crew.for_each_owned(out.chunks_mut(4096).collect(), |_, x| {
        if spec.logit_scale != 1.0 {
            ops.note(ops.kernels.scale(x, spec.logit_scale));
        }
        if let Some(cap) = spec.logit_softcap {
            ops.note(ops.kernels.softcap(x, cap));
        }
    });
}
