//! The feed-forward network of a layer.

use super::forward;
use super::ops::{Input, Ops, Quantized};
use crate::model::DenseWeights;
use crate::model::spec::{FfnSpec, ModelSpec};
use crate::trace::Work;

/// Rows of activations of a batch of `n` tokens.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// `[n][ffn_dim]` each; the activated product ends up in `gate`.
    pub(super) gate: Vec<f32>,
    pub(super) up: Vec<f32>,
    /// The activated product, where only its quantized form is needed.
    product: Quantized,
}

/// `out = down · norm(act(gate · h) * (up · h))`, or `down · norm(act(up · h))` without a gate.
pub(super) fn dense(
    ops: &Ops<'_>,
    spec: &ModelSpec,
    f: &FfnSpec,
    w: &DenseWeights<'_>,
    b: &mut forward::Buffers,
) {
    let forward::Buffers { h, out, ffn, quantized, .. } = b;
    network(ops, spec, f, w, h, out, ffn, quantized);
}

/// As [`dense`], of `x: [n][dim]` into `out: [n][dim]`.
#[allow(clippy::too_many_arguments, reason = "each is a different thing")]
pub(super) fn network(
    ops: &Ops<'_>,
    spec: &ModelSpec,
    f: &FfnSpec,
    w: &DenseWeights<'_>,
    x: &[f32],
    out: &mut [f32],
    b: &mut Buffers,
    quantized: &mut Quantized,
) {
    let (n, width) = (x.len() / spec.dim, w.up.weight.rows());
    if let (Some(gate), None, false) = (&w.gate, &w.sub_norm, w.down.weight.format().is_float()) {
        let input = ops.input(x, spec.dim, &[gate, &w.up], quantized);
        let product = ops.gated((gate, &w.up), f.activation, input, &mut b.product);
        return ops.linear([(&w.down, out)], product);
    }
    b.gate.resize(n * width, 0.0);
    match &w.gate {
        Some(gate) => {
            b.up.resize(n * width, 0.0);
            let input = ops.input(x, spec.dim, &[gate, &w.up], quantized);
            ops.linear([(gate, &mut b.gate), (&w.up, &mut b.up)], input);
        }
        None => {
            let input = ops.input(x, spec.dim, &[&w.up], quantized);
            ops.linear([(&w.up, &mut b.gate)], input);
        }
    }
    activate(ops, f, w.gate.is_some(), n, b);
    if let Some(norm) = &w.sub_norm {
        ops.norm_rows_in_place(spec, norm, &mut b.gate);
    }
    let input: Input<'_> = ops.input(&b.gate, width, &[&w.down], quantized);
    ops.linear([(&w.down, out)], input);
}

/// `gate = act(gate) * up`, or `act(gate)`, of `n` rows.
pub(super) fn activate(ops: &Ops<'_>, f: &FfnSpec, gated: bool, n: usize, b: &mut Buffers) {
    if gated {
        ops.token_tiles("activation_mul", n, &mut b.gate, &mut b.up, |_, gate, up| {
            ops.note(ops.kernels.activate_mul(f.activation, gate, up));
        });
    } else {
        let work = || Work::light("activation", n);
        ops.token_rows(work, &mut b.gate, n, |_, x| {
            ops.note(ops.kernels.activate(f.activation, x));
        });
    }
}
