//! Attention of a batch over the paged cache, contract section 8.
//!
//! Pages are the contract's absolute blocks. A short batch (decode) is divided by pages, whose partial results are folded in
//! order afterwards; a long one (prefill) by tiles of tokens, each of which folds its pages as it goes. The bits are the same.

use super::cache::{AttentionCache, HeadCache};
use super::ops::Ops;
use crate::model::spec::AttentionSpec;
use crate::trace::{self, Work};
use kinglet_kernels::{AttentionParams, KV_PAGE, Partial, PartialRef, QueryRow, Strided};
use std::ops::Range;

/// Up to this many tokens are divided by pages.
const SHORT: usize = 16;
/// Tokens per tile of a long batch.
const TILE: usize = 16;

/// The cache of a layer, and where the batch begins.
pub(super) struct Heads<'a> {
    pub(super) cache: &'a mut AttentionCache,
    pub(super) position: usize,
}

impl Heads<'_> {
    /// Stores the batch's keys `[n][n_kv_heads * head_dim]` and values `[n][n_kv_heads * value_dim]`.
    pub(super) fn store(&mut self, ops: &Ops<'_>, spec: &AttentionSpec, k: &[f32], v: &[f32]) {
        let _op = trace::op(|| Work::light("kv_store", k.len() / (spec.n_kv_heads * spec.head_dim)));
        let (kd, vd) = (spec.head_dim, spec.value_dim);
        let n = k.len() / (spec.n_kv_heads * kd);
        let heads: Vec<_> = self.cache.heads.iter_mut().enumerate().collect();
        let store = |h: usize, head: &mut HeadCache| {
            let k = Strided { values: &k[h * kd..], stride: spec.n_kv_heads * kd };
            let v = Strided { values: &v[h * vd..], stride: spec.n_kv_heads * vd };
            ops.note(head.store(&ops.kernels, self.position..self.position + n, k, v));
        };
        if n <= 4 {
            // Cheaper than a hand-over to another thread.
            heads.into_iter().for_each(|(h, head)| store(h, head));
        } else {
            ops.crew.for_each_owned(heads, |_, (h, head)| store(h, head));
        }
    }
}

/// Partial results of some rows, owned.
struct Rows {
    m: Vec<f32>,
    l: Vec<f32>,
    o: Vec<f32>,
}

impl Rows {
    fn new(rows: usize, output_dim: usize) -> Rows {
        Rows { m: vec![f32::NEG_INFINITY; rows], l: vec![0.0; rows], o: vec![0.0; rows * output_dim] }
    }

    /// As [`Rows::new`] made them.
    fn clear(&mut self) {
        self.m.fill(f32::NEG_INFINITY);
        self.l.fill(0.0);
        self.o.fill(0.0);
    }

    fn partial(&mut self) -> Partial<'_> {
        Partial { m: &mut self.m, l: &mut self.l, o: &mut self.o }
    }

    fn read(&self) -> PartialRef<'_> {
        PartialRef { m: &self.m, l: &self.l, o: &self.o }
    }

    /// Those of `range`.
    fn read_rows(&self, range: Range<usize>) -> PartialRef<'_> {
        let dim = self.o.len() / self.m.len();
        let o = &self.o[range.start * dim..range.end * dim];
        PartialRef { m: &self.m[range.clone()], l: &self.l[range], o }
    }
}

/// The queries of some tokens for one key head, gathered: rows are tokens, and within a token the heads that share the key head.
struct Queries {
    q: Vec<f32>,
    rows: Vec<QueryRow>,
    /// The key head.
    head: usize,
    pages: Range<usize>,
}

impl Queries {
    fn gather(spec: &AttentionSpec, kv_head: usize, position: usize, q: &[f32]) -> Queries {
        let group = spec.n_heads / spec.n_kv_heads;
        let stride = spec.n_heads * spec.head_dim;
        let width = group * spec.head_dim;
        let n = q.len() / stride;
        let (values, rows) = (Vec::with_capacity(n * width), Vec::with_capacity(n * group));
        let mut gathered = Queries { q: values, rows, head: kv_head, pages: 0..0 };
        for (i, q) in q.chunks(stride).enumerate() {
            gathered.q.extend_from_slice(&q[kv_head * width..(kv_head + 1) * width]);
            let position = position + i;
            let first = spec.window.map_or(0, |w| (position + 1).saturating_sub(w));
            let slope = |h: usize| spec.slopes.get(kv_head * group + h).copied().unwrap_or(0.0);
            let row = |h| QueryRow { position, visible: first..position + 1, slope: slope(h) };
            gathered.rows.extend((0..group).map(row));
        }
        let first = gathered.rows.first().map_or(0, |r| r.visible.start);
        let last = gathered.rows.last().map_or(0, |r| r.visible.end);
        gathered.pages = first / KV_PAGE..last.div_ceil(KV_PAGE);
        gathered
    }
}

/// `att[token] = attention of its queries`, `q: [n][n_heads * head_dim]`, `att: [n][n_heads * value_dim]`.
pub(super) fn attend(ops: &Ops<'_>, spec: &AttentionSpec, heads: &Heads<'_>, q: &[f32], att: &mut [f32]) {
    let n = q.len() / (spec.n_heads * spec.head_dim);
    let _op = trace::op(|| work_of(spec, heads, n));
    if n <= SHORT { by_pages(ops, spec, heads, q, att) } else { by_tokens(ops, spec, heads, q, att) }
}

/// What a trace says of the attention of `n` tokens; a batch reads its keys and values once, if the caches are large enough.
fn work_of(spec: &AttentionSpec, heads: &Heads<'_>, n: usize) -> Work {
    let first = |position: usize| spec.window.map_or(0, |w| (position + 1).saturating_sub(w));
    let (start, end) = (heads.position, heads.position + n);
    let visible: usize = (start..end).map(|p| p + 1 - first(p)).sum();
    let layout = heads.cache.layout;
    let position_bytes = (layout.key_page_bytes() + layout.value_page_bytes()) / KV_PAGE;
    Work {
        bytes: (end - first(start)) * spec.n_kv_heads * position_bytes,
        macs: visible * spec.n_heads * (spec.head_dim + spec.value_dim),
        ..Work::light("attention", n)
    }
}

/// One page's part for all rows of `queries`.
fn attend_page(
    ops: &Ops<'_>,
    worker: usize,
    spec: &AttentionSpec,
    heads: &Heads<'_>,
    queries: &Queries,
    page: usize,
    out: &mut Rows,
) {
    let layout = heads.cache.layout;
    let params = AttentionParams { scale: spec.scale, softcap: spec.softcap };
    let mut scratch = ops.crew.scratch(worker);
    let need = ops.kernels.attention_scratch(layout, queries.rows.len());
    if scratch.len() < need {
        scratch.resize(need, 0);
    }
    let (keys, values) = heads.cache.heads[queries.head].page(page);
    let (q, rows) = (&queries.q, &queries.rows);
    ops.note(ops.kernels.attention_page(
        layout,
        params,
        q,
        rows,
        page,
        keys,
        values,
        out.partial(),
        &mut scratch,
    ));
}

fn by_pages(ops: &Ops<'_>, spec: &AttentionSpec, heads: &Heads<'_>, q: &[f32], att: &mut [f32]) {
    let layout = heads.cache.layout;
    let gather = |h| Queries::gather(spec, h, heads.position, q);
    let queries: Vec<Queries> = (0..spec.n_kv_heads).map(gather).collect();
    let mut parts: Vec<(usize, usize, Rows)> = Vec::new();
    for (h, queries) in queries.iter().enumerate() {
        let rows = |page| (h, page, Rows::new(queries.rows.len(), layout.output_dim()));
        parts.extend(queries.pages.clone().map(rows));
    }
    let work = parts.iter_mut().collect();
    ops.crew.for_each_owned(work, |worker, (h, p, out)| {
        attend_page(ops, worker, spec, heads, &queries[*h], *p, out)
    });
    let mut parts = parts.into_iter().peekable();
    for (h, queries) in queries.iter().enumerate() {
        let mut all = Rows::new(queries.rows.len(), layout.output_dim());
        while let Some((_, _, part)) = parts.next_if(|(of, _, _)| *of == h) {
            ops.note(ops.kernels.attention_fold(all.partial(), &part.read()));
        }
        finish(ops, spec, heads, h, &all, att);
    }
}

fn by_tokens(ops: &Ops<'_>, spec: &AttentionSpec, heads: &Heads<'_>, q: &[f32], att: &mut [f32]) {
    let layout = heads.cache.layout;
    let (q_tile, att_tile) = (TILE * spec.n_heads * spec.head_dim, TILE * spec.n_heads * spec.value_dim);
    let tiles = q.chunks(q_tile).zip(att.chunks_mut(att_tile)).enumerate().collect();
    ops.crew.for_each_owned(tiles, |worker, (tile, (q, att))| {
        let rows = q.len() / (spec.n_kv_heads * spec.head_dim);
        let (mut all, mut part) =
            (Rows::new(rows, layout.output_dim()), Rows::new(rows, layout.output_dim()));
        for h in 0..spec.n_kv_heads {
            let queries = Queries::gather(spec, h, heads.position + tile * TILE, q);
            all.clear();
            for p in queries.pages.clone() {
                attend_page(ops, worker, spec, heads, &queries, p, &mut part);
                ops.note(ops.kernels.attention_fold(all.partial(), &part.read()));
            }
            finish(ops, spec, heads, h, &all, att);
        }
    });
}

/// Writes the result of key head `h` to its places in `att`.
fn finish(ops: &Ops<'_>, spec: &AttentionSpec, heads: &Heads<'_>, h: usize, all: &Rows, att: &mut [f32]) {
    let group = spec.n_heads / spec.n_kv_heads;
    let width = group * spec.value_dim;
    for (token, att) in att.chunks_mut(spec.n_heads * spec.value_dim).enumerate() {
        let rows = all.read_rows(token * group..(token + 1) * group);
        let att = &mut att[h * width..(h + 1) * width];
        ops.note(ops.kernels.attention_finish(heads.cache.layout, rows, att));
    }
}
