//! Attention of a batch over the paged cache, contract section 8.
//!
//! Pages are the contract's absolute blocks. A short batch (decode) is divided by pages, whose partial results are folded in
//! order afterwards; a long one (prefill) by tiles of tokens, each of which folds its pages as it goes. The bits are the same.

use super::cache::{AttentionCache, HeadCache};
use super::ops::{Input, Ops, Quantized, TiledRows};
use crate::model::spec::AttentionSpec;
use crate::trace::{self, Work};
use kinglet_kernels::{AttentionParams, KV_PAGE, KvLayout, Partial, PartialRef, QueryRow, Strided};
use std::ops::Range;

/// Up to this many tokens are divided by pages.
const SHORT: usize = 16;
/// About so many tokens are a tile of a long batch.
const TILE: usize = 16;
/// Rows that the kernels of every tier take without a remainder: they do 12, 6 or 4 at once, and what is left is slower.
const WHOLE_ROWS: usize = 12;

/// Tokens per tile, for key heads that `group` heads share: whole rows for the kernels, and as near to [`TILE`] as that allows.
fn tile_tokens(group: usize) -> usize {
    let common = (1..=WHOLE_ROWS).rev().find(|d| WHOLE_ROWS.is_multiple_of(*d) && group.is_multiple_of(*d));
    let whole = WHOLE_ROWS / common.unwrap_or(1);
    (TILE + whole / 2) / whole * whole
}

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

/// Partial results of some rows.
struct Rows<'a> {
    m: &'a mut [f32],
    l: &'a mut [f32],
    o: &'a mut [f32],
}

impl<'a> Rows<'a> {
    /// Values of memory for each row.
    fn width(layout: KvLayout) -> usize {
        2 + layout.output_dim()
    }

    /// `rows` of them with what is in the first values of `memory`, which has these; and the other values.
    fn new(memory: &'a mut [f32], rows: usize, layout: KvLayout) -> (Rows<'a>, &'a mut [f32]) {
        let (mine, rest) = memory.split_at_mut(rows * Rows::width(layout));
        let (m, mine) = mine.split_at_mut(rows);
        let (l, o) = mine.split_at_mut(rows);
        (Rows { m, l, o }, rest)
    }

    /// Nothing has been folded yet.
    fn clear(&mut self) {
        self.m.fill(f32::NEG_INFINITY);
        self.l.fill(0.0);
        self.o.fill(0.0);
    }

    fn partial(&mut self) -> Partial<'_> {
        Partial { m: self.m, l: self.l, o: self.o }
    }

    fn read(&self) -> PartialRef<'_> {
        PartialRef { m: self.m, l: self.l, o: self.o }
    }

    /// Those of `range`.
    fn read_rows(&self, range: Range<usize>) -> PartialRef<'_> {
        let dim = self.o.len() / self.m.len();
        let o = &self.o[range.start * dim..range.end * dim];
        PartialRef { m: &self.m[range.clone()], l: &self.l[range], o }
    }
}

/// The queries of some tokens for one key head, gathered: rows are tokens, and within a token the heads that share the key head.
struct Queries<'a> {
    q: &'a [f32],
    rows: Vec<QueryRow>,
    /// The key head.
    head: usize,
    pages: Range<usize>,
}

impl<'a> Queries<'a> {
    /// Into `memory`, which has `head_dim` values for each row.
    fn gather(
        spec: &AttentionSpec,
        head: usize,
        position: usize,
        q: &[f32],
        memory: &'a mut [f32],
    ) -> Queries<'a> {
        let group = spec.n_heads / spec.n_kv_heads;
        let (stride, width) = (spec.n_heads * spec.head_dim, group * spec.head_dim);
        let mut rows = Vec::with_capacity(q.len() / stride * group);
        for (i, (q, to)) in q.chunks(stride).zip(memory.chunks_mut(width)).enumerate() {
            to.copy_from_slice(&q[head * width..(head + 1) * width]);
            let position = position + i;
            let first = spec.window.map_or(0, |w| (position + 1).saturating_sub(w));
            let slope = |h: usize| spec.slopes.get(head * group + h).copied().unwrap_or(0.0);
            let row = |h| QueryRow { position, visible: first..position + 1, slope: slope(h) };
            rows.extend((0..group).map(row));
        }
        let first = rows.first().map_or(0, |r: &QueryRow| r.visible.start);
        let last = rows.last().map_or(0, |r| r.visible.end);
        Queries { q: memory, rows, head, pages: first / KV_PAGE..last.div_ceil(KV_PAGE) }
    }
}

/// Whether [`attend_quantized`] takes `n` tokens.
pub(super) fn is_long(n: usize) -> bool {
    n > SHORT
}

/// `att = attention`, `[n][n_heads * value_dim]`, of `q: [n][n_heads * head_dim]` once `prepare(first token, rows)` has been called for
/// the queries of every token.
pub(super) fn attend(
    ops: &Ops<'_>,
    spec: &AttentionSpec,
    heads: &Heads<'_>,
    q: &mut [f32],
    prepare: impl Fn(usize, &mut [f32]) + Sync,
    att: &mut [f32],
) {
    let n = q.len() / (spec.n_heads * spec.head_dim);
    if !is_long(n) {
        ops.token_rows(|| Work::light("q_norm+rope", n), q, n, prepare);
        let _op = trace::op(|| work_of(spec, heads, n, "attention"));
        return by_pages(ops, spec, heads, q, att);
    }
    let _op = trace::op(|| work_of(spec, heads, n, "q_norm+rope+attention"));
    let tiles = Tiles::new(spec, n);
    let parts = tiles.of(q).zip(att.chunks_mut(tiles.tokens * tiles.width)).collect();
    ops.crew.for_each_owned(parts, |worker, ((first, q), att)| {
        prepare(first, q);
        let mut memory = ops.crew.values(worker, tiles.memory(heads));
        attend_tile(ops, worker, spec, heads, (first, q), att, &mut memory);
    });
}

/// As [`attend`], of a long batch, quantized into `space`: no floats but a tile's are written.
pub(super) fn attend_quantized<'b>(
    ops: &Ops<'_>,
    spec: &AttentionSpec,
    heads: &Heads<'_>,
    q: &mut [f32],
    prepare: impl Fn(usize, &mut [f32]) + Sync,
    space: &'b mut Quantized,
) -> Input<'b> {
    let n = q.len() / (spec.n_heads * spec.head_dim);
    let _op = trace::op(|| work_of(spec, heads, n, "q_norm+rope+attention+quantize"));
    let tiles = Tiles::new(spec, n);
    let rows = TiledRows { n, k: tiles.width, tile: tiles.tokens };
    ops.quantize_tiles(tiles.of(q), rows, space, |worker, ((first, q), codes, d, sums)| {
        prepare(first, q);
        let mut memory = ops.crew.values(worker, tiles.memory(heads) + codes.len());
        let (att, memory) = memory.split_at_mut(codes.len());
        attend_tile(ops, worker, spec, heads, (first, q), att, memory);
        ops.note(ops.kernels.quantize(att, codes, d, sums));
    });
    ops.quantized(space, n, tiles.width)
}

/// What a trace says of the attention of `n` tokens; a batch reads its keys and values once, if the caches are large enough.
fn work_of(spec: &AttentionSpec, heads: &Heads<'_>, n: usize, name: &str) -> Work {
    let first = |position: usize| spec.window.map_or(0, |w| (position + 1).saturating_sub(w));
    let (start, end) = (heads.position, heads.position + n);
    let visible: usize = (start..end).map(|p| p + 1 - first(p)).sum();
    let layout = heads.cache.layout;
    let position_bytes = (layout.key_page_bytes() + layout.value_page_bytes()) / KV_PAGE;
    Work {
        bytes: (end - first(start)) * spec.n_kv_heads * position_bytes,
        macs: visible * spec.n_heads * (spec.head_dim + spec.value_dim),
        ..Work::light(name, n)
    }
}

/// One page's part for all rows of `queries`.
fn attend_page(
    ops: &Ops<'_>,
    worker: usize,
    spec: &AttentionSpec,
    heads: &Heads<'_>,
    queries: &Queries<'_>,
    page: usize,
    out: &mut Rows<'_>,
) {
    let layout = heads.cache.layout;
    let params = AttentionParams { scale: spec.scale, softcap: spec.softcap };
    let mut scratch = ops.crew.scratch(worker);
    let need = ops.kernels.attention_scratch(layout, queries.rows.len());
    if scratch.len() < need {
        scratch.resize(need, 0);
    }
    let (keys, values) = heads.cache.heads[queries.head].page(page);
    let (q, rows) = (queries.q, &queries.rows);
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
    let rows = q.len() / (spec.n_kv_heads * spec.head_dim);
    let mut gathered = vec![0.0; q.len()];
    let memory = gathered.chunks_mut(rows * spec.head_dim).enumerate();
    let queries: Vec<_> =
        memory.map(|(h, memory)| Queries::gather(spec, h, heads.position, q, memory)).collect();
    let n_parts: usize = queries.iter().map(|q| q.pages.len()).sum();
    let mut memory = vec![0.0; (n_parts + 1) * rows * Rows::width(layout)];
    let (mut all, mut rest) = Rows::new(&mut memory, rows, layout);
    let mut parts: Vec<(usize, usize, Rows<'_>)> = Vec::with_capacity(n_parts);
    for (h, queries) in queries.iter().enumerate() {
        for page in queries.pages.clone() {
            let part;
            (part, rest) = Rows::new(rest, rows, layout);
            parts.push((h, page, part));
        }
    }
    let work = parts.iter_mut().collect();
    ops.crew.for_each_owned(work, |worker, (h, p, out)| {
        attend_page(ops, worker, spec, heads, &queries[*h], *p, out)
    });
    let mut parts = parts.into_iter().peekable();
    for h in 0..queries.len() {
        all.clear();
        while let Some((_, _, part)) = parts.next_if(|(of, _, _)| *of == h) {
            ops.note(ops.kernels.attention_fold(all.partial(), &part.read()));
        }
        finish(ops, spec, heads, h, &all, att);
    }
}

/// How a long batch is divided.
struct Tiles {
    /// Tokens of each, the last one perhaps less.
    tokens: usize,
    /// Queries of a token.
    queries: usize,
    /// What the heads return for a token.
    width: usize,
    /// Rows of a key head in a tile.
    rows: usize,
    head_dim: usize,
}

impl Tiles {
    fn new(spec: &AttentionSpec, n: usize) -> Tiles {
        let group = spec.n_heads / spec.n_kv_heads;
        let tokens = tile_tokens(group).min(n);
        let (queries, width) = (spec.n_heads * spec.head_dim, spec.n_heads * spec.value_dim);
        Tiles { tokens, queries, width, rows: tokens * group, head_dim: spec.head_dim }
    }

    /// The first token of each tile, and its queries.
    fn of<'q>(&self, q: &'q mut [f32]) -> impl Iterator<Item = (usize, &'q mut [f32])> + use<'q> {
        let tokens = self.tokens;
        q.chunks_mut(tokens * self.queries).enumerate().map(move |(i, q)| (i * tokens, q))
    }

    /// Values of memory that a tile takes. The thread keeps it: what is freed after every tile may go back to the system each time.
    fn memory(&self, heads: &Heads<'_>) -> usize {
        self.rows * (2 * Rows::width(heads.cache.layout) + self.head_dim)
    }
}

/// The results `att` of a tile whose first token and queries these are.
fn attend_tile(
    ops: &Ops<'_>,
    worker: usize,
    spec: &AttentionSpec,
    heads: &Heads<'_>,
    (first, q): (usize, &[f32]),
    att: &mut [f32],
    memory: &mut [f32],
) {
    let layout = heads.cache.layout;
    let rows = q.len() / (spec.n_kv_heads * spec.head_dim);
    let (mut all, rest) = Rows::new(memory, rows, layout);
    let (mut part, rest) = Rows::new(rest, rows, layout);
    let gathered = &mut rest[..rows * spec.head_dim];
    for h in 0..spec.n_kv_heads {
        let queries = Queries::gather(spec, h, heads.position + first, q, gathered);
        all.clear();
        for p in queries.pages.clone() {
            attend_page(ops, worker, spec, heads, &queries, p, &mut part);
            ops.note(ops.kernels.attention_fold(all.partial(), &part.read()));
        }
        finish(ops, spec, heads, h, &all, att);
    }
}

/// Writes the result of key head `h` to its places in `att`.
fn finish(ops: &Ops<'_>, spec: &AttentionSpec, heads: &Heads<'_>, h: usize, all: &Rows<'_>, att: &mut [f32]) {
    let group = spec.n_heads / spec.n_kv_heads;
    let width = group * spec.value_dim;
    for (token, att) in att.chunks_mut(spec.n_heads * spec.value_dim).enumerate() {
        let rows = all.read_rows(token * group..(token + 1) * group);
        let att = &mut att[h * width..(h + 1) * width];
        ops.note(ops.kernels.attention_finish(heads.cache.layout, rows, att));
    }
}

#[cfg(test)]
mod tests {
    use super::{TILE, WHOLE_ROWS, tile_tokens};

    #[test]
    fn tiles_are_whole_rows_and_about_as_many_tokens_as_wanted() {
        for group in 1..=128 {
            let tokens = tile_tokens(group);
            assert!((tokens * group).is_multiple_of(WHOLE_ROWS), "{group} heads: {tokens} tokens");
            assert!(tokens.abs_diff(TILE) <= WHOLE_ROWS / 2, "{group} heads: {tokens} tokens");
        }
        // SmolLM2, Gemma 3, Qwen2.5.
        assert_eq!([3, 4, 7].map(tile_tokens), [16, 15, 12]);
    }
}
