//! Operations over a batch, divided among the crew. None of them lets the division decide a bit.

use super::DecodeError;
use super::forward::Addition;
use crate::model::spec::{ModelSpec, Norm};
use crate::model::{Linear, NormWeights};
use crate::team::Crew;
use crate::trace::{self, Work};
use kinglet_kernels::{Activation, Kernels, MatMut, Matrix, QuantizedMut, QuantizedRows};
use std::ops::Range;
use std::sync::Mutex;

/// Rows of weights are handed out in multiples of this, the tallest tile of any tier.
const ROW_TILE: usize = 32;
/// Tokens per chunk of row-wise operations; up to this many run on the caller's thread alone.
const TOKEN_TILE: usize = 8;

/// Up to so many columns a product mostly waits for its weights.
const FEW_COLUMNS: usize = 8;

/// Values of the rows of two projections that a thread keeps to itself: they stay in its L2.
const GATED_VALUES: usize = 64 << 10;

/// What every operation needs.
pub(super) struct Ops<'a> {
    pub(super) crew: &'a Crew<'a>,
    pub(super) kernels: Kernels,
    /// The first thing that went wrong on any thread.
    error: Mutex<Option<DecodeError>>,
}

/// Quantized copies of an activation matrix; reused from one operation to the next.
#[derive(Debug, Default)]
pub(super) struct Quantized {
    q: Vec<i8>,
    d: Vec<f32>,
    sums: Vec<i16>,
}

/// `n` rows of `k` values, in tiles of `tile` rows; the last tile may have less.
#[derive(Clone, Copy)]
pub(super) struct TiledRows {
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) tile: usize,
}

/// `n` rows of `k` activations, quantized too when a weight matrix needs that.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    x: &'a [f32],
    quantized: Option<QuantizedRows<'a>>,
    n: usize,
}

impl Quantized {
    fn resize(&mut self, n: usize, k: usize) {
        self.q.resize(n * k, 0);
        self.d.resize(n * k / 32, 0.0);
        self.sums.resize(n * k / 16, 0);
    }
}

impl<'a> Input<'a> {
    /// The number of rows.
    pub(super) fn n(&self) -> usize {
        self.n
    }

    /// Some of the rows.
    pub(super) fn rows(&self, range: Range<usize>) -> Input<'a> {
        let k = self.x.len() / self.n;
        let quantized = self.quantized.map(|q| q.slice(range.clone()));
        Input { x: &self.x[range.start * k..range.end * k], quantized, n: range.len() }
    }
}

impl<'a> Ops<'a> {
    pub(super) fn new(crew: &'a Crew<'a>, kernels: Kernels) -> Ops<'a> {
        Ops { crew, kernels, error: Mutex::new(None) }
    }

    /// Keeps the first error of any thread for [`Ops::finish`].
    pub(super) fn note(&self, result: Result<(), impl Into<DecodeError>>) {
        if let Err(e) = result {
            let mut first = self.error.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            first.get_or_insert(e.into());
        }
    }

    /// The first error of any thread.
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        match self.error.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }

    /// `n` tokens per item when items are rows of a batch of `n` tokens.
    pub(super) fn token_tile(&self, n: usize) -> usize {
        if n <= TOKEN_TILE { n.max(1) } else { TOKEN_TILE }
    }

    /// The rows of `x: [n][k]` as the input of projections, quantized into `space` when one of `weights` needs it.
    pub(super) fn input<'b>(
        &self,
        x: &'b [f32],
        k: usize,
        weights: &[&Linear<'_>],
        space: &'b mut Quantized,
    ) -> Input<'b> {
        let n = x.len() / k;
        if weights.iter().all(|w| w.weight.format().is_float()) {
            return Input { x, quantized: None, n };
        }
        let _op = trace::op(|| Work::light("quantize", n));
        let rows = TiledRows { n, k, tile: self.token_tile(n) };
        self.quantize_tiles(x.chunks(rows.tile * k), rows, space, |_, (x, q, d, sums)| {
            self.note(self.kernels.quantize(x, q, d, sums))
        });
        Input { x, ..self.quantized(space, n, k) }
    }

    /// As [`Ops::input`] of the norms of `x`'s rows, to which `add` is added before, for weights all of which read codes: a row
    /// and its norm's floats stay in the cache of the thread that is at them.
    pub(super) fn normed_input(
        &self,
        spec: &ModelSpec,
        w: &NormWeights<'_>,
        x: &mut [f32],
        add: Option<Addition<'_>>,
        space: &mut Quantized,
    ) {
        let k = w.width;
        let n = x.len() / k;
        let _op = trace::op(|| {
            let added = if add.is_some() { "add_residual+" } else { "" };
            Work::light(&(added.to_owned() + &name_of(w) + "+quantize"), n)
        });
        let (how, out) = add.map(|a| (a.how, a.out)).unzip();
        let rows = TiledRows { n, k, tile: self.token_tile(n) };
        let mut outs = out.unwrap_or_default().chunks_mut(rows.tile * k);
        let tiles = x.chunks_mut(rows.tile * k).map(|x| (x, outs.next()));
        self.quantize_tiles(tiles, rows, space, |worker, ((x, out), q, d, sums)| {
            let mut normed = self.crew.values(worker, k);
            let mut outs = out.unwrap_or_default().chunks_mut(k);
            let codes = q.chunks_mut(k).zip(d.chunks_mut(k / 32)).zip(sums.chunks_mut(k / 16));
            for (x, ((q, d), sums)) in x.chunks_mut(k).zip(codes) {
                if let (Some(how), Some(out)) = (how, outs.next()) {
                    how.add(self, spec, x, out);
                }
                self.norm_row(spec, w, x, &mut normed[..k]);
                self.note(self.kernels.quantize(&normed[..k], q, d, sums));
            }
        });
    }

    /// What has been quantized into `space`, `n` rows of `k`, as the input of weights all of which read codes.
    pub(super) fn quantized<'b>(&self, space: &'b Quantized, n: usize, k: usize) -> Input<'b> {
        let rows = QuantizedRows::new(&space.q, &space.d, &space.sums, n, k);
        Input { x: &[], quantized: self.take(rows), n }
    }

    /// Calls `f` for `tiles` of `rows`, and their codes, scales and sums in `space`.
    pub(super) fn quantize_tiles<X: Send>(
        &self,
        tiles: impl Iterator<Item = X>,
        rows: TiledRows,
        space: &mut Quantized,
        f: impl Fn(usize, (X, &mut [i8], &mut [f32], &mut [i16])) + Sync,
    ) {
        space.resize(rows.n, rows.k);
        let tile = rows.tile * rows.k;
        let parts = tiles.zip(space.q.chunks_mut(tile)).zip(space.d.chunks_mut(tile / 32));
        let parts = parts.zip(space.sums.chunks_mut(tile / 16)).collect();
        self.crew.for_each_owned(parts, |worker, (((x, q), d), sums)| f(worker, (x, q, d, sums)));
    }

    /// Takes the next part of `rows`, of a thread that has so many `left` in all: parts become smaller towards the end, so that a
    /// thread that is late there leaves little to wait for. With few columns `n` little is left for the smaller ones: another thread that takes the last ones
    /// reads their weights from memory, where their owner has just had them fetched, and that is most of the work.
    fn take_part(&self, rows: &mut Range<usize>, left: usize, n: usize, most: usize) -> Option<Range<usize>> {
        let part = match self.crew.threads() {
            1 => left,
            _ if n <= FEW_COLUMNS => (3 * left).div_ceil(4),
            _ => left.div_ceil(2),
        };
        let end = (rows.start + part.next_multiple_of(ROW_TILE).min(most)).min(rows.end);
        (rows.start < end).then(|| std::mem::replace(&mut rows.start, end)..end)
    }

    /// Every projection of one input, divided among the crew as one operation: `out` is `[n][rows]`.
    pub(super) fn linear<const N: usize>(
        &self,
        projections: [(&Linear<'_>, &mut [f32]); N],
        input: Input<'_>,
    ) {
        self.linears(projections.into_iter().map(|(linear, out)| (linear, input, out)).collect());
    }

    /// Every projection, each of its own input, divided among the crew as one operation: `out` is `[n][rows]`, and
    /// no rows of input are no work.
    pub(super) fn linears(&self, mut projections: Vec<(&Linear<'_>, Input<'_>, &mut [f32])>) {
        projections.retain(|(_, input, _)| input.n > 0);
        let _op = trace::op(|| work_of(&projections));
        let threads = self.crew.threads();
        let next = projections.last().and_then(|(linear, _, _)| linear.next);
        let mut shares: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
        // Rows of each thread that are not yet in a part.
        let rows_of = |t| projections.iter().map(|(l, _, _)| share(l.weight.rows(), t, threads).len()).sum();
        let mut left: Vec<usize> = (0..threads).map(rows_of).collect();
        for (linear, input, out) in projections {
            let mut rest = match MatMut::new(out, linear.weight.rows(), input.n) {
                Ok(m) => m,
                Err(e) => return self.note(Err(e)),
            };
            for (t, (parts, left)) in shares.iter_mut().zip(&mut left).enumerate() {
                let mut rows = share(linear.weight.rows(), t, threads);
                while let Some(part) = self.take_part(&mut rows, *left, input.n, usize::MAX) {
                    let (y, after) = rest.split_rows(part.len());
                    rest = after;
                    *left -= part.len();
                    let bias = linear.bias.as_deref().map(|b| &b[part.clone()]);
                    parts.push((linear.weight.slice_rows(part), input, linear.scale, bias, y));
                }
            }
        }
        for (t, parts) in shares.iter_mut().enumerate() {
            let mut next = share_of(next, t, threads);
            for (w, ..) in parts.iter_mut().rev() {
                *w = follow(*w, next.replace(*w));
            }
        }
        self.crew.for_each_share(shares, |worker, (w, input, scale, bias, mut y)| {
            self.finish_rows(worker, &w, input, scale, bias, &mut y);
        });
    }

    /// `act(gate · x) * (up · x)`, quantized into `space`: what a gated feed-forward network hands to a quantized projection,
    /// without ever writing the floats to memory.
    pub(super) fn gated<'b>(
        &self,
        (gate, up): (&Linear<'_>, &Linear<'_>),
        activation: Activation,
        input: Input<'_>,
        space: &'b mut Quantized,
    ) -> Input<'b> {
        let (n, width) = (input.n, up.weight.rows());
        space.resize(n, width);
        let _op = trace::op(|| {
            let mut work = work_of(&[(gate, input, &mut []), (up, input, &mut [])]);
            work.name += "+activation";
            work
        });
        let most = (GATED_VALUES / 2 / n / ROW_TILE).max(1) * ROW_TILE;
        let threads = self.crew.threads();
        let room = QuantizedMut::new(&mut space.q, &mut space.d, &mut space.sums, n, width);
        let Some(mut rest) = self.take(room) else { return Input { x: &[], quantized: None, n } };
        let mut shares = Vec::with_capacity(threads);
        for t in 0..threads {
            let (mut rows, mut parts) = (share(width, t, threads), Vec::new());
            let mut left = rows.len();
            while let Some(part) = self.take_part(&mut rows, left, n, most) {
                let (out, after) = rest.split(part.len());
                rest = after;
                left -= part.len();
                let [gate, up] = [gate, up].map(|l| l.weight.slice_rows(part.clone()));
                parts.push((gate.followed_by(&up), up, part, out));
            }
            let mut next = share_of(up.next, t, threads);
            for (gate, up, ..) in parts.iter_mut().rev() {
                *up = follow(*up, next.replace(*gate));
            }
            shares.push(parts);
        }
        self.crew.for_each_share(shares, |worker, (gate_part, up_part, rows, mut part)| {
            let len = rows.len() * n;
            let mut values = self.crew.values(worker, 2 * len);
            let (g, u) = values[..2 * len].split_at_mut(len);
            self.project(worker, gate, (&gate_part, rows.clone()), input, g);
            self.project(worker, up, (&up_part, rows.clone()), input, u);
            self.note(self.kernels.activate_mul(activation, g, u));
            self.note(self.kernels.quantize_rows(g, &mut part));
        });
        self.quantized(space, n, width)
    }

    /// Rows `rows` of one projection, which `w` has; `out` is `[n][rows]`.
    fn project(
        &self,
        worker: usize,
        l: &Linear<'_>,
        (w, rows): (&Matrix<'_>, Range<usize>),
        input: Input<'_>,
        out: &mut [f32],
    ) {
        let Some(mut y) = self.take(MatMut::new(out, rows.len(), input.n)) else { return };
        self.finish_rows(worker, w, input, l.scale, l.bias.as_deref().map(|b| &b[rows]), &mut y);
    }

    /// A part of a projection, scaled and with its bias.
    fn finish_rows(
        &self,
        worker: usize,
        w: &Matrix<'_>,
        input: Input<'_>,
        scale: Option<f32>,
        bias: Option<&[f32]>,
        y: &mut MatMut<'_>,
    ) {
        self.note(self.matmul(worker, w, input, y));
        if let Some(scale) = scale {
            y.columns().for_each(|y| self.note(self.kernels.scale(y, scale)));
        }
        if let Some(bias) = bias {
            y.columns().for_each(|y| self.note(self.kernels.add(y, bias)));
        }
    }

    /// The value, or else the error kept as [`Ops::note`] does.
    fn take<T>(&self, result: Result<T, kinglet_kernels::Error>) -> Option<T> {
        result.map_err(|e| self.note(Err(e))).ok()
    }

    fn matmul(
        &self,
        worker: usize,
        w: &Matrix<'_>,
        input: Input<'_>,
        y: &mut MatMut<'_>,
    ) -> Result<(), kinglet_kernels::Error> {
        match input.quantized {
            Some(x) if !w.format().is_float() => {
                let mut scratch = self.crew.scratch(worker);
                let need = self.kernels.matmul_scratch(w);
                if scratch.len() < need {
                    scratch.resize(need, 0);
                }
                self.kernels.matmul(w, &x, y, &mut scratch)
            }
            _ => self.kernels.matmul_float(w, input.x, y),
        }
    }

    /// `out[t] = norm(x[t])` for rows of `n` values.
    pub(super) fn norm(&self, spec: &ModelSpec, w: &NormWeights<'_>, x: &[f32], out: &mut [f32]) {
        let n = w.width;
        let _op = trace::op(|| Work::light(&name_of(w), x.len() / n));
        let tile = self.token_tile(x.len() / n) * n;
        let parts = x.chunks(tile).zip(out.chunks_mut(tile)).collect();
        self.crew.for_each_owned(parts, |_, (x, out)| {
            x.chunks(n).zip(out.chunks_mut(n)).for_each(|(x, out)| self.norm_row(spec, w, x, out));
        });
    }

    /// `out = norm(x)`, one row.
    fn norm_row(&self, spec: &ModelSpec, w: &NormWeights<'_>, x: &[f32], out: &mut [f32]) {
        let weight = w.weight.as_deref();
        self.note(match spec.norm {
            Norm::Rms => self.kernels.rms_norm(x, weight, spec.norm_eps, out),
            Norm::Layer | Norm::Plain => {
                self.kernels.layer_norm(x, weight, w.bias.as_deref(), spec.norm_eps, out)
            }
        });
    }

    /// `x[t] = norm(x[t])` in place, on this thread; for rows of heads as well as of tokens. Where the rows of a token have
    /// weights of their own, `x` begins with a token.
    pub(super) fn norm_in_place(&self, spec: &ModelSpec, w: &NormWeights<'_>, x: &mut [f32]) {
        let mut weights = w.weight.as_deref().map(|all| all.chunks(w.width).cycle());
        for x in x.chunks_mut(w.width) {
            let weight = weights.as_mut().and_then(Iterator::next);
            self.note(match spec.norm {
                Norm::Rms => self.kernels.rms_norm_in_place(x, weight, spec.norm_eps),
                Norm::Layer | Norm::Plain => {
                    self.kernels.layer_norm_in_place(x, weight, w.bias.as_deref(), spec.norm_eps)
                }
            });
        }
    }

    /// As [`Ops::norm_in_place`], divided among the crew; every row has the same weight.
    pub(super) fn norm_rows_in_place(&self, spec: &ModelSpec, w: &NormWeights<'_>, x: &mut [f32]) {
        let n = x.len() / w.width;
        self.token_rows(|| Work::light(&name_of(w), n), x, n, |_, x| self.norm_in_place(spec, w, x));
    }

    /// An operation for tiles of the rows of `x: [n][k]`: `f(first token, rows)`.
    pub(super) fn token_rows(
        &self,
        work: impl FnOnce() -> Work,
        x: &mut [f32],
        n: usize,
        f: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        let _op = trace::op(work);
        let tile = self.token_tile(n);
        let parts = x.chunks_mut(tile * (x.len() / n)).enumerate().collect();
        self.crew.for_each_owned(parts, |_, (i, x)| f(i * tile, x));
    }

    /// Operation `name` for tiles of rows: `a` is `[n][ka]`, `b` is `[n][kb]`; `f(first token, rows of a, rows of b)`.
    pub(super) fn token_tiles(
        &self,
        name: &str,
        n: usize,
        a: &mut [f32],
        b: &mut [f32],
        f: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
    ) {
        let _op = trace::op(|| Work::light(name, n));
        let tile = self.token_tile(n);
        let (ka, kb) = (a.len() / n, b.len() / n);
        let parts = a.chunks_mut(tile * ka).zip(b.chunks_mut(tile * kb)).enumerate().collect();
        self.crew.for_each_owned(parts, |_, (i, (a, b))| f(i * tile, a, b));
    }
}

/// The part of `rows` rows with which thread `t` of `threads` begins.
fn share(rows: usize, t: usize, threads: usize) -> Range<usize> {
    let bound = |t: usize| (rows.div_ceil(ROW_TILE) * t / threads * ROW_TILE).min(rows);
    bound(t)..bound(t + 1)
}

/// That part of a matrix, if there is one.
fn share_of<'a>(w: Option<Matrix<'a>>, t: usize, threads: usize) -> Option<Matrix<'a>> {
    w.map(|w| w.slice_rows(share(w.rows(), t, threads)))
}

/// `w`, followed by `next` if that is known.
fn follow<'a>(w: Matrix<'a>, next: Option<Matrix<'a>>) -> Matrix<'a> {
    next.map_or(w, |next| w.followed_by(&next))
}

/// What a trace calls a norm.
fn name_of(w: &NormWeights<'_>) -> String {
    w.weight.as_ref().map_or("norm".to_owned(), |w| trace::name_of(w.as_ptr().cast(), "norm").to_string())
}

/// What a trace says of projections.
fn work_of(projections: &[(&Linear<'_>, Input<'_>, &mut [f32])]) -> Work {
    let most = projections.iter().map(|(_, input, _)| input.n).max().unwrap_or(0);
    let mut work = Work::light("", most);
    for (linear, input, _) in projections {
        let w = &linear.weight;
        // The embedding's own rows are looked up and not multiplied: here it is the output of a model that shares them.
        let name = trace::name_of(w.data().as_ptr(), "projection").replace("token_embd", "output");
        // Experts and the parts of a fused tensor are one.
        if !work.name.ends_with(&name) {
            let separator = if work.name.is_empty() { "" } else { "+" };
            work.name.extend([separator, &name]);
        }
        work.bytes += w.data().len();
        work.macs += w.rows() * w.cols() * input.n;
    }
    work
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_every_row_once_in_whole_tiles() {
        for threads in 1..=9 {
            for rows in (0..=5 * ROW_TILE).chain([576, 1000, 49152]) {
                let shares: Vec<_> = (0..threads).map(|t| share(rows, t, threads)).collect();
                assert_eq!(
                    (shares[0].start, shares[threads - 1].end),
                    (0, rows),
                    "{rows} rows, {threads} threads"
                );
                assert!(shares.windows(2).all(|s| s[0].end == s[1].start), "{shares:?}");
                let whole = |s: &&Range<usize>| s.start.is_multiple_of(ROW_TILE) || s.is_empty();
                assert_eq!(shares.iter().find(|s| !whole(s)), None, "{rows} rows, {threads} threads");
                // As even as whole tiles can be.
                let tiles = |s: &Range<usize>| s.len().div_ceil(ROW_TILE);
                let (most, least) = (shares.iter().map(tiles).max(), shares.iter().map(tiles).min());
                assert!(most <= least.map(|n| n + 1), "{shares:?}");
            }
        }
    }
}
