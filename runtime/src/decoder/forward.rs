//! The forward pass of a batch of tokens, top to bottom.
//!
//! Each layer lets a mixer look at other positions ([`super::mixer`], [`super::conv`]), then a feed-forward network
//! ([`super::ffn`], [`super::moe`]) work on each position by itself; both read the residual stream through a norm and add to it.

use super::cache::{Cache, LayerCache};
use super::ops::{Input, Ops, Quantized};
use super::rope::RopeTable;
use super::{conv, ffn, mixer, moe};
use crate::model::spec::{LayerSpec, Mixer, ModelSpec, Residual};
use crate::model::{FfnWeights, LayerWeights, Linear, MixerWeights, Model, NormWeights, QkvWeights};
use crate::trace::{self, Work};
use std::ops::Range;

/// Rows of activations of a batch of `n` tokens.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// The residual stream, `[n][dim]`.
    pub(super) x: Vec<f32>,
    /// What a half of a layer reads.
    pub(super) read: Read,
    /// What a half of a layer is about to add to the stream, `[n][dim]`.
    pub(super) out: Vec<f32>,
    /// What the mixer of a parallel layer adds once the network has read the stream, `[n][dim]`.
    kept: Vec<f32>,
    pub(super) mixer: mixer::Buffers,
    pub(super) ffn: ffn::Buffers,
    pub(super) moe: moe::Buffers,
    /// What other projections read.
    pub(super) quantized: Quantized,
    /// One table for each rotary embedding of the model.
    pub(super) ropes: Vec<RopeTable>,
}

/// A batch of tokens, as one layer sees it.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    /// The position of its first token.
    pub(super) position: usize,
    /// The tokens whose result is read: in the last layer only those whose logits are wanted. Of the others it makes what later
    /// tokens look back at, and no more.
    pub(super) wanted: Range<usize>,
}

impl Buffers {
    /// Empty buffers, with a table for each of `n_ropes` rotary embeddings.
    pub(super) fn new(n_ropes: usize) -> Buffers {
        Buffers { ropes: vec![RopeTable::default(); n_ropes], ..Buffers::default() }
    }

    /// From now on the batch is these tokens of it.
    fn keep(&mut self, tokens: &Range<usize>, dim: usize) {
        keep_rows(&mut self.x, tokens, dim);
        if !self.read.only_codes {
            keep_rows(&mut self.read.h, tokens, dim);
            self.read.n = tokens.len();
        }
    }
}

fn keep_rows(x: &mut Vec<f32>, rows: &Range<usize>, width: usize) {
    x.truncate(rows.end * width);
    x.drain(..rows.start * width);
}

/// What a half of a layer has made and the stream lacks: `x += norm(out) * scale`. The next half that reads the stream adds it, row
/// by row, while the row is at hand.
pub(super) struct Addition<'a> {
    pub(super) out: &'a mut [f32],
    pub(super) how: Adding<'a>,
}

/// How [`Addition`] is added.
#[derive(Clone, Copy)]
pub(super) struct Adding<'a> {
    norm: Option<&'a NormWeights<'a>>,
    scale: f32,
}

/// The residual stream as a half of a layer reads it: through a norm, or as it is.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// `[n][dim]`, unless there are only codes.
    h: Vec<f32>,
    quantized: Quantized,
    only_codes: bool,
    n: usize,
}

impl Read {
    /// Takes in `x: [n][dim]`, with what is still to be added to it. All that is going to read it are `readers`; or, where these
    /// are none, floats are read too.
    fn take(
        &mut self,
        ops: &Ops<'_>,
        spec: &ModelSpec,
        norm: Option<&NormWeights<'_>>,
        x: &mut [f32],
        add: Option<Addition<'_>>,
        readers: &[&Linear<'_>],
    ) {
        self.n = x.len() / spec.dim;
        self.only_codes =
            norm.is_some() && !readers.is_empty() && readers.iter().all(|w| !w.weight.format().is_float());
        if let Some(norm) = norm.filter(|_| self.only_codes) {
            return ops.normed_input(spec, norm, x, add, &mut self.quantized);
        }
        if let Some(add) = add {
            add_to_stream(ops, spec, x, add);
        }
        match norm {
            Some(norm) => {
                self.h.resize(x.len(), 0.0);
                ops.norm(spec, norm, x, &mut self.h);
            }
            None => {
                self.h.clear();
                self.h.extend_from_slice(x);
            }
        }
    }

    /// The number of tokens.
    pub(super) fn n(&self) -> usize {
        self.n
    }

    /// `[n][dim]`, where no readers were named.
    pub(super) fn floats(&self) -> &[f32] {
        &self.h
    }

    /// As the input of `weights`.
    pub(super) fn input(&mut self, ops: &Ops<'_>, dim: usize, weights: &[&Linear<'_>]) -> Input<'_> {
        if self.only_codes {
            ops.quantized(&self.quantized, self.n, dim)
        } else {
            ops.input(&self.h, dim, weights, &mut self.quantized)
        }
    }
}

/// Embeds `tokens`, whose ids have been checked and the first of which is at `position`, into `b.x`.
pub(super) fn embed(ops: &Ops<'_>, model: &Model<'_>, tokens: &[u32], b: &mut Buffers, position: usize) {
    let _op = trace::op(|| Work::light("embed", tokens.len()));
    let (spec, w) = (&model.spec, &model.weights);
    b.x.resize(tokens.len() * spec.dim, 0.0);
    // Learned positions, before they are added.
    b.out.resize(b.x.len(), 0.0);
    let parts = b.x.chunks_mut(spec.dim).zip(b.out.chunks_mut(spec.dim)).zip(tokens).enumerate().collect();
    ops.crew.for_each_owned(parts, |_, (i, ((x, learned), token))| {
        ops.note(ops.kernels.dequantize_row(&w.embedding, *token as usize, x));
        if spec.embedding_scale != 1.0 {
            ops.note(ops.kernels.scale(x, spec.embedding_scale));
        }
        if let Some(positions) = &w.positions {
            ops.note(ops.kernels.dequantize_row(positions, position + i, learned));
            ops.note(ops.kernels.add(x, learned));
        }
        if let Some(norm) = &w.embedding_norm {
            ops.norm_in_place(spec, norm, x);
        }
    });
}

/// All layers over the tokens in `b.x`, which then has those that `batch` wants.
pub(super) fn layers(ops: &Ops<'_>, model: &Model<'_>, b: &mut Buffers, cache: &mut Cache, batch: Batch) {
    let spec = &model.spec;
    let (n, mut ahead) = (b.x.len() / spec.dim, spec.layers.len());
    let layers = spec.layers.iter().zip(&model.weights.layers);
    // How what is in `b.out` is going to be added.
    let mut adding = None;
    for ((layer, w), cache) in layers.zip(&mut cache.layers) {
        ahead -= 1;
        let wanted = if ahead == 0 { batch.wanted.clone() } else { 0..n };
        // Serial:   x += mixer(norm(x)), then x += ffn(norm(x))
        // Parallel: x += mixer(norm(x)) + ffn(norm(x)), the norm shared when the network has none of its own
        let parallel = layer.residual == Residual::Parallel;
        // What the network of a parallel layer may read too is not for the mixer's weights alone.
        let shared = parallel && w.ffn_norm.is_none();
        let readers = if shared { Vec::new() } else { mixer_readers(&w.mixer) };
        let add = adding.take().map(|how| Addition { out: &mut b.out, how });
        b.read.take(ops, spec, w.mixer_norm.as_ref(), &mut b.x, add, &readers);
        b.out.resize(wanted.len() * spec.dim, 0.0);
        mix(ops, spec, layer, w, b, cache, &Batch { wanted: wanted.clone(), ..batch });
        b.keep(&wanted, spec.dim);
        if wanted.is_empty() {
            return;
        }
        let [mixer, ffn] = [&w.post_mixer_norm, &w.post_ffn_norm]
            .map(|norm| Adding { norm: norm.as_ref(), scale: layer.residual_scale });
        let add = if parallel {
            std::mem::swap(&mut b.out, &mut b.kept);
            b.out.resize(b.x.len(), 0.0);
            None
        } else {
            Some(Addition { out: &mut b.out, how: mixer })
        };
        if !shared {
            b.read.take(ops, spec, w.ffn_norm.as_ref(), &mut b.x, add, &ffn_readers(&w.ffn));
        }
        match &w.ffn {
            FfnWeights::Dense(w) => ffn::dense(ops, spec, &layer.ffn, w, b),
            FfnWeights::Experts(w) => moe::experts(ops, spec, &layer.ffn, w, b),
        }
        if parallel {
            add_to_stream(ops, spec, &mut b.x, Addition { out: &mut b.kept, how: mixer });
        }
        adding = Some(ffn);
    }
    if let Some(how) = adding {
        add_to_stream(ops, spec, &mut b.x, Addition { out: &mut b.out, how });
    }
}

/// `out = mixer(h)` of the tokens that are wanted
fn mix(
    ops: &Ops<'_>,
    spec: &ModelSpec,
    layer: &LayerSpec,
    w: &LayerWeights<'_>,
    b: &mut Buffers,
    cache: &mut LayerCache,
    batch: &Batch,
) {
    match (&layer.mixer, &w.mixer, cache) {
        (Mixer::Attention(a), MixerWeights::Attention(w), LayerCache::Attention(cache)) => {
            mixer::attention(ops, spec, a, w, b, cache, batch);
        }
        (Mixer::ShortConv(_), MixerWeights::ShortConv(w), LayerCache::Conv(state)) => {
            conv::short_conv(ops, spec, w, b, state, batch);
        }
        _ => unreachable!("weights and cache are made from the spec"),
    }
}

/// The weights that read what a mixer reads, if that are all.
fn mixer_readers<'a>(w: &'a MixerWeights<'a>) -> Vec<&'a Linear<'a>> {
    match w {
        MixerWeights::Attention(w) => match &w.qkv {
            QkvWeights::Direct(w) => vec![&w.q, &w.k, &w.v],
            QkvWeights::Latent(_) => Vec::new(),
        },
        MixerWeights::ShortConv(w) => vec![&w.input],
    }
}

/// The weights that read what a feed-forward network reads, if that are all.
fn ffn_readers<'a>(w: &'a FfnWeights<'a>) -> Vec<&'a Linear<'a>> {
    match w {
        FfnWeights::Dense(w) => w.readers(),
        FfnWeights::Experts(_) => Vec::new(),
    }
}

/// Adds to `x: [n][dim]`.
fn add_to_stream(ops: &Ops<'_>, spec: &ModelSpec, x: &mut [f32], add: Addition<'_>) {
    let Addition { out, how } = add;
    ops.token_tiles("add_residual", x.len() / spec.dim, x, out, |_, x, out| how.add(ops, spec, x, out));
}

impl Adding<'_> {
    /// `x += norm(out) * scale`, on this thread; any number of whole rows.
    pub(super) fn add(self, ops: &Ops<'_>, spec: &ModelSpec, x: &mut [f32], out: &mut [f32]) {
        if let Some(norm) = self.norm {
            ops.norm_in_place(spec, norm, out);
        }
        ops.note(match self.scale {
            1.0 => ops.kernels.add(x, out),
            scale => ops.kernels.add_scaled(x, out, scale),
        });
    }
}

/// Logits `[rows][vocab_size]` of the tokens `rows` of those in `b.x`.
pub(super) fn logits(
    ops: &Ops<'_>,
    model: &Model<'_>,
    b: &mut Buffers,
    rows: Range<usize>,
    out: &mut Vec<f32>,
) {
    let spec = &model.spec;
    out.resize(rows.len() * spec.vocab_size, 0.0);
    let x = &mut b.x[rows.start * spec.dim..rows.end * spec.dim];
    let weights = [&model.weights.output];
    b.read.take(ops, spec, Some(&model.weights.output_norm), x, None, &weights);
    let input = b.read.input(ops, spec.dim, &weights);
    ops.linear([(&model.weights.output, out)], input);
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
