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
    /// The activated product, quantized.
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
    let input = b.read.input(ops, spec.dim, &w.readers());
    network(ops, spec, f, w, input, &mut b.out, &mut b.ffn);
}

/// As [`dense`], of `n` rows of input for `gate` and `up` into `out: [n][dim]`.
pub(super) fn network(
    ops: &Ops<'_>,
    spec: &ModelSpec,
    f: &FfnSpec,
    w: &DenseWeights<'_>,
    input: Input<'_>,
    out: &mut [f32],
    b: &mut Buffers,
) {
    let (n, width) = (input.n(), w.up.weight.rows());
    if let (Some(gate), None, false) = (&w.gate, &w.sub_norm, w.down.weight.format().is_float()) {
        let product = ops.gated((gate, &w.up), f.activation, input, &mut b.product);
        return ops.linear([(&w.down, out)], product);
    }
    b.gate.resize(n * width, 0.0);
    match &w.gate {
        Some(gate) => {
            b.up.resize(n * width, 0.0);
            ops.linear([(gate, &mut b.gate), (&w.up, &mut b.up)], input);
        }
        None => ops.linear([(&w.up, &mut b.gate)], input),
    }
    activate(ops, f, w.gate.is_some(), n, b);
    if let Some(norm) = &w.sub_norm {
        ops.norm_rows_in_place(spec, norm, &mut b.gate);
    }
    let input: Input<'_> = ops.input(&b.gate, width, &[&w.down], &mut b.product);
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
