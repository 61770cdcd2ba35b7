//! Mixture of experts: a router chooses some networks for each token. Each network then works on all of its tokens at once, and the
//! weights of a network that no token of the batch uses are not read.
//!
//! A token's result is the sum over its experts in ascending id, and of two equal routes the lower id is taken, so that nothing
//! depends on the other tokens of the batch (law 1).

use super::ops::Ops;
use super::{ffn, forward};
use crate::model::ExpertsWeights;
use crate::model::spec::{ExpertsSpec, FfnSpec, ModelSpec};

/// One token's use of one expert.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Route {
    expert: usize,
    token: usize,
    weight: f32,
}

/// Activations of a batch of `n` tokens. A route is a row.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// The router's probabilities, `[n][experts]`.
    probabilities: Vec<f32>,
    /// By expert, then by token.
    routes: Vec<Route>,
    /// What each route reads and returns, `[routes][dim]`.
    x: Vec<f32>,
    y: Vec<f32>,
    /// The shared expert's result `[n][dim]` and its gate `[n]`.
    shared: Vec<f32>,
    shared_gate: Vec<f32>,
}

/// `out = Σ weight · expert(h)` over the experts of each token, and the shared expert behind its gate.
pub(super) fn experts(
    ops: &Ops<'_>,
    spec: &ModelSpec,
    f: &FfnSpec,
    w: &ExpertsWeights<'_>,
    b: &mut forward::Buffers,
) {
    let Some(e) = &f.experts else { return };
    let forward::Buffers { read, out, ffn, moe, quantized, .. } = b;
    let (dim, n) = (spec.dim, read.n());

    moe.probabilities.resize(n * e.n, 0.0);
    let input = read.input(ops, dim, &[&w.router]);
    ops.linear([(&w.router, &mut moe.probabilities)], input);
    moe.routes.clear();
    for (token, p) in moe.probabilities.chunks_mut(e.n).enumerate() {
        ops.note(ops.kernels.softmax(p));
        choose(e, token, p, &mut moe.routes);
    }
    moe.routes.sort_unstable_by_key(|r| (r.expert, r.token));

    // Every route's row, those of one expert after each other.
    let rows = moe.routes.len();
    moe.x.clear();
    let h = read.floats();
    moe.routes.iter().for_each(|r| moe.x.extend_from_slice(&h[r.token * dim..(r.token + 1) * dim]));
    moe.y.resize(rows * dim, 0.0);
    ffn.gate.resize(rows * f.dim, 0.0);
    ffn.up.resize(rows * f.dim, 0.0);
    let groups: Vec<&[Route]> = moe.routes.chunk_by(|a, b| a.expert == b.expert).collect();

    // Experts that a file keeps apart may differ in format.
    let used = || groups.iter().map(|g| &w.experts[g[0].expert]);
    let formats: Vec<_> = used().flat_map(|e| e.gate.iter().chain([&e.up])).collect();
    let input = ops.input(&moe.x, dim, &formats, quantized);
    let (mut gates, mut ups) = (&mut ffn.gate[..], &mut ffn.up[..]);
    let (mut parts, mut start) = (Vec::new(), 0);
    for group in &groups {
        let expert = &w.experts[group[0].expert];
        let input = input.rows(start..start + group.len());
        start += group.len();
        let (gate, up);
        (gate, gates) = gates.split_at_mut(group.len() * f.dim);
        (up, ups) = ups.split_at_mut(group.len() * f.dim);
        parts.extend(expert.gate.as_ref().map(|g| (g, input, gate)));
        parts.push((&expert.up, input, up));
    }
    ops.linears(parts);
    ffn::activate(ops, f, true, rows, ffn);

    let formats: Vec<_> = used().map(|e| &e.down).collect();
    let input = ops.input(&ffn.gate, f.dim, &formats, quantized);
    let (mut results, mut parts, mut start) = (&mut moe.y[..], Vec::new(), 0);
    for group in &groups {
        let y;
        (y, results) = results.split_at_mut(group.len() * dim);
        parts.push((&w.experts[group[0].expert].down, input.rows(start..start + group.len()), y));
        start += group.len();
    }
    ops.linears(parts);

    // Routes are in ascending order of experts, and so is every token's sum.
    out.fill(0.0);
    for (r, y) in moe.routes.iter().zip(moe.y.chunks(dim)) {
        ops.note(ops.kernels.add_scaled(&mut out[r.token * dim..(r.token + 1) * dim], y, r.weight));
    }

    if let Some((network, gate)) = &w.shared {
        moe.shared.resize(n * dim, 0.0);
        moe.shared_gate.resize(n, 0.0);
        ops.linear([(gate, &mut moe.shared_gate)], read.input(ops, dim, &[gate]));
        let input = read.input(ops, dim, &network.readers());
        ffn::network(ops, spec, f, network, input, &mut moe.shared, ffn);
        sigmoid(ops, &mut moe.shared_gate);
        for ((out, y), gate) in out.chunks_mut(dim).zip(moe.shared.chunks(dim)).zip(&moe.shared_gate) {
            ops.note(ops.kernels.add_scaled(out, y, *gate));
        }
    }
}

/// The routes of one token, whose probabilities of all experts are `p`.
fn choose(e: &ExpertsSpec, token: usize, p: &[f32], routes: &mut Vec<Route>) {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_unstable_by(|a, b| p[*b].total_cmp(&p[*a]).then(a.cmp(b)));
    order.truncate(e.used);
    // Ascending, so that the sum too has one order.
    order.sort_unstable();
    let sum = order.iter().fold(0.0, |sum, i| sum + p[*i]);
    let weight = |p: f32| if e.renormalize { p / sum * e.scale } else { p * e.scale };
    routes.extend(order.into_iter().map(|i| Route { expert: i, token, weight: weight(p[i]) }));
}

/// `x = 1 / (1 + exp(-x))`
fn sigmoid(ops: &Ops<'_>, x: &mut [f32]) {
    x.iter_mut().for_each(|x| *x = 0.0 - *x);
    ops.note(ops.kernels.exp(x));
    x.iter_mut().for_each(|x| *x = 1.0 / (1.0 + *x));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_routes_the_lower_id_is_taken() {
        let e = ExpertsSpec { n: 5, used: 2, renormalize: true, scale: 1.0, shared: None };
        let mut routes = Vec::new();
        choose(&e, 7, &[0.125, 0.25, 0.25, 0.125, 0.25], &mut routes);
        let route = |expert| Route { expert, token: 7, weight: 0.5 };
        assert_eq!(routes, [route(1), route(2)]);
        let e = ExpertsSpec { renormalize: false, scale: 2.0, ..e };
        choose(&e, 8, &[0.0, 0.25, 0.0, 0.0, 0.75], &mut routes);
        let route = |expert, weight| Route { expert, token: 8, weight };
        assert_eq!(routes[2..], [route(1, 0.5), route(4, 1.5)]);
    }
}
