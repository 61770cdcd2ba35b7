//! The short convolution of a layer, and what it remembers.

use super::forward::{self, Batch};
use super::ops::Ops;
use crate::model::ConvWeights;
use crate::model::spec::ModelSpec;
use kinglet_kernels::KV_PAGE;

/// Every how many positions a state is kept, to come back to.
const KEEP: usize = KV_PAGE;

/// The gated inputs of the last `kernel - 1` positions, `[kernel - 1][dim]`, now and at some earlier positions.
#[derive(Debug)]
pub(super) struct ConvState {
    dim: usize,
    /// The position the state is at: the next one to be decoded.
    position: usize,
    now: Vec<f32>,
    /// The states at the multiples of [`KEEP`], from 0 on.
    kept: Vec<Vec<f32>>,
}

impl ConvState {
    pub(super) fn new(kernel: usize, dim: usize) -> ConvState {
        ConvState { dim, position: 0, now: vec![0.0; (kernel - 1) * dim], kept: Vec::new() }
    }

    /// Bytes that are kept for every [`KV_PAGE`] positions.
    pub(super) fn bytes(kernel: usize, dim: usize) -> usize {
        (kernel - 1) * dim * size_of::<f32>()
    }

    /// Room for positions `0..len`; `None` when there is no memory.
    pub(super) fn reserve(&mut self, len: usize) -> Option<()> {
        while self.kept.len() < len.div_ceil(KEEP).max(1) {
            let mut state = Vec::new();
            state.try_reserve_exact(self.now.len()).ok()?;
            state.resize(self.now.len(), 0.0);
            self.kept.push(state);
        }
        Some(())
    }

    /// Bytes that are allocated.
    pub(super) fn allocated(&self) -> usize {
        (1 + self.kept.len()) * self.now.len() * size_of::<f32>()
    }

    /// The last position up to `position` whose state is known.
    pub(super) fn resumes_at(&self, position: usize) -> usize {
        if position < self.position { position / KEEP * KEEP } else { self.position }
    }

    /// Goes back to `position` or, when its state was not kept, to the last one before it that was.
    pub(super) fn rewind(&mut self, position: usize) {
        if position < self.position {
            let state = position / KEEP;
            match self.kept.get(state) {
                Some(kept) => self.now.copy_from_slice(kept),
                None => self.now.fill(0.0),
            }
            self.position = state * KEEP;
        }
    }

    /// Takes in the gated inputs `[n][dim]` of the next positions.
    fn advance(&mut self, inputs: &[f32]) {
        for x in inputs.chunks(self.dim) {
            if self.position.is_multiple_of(KEEP)
                && let Some(kept) = self.kept.get_mut(self.position / KEEP)
            {
                kept.copy_from_slice(&self.now);
            }
            if !self.now.is_empty() {
                self.now.copy_within(self.dim.., 0);
                let last = self.now.len() - self.dim;
                self.now[last..].copy_from_slice(x);
            }
            self.position += 1;
        }
    }
}

/// `out = output · (gate_out * conv(gate_in * x))`, where `(gate_in, gate_out, x) = input · h` and `conv` sums over the last positions,
/// each channel by itself; `out` is of the tokens that are wanted.
pub(super) fn short_conv(
    ops: &Ops<'_>,
    spec: &ModelSpec,
    w: &ConvWeights<'_>,
    b: &mut forward::Buffers,
    state: &mut ConvState,
    batch: &Batch,
) {
    let (dim, n) = (spec.dim, b.read.n());
    let kernel = w.kernel.len() / dim;
    debug_assert_eq!(state.position, batch.position);
    let m = &mut b.mixer;
    m.q.resize(3 * n * dim, 0.0);
    // With the positions before the batch in front.
    m.k.resize((kernel - 1 + n) * dim, 0.0);
    m.result.resize(batch.wanted.len() * dim, 0.0);
    let input = b.read.input(ops, dim, &[&w.input]);
    ops.linear([(&w.input, &mut m.q)], input);

    let (before, gated) = m.k.split_at_mut(state.now.len());
    before.copy_from_slice(&state.now);
    ops.token_tiles("conv_gate", n, gated, &mut m.q, |_, gated, projected| {
        for (gated, projected) in gated.chunks_mut(dim).zip(projected.chunks(3 * dim)) {
            let (gate, x) = (&projected[..dim], &projected[2 * dim..]);
            gated.iter_mut().zip(gate.iter().zip(x)).for_each(|(g, (b, x))| *g = b * x);
        }
    });
    state.advance(gated);
    if batch.wanted.is_empty() {
        return;
    }
    let (inputs, start) = (&m.k, batch.wanted.start);
    let projected = &mut m.q[start * 3 * dim..batch.wanted.end * 3 * dim];
    ops.token_tiles("conv", batch.wanted.len(), &mut m.result, projected, |first, result, projected| {
        let first = start + first;
        for (i, (y, projected)) in result.chunks_mut(dim).zip(projected.chunks(3 * dim)).enumerate() {
            let seen = &inputs[(first + i) * dim..(first + i + kernel) * dim];
            for (c, y) in y.iter_mut().enumerate() {
                let taps = w.kernel[c * kernel..(c + 1) * kernel].iter().zip(seen[c..].iter().step_by(dim));
                let sum = taps.fold(0.0, |sum, (w, x)| sum + w * x);
                *y = projected[dim + c] * (sum + w.bias.as_ref().map_or(0.0, |b| b[c]));
            }
        }
    });

    let input = ops.input(&m.result, dim, &[&w.output], &mut b.quantized);
    ops.linear([(&w.output, &mut b.out)], input);
}
