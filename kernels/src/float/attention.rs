//! Attention of some query rows to one page of one KV head: contract section 8, `score` and `block`.
//!
//! Rows are taken in register tiles. Scores: R rows x 16 keys, lanes are keys, a query value is broadcast; the keys are widened
//! once per tile. Then softmax row by row. Then outputs: R rows x 16 value dimensions, lanes are dimensions, a weight is
//! broadcast, keys ascend. Tiles of few rows take several groups of keys or dimensions at once instead, to keep enough
//! independent accumulators for the latency of an fma.

#![allow(clippy::needless_range_loop, reason = "row and group index several arrays at once")]

use super::attention_api::{AttentionParams, QueryRow};
use super::kv::{KEYS, KV_PAGE, KvLayout, KvType, QuantizeFn, quantize_block};
use super::lanes::Lanes;
use super::math;
use crate::prefetch::Ahead;
use std::ops::Range;

/// The most rows in a tile of any tier.
const MAX_ROWS: usize = 12;
/// From one row's scores to the next: not a power of two, so that the rows of a tile do not share a set of the cache.
const STRIDE: usize = KV_PAGE + 16;

/// Bytes of keys or values that are fetched while those before them are used, when few rows share them, which is when memory is the
/// limit. Values are gone through in blocks of so many bytes, so that they are still there for every tile of dimensions.
const WINDOW: usize = 32 << 10;
/// So many steps of a loop go without fetching: it would cost the loop registers.
const STEPS: usize = 16;
/// Rows up to which that pays.
const FEW: usize = 16;

/// Everything [`attention_page`] works on. Lengths are checked by `Kernels::attention_page`.
pub(super) struct Page<'a> {
    pub layout: KvLayout,
    pub params: AttentionParams,
    /// `[rows][head_dim]`
    pub q: &'a [f32],
    pub rows: &'a [QueryRow],
    /// The absolute position of the page's first key.
    pub first: usize,
    pub keys: &'a [u8],
    pub values: &'a [u8],
    /// `[rows]`
    pub m: &'a mut [f32],
    /// `[rows]`
    pub l: &'a mut [f32],
    /// `[rows][output_dim]`
    pub o: &'a mut [f32],
    /// [`scratch_bytes`]
    pub scratch: &'a mut [u8],
    pub quantize: QuantizeFn,
}

impl Page<'_> {
    #[inline(always)]
    fn few_rows(&self) -> bool {
        self.rows.len() <= FEW
    }

    /// Rows of `row_bytes` bytes in a window: all where nothing is fetched ahead.
    #[inline(always)]
    fn window(&self, row_bytes: usize) -> usize {
        if self.few_rows() { (WINDOW / row_bytes).max(1) } else { KV_PAGE }
    }

    /// To fetch `rows` of `row_bytes` bytes of those at `start`, where anything is fetched.
    #[inline(always)]
    fn ahead(&self, start: &[u8], row_bytes: usize, rows: Range<usize>) -> Ahead {
        let bytes = if self.few_rows() { rows.len() * row_bytes } else { 0 };
        Ahead::new(start.as_ptr().wrapping_add(rows.start * row_bytes), bytes)
    }

    /// Values of a key in the page, padding included.
    fn key_values(&self) -> usize {
        if self.layout.ty == KvType::Q8_0 { 32 * self.layout.key_blocks() } else { self.layout.head_dim }
    }

    /// The keys of this page that row `r` sees, from the page's first; `0..0` when there are none.
    fn visible(&self, r: usize) -> Range<usize> {
        let all = &self.rows[r].visible;
        let lo = all.start.saturating_sub(self.first).min(KV_PAGE);
        let hi = all.end.saturating_sub(self.first).min(KV_PAGE);
        if lo < hi { lo..hi } else { 0..0 }
    }
}

/// Bytes of scratch: scores of a tile of rows and, for a Q8_0 cache, their quantized queries.
pub(super) fn scratch_bytes(layout: KvLayout) -> usize {
    // Asked for before the layout is checked.
    let quantized = if layout.ty == KvType::Q8_0 { layout.key_blocks().wrapping_mul(32 + 4) } else { 0 };
    MAX_ROWS.wrapping_mul(quantized.wrapping_add(STRIDE * 4))
}

/// A tile's parts of the scratch.
#[derive(Clone, Copy)]
struct Scratch {
    /// `[MAX_ROWS][STRIDE]` scores of 512 keys, then weights.
    scores: *mut f32,
    /// `[MAX_ROWS][blocks]` scales of quantized queries.
    scales: *mut f32,
    /// `[MAX_ROWS][blocks * 32]` codes of quantized queries.
    codes: *mut i8,
}

impl Scratch {
    /// Unaligned; nothing in it is read before it is written.
    #[inline(always)]
    unsafe fn new(page: &mut Page<'_>) -> Scratch {
        let scores: *mut f32 = page.scratch.as_mut_ptr().cast();
        // SAFETY: the scratch has `scratch_bytes`; the last two parts are only used when they are there.
        unsafe {
            let scales = scores.byte_add(MAX_ROWS * STRIDE * 4);
            let blocks = if page.layout.ty == KvType::Q8_0 { page.layout.key_blocks() } else { 0 };
            Scratch { scores, scales, codes: scales.byte_add(MAX_ROWS * blocks * 4).cast() }
        }
    }
}

/// How keys and values are read.
trait Cache {
    /// Scores of rows `r0..r0 + R` with the keys of groups `g..g + G`, not yet scaled.
    unsafe fn scores<L: Lanes, const R: usize, const G: usize>(
        page: &Page<'_>,
        scratch: Scratch,
        r0: usize,
        g: usize,
        ahead: &mut Ahead,
    ) -> [[L; G]; R];
    /// Bytes of one dimension of a key or value, without scales.
    const BYTES: usize;
    /// Dimensions `t..t + 16` of the value of key `j` of the page.
    unsafe fn value<L: Lanes>(page: &Page<'_>, j: usize, t: usize) -> L;
}

/// A cache of f32 (4 bytes) or f16 (2 bytes).
struct Floats<const BYTES: usize>;

#[inline(always)]
unsafe fn widen<L: Lanes, const BYTES: usize>(p: *const u8) -> L {
    // SAFETY: the caller's 16 values and the features of `L`.
    unsafe { if BYTES == 4 { L::load(p.cast()) } else { L::load_f16(p.cast()) } }
}

impl<const BYTES: usize> Cache for Floats<BYTES> {
    const BYTES: usize = BYTES;
    #[inline(always)]
    unsafe fn scores<L: Lanes, const R: usize, const G: usize>(
        page: &Page<'_>,
        _: Scratch,
        r0: usize,
        g: usize,
        ahead: &mut Ahead,
    ) -> [[L; G]; R] {
        let head_dim = page.layout.head_dim;
        // SAFETY: rows r0..r0 + R and groups g..g + G exist; each group is [head_dim][16].
        unsafe {
            let q = page.q.as_ptr().add(r0 * head_dim);
            let keys = page.keys.as_ptr().add(g * head_dim * KEYS * BYTES);
            let mut s = [[L::splat(0.0); G]; R];
            for first in (0..head_dim).step_by(STEPS) {
                ahead.fetch(STEPS * G * KEYS * BYTES);
                for t in first..(first + STEPS).min(head_dim) {
                    let mut k = [L::splat(0.0); G];
                    for g in 0..G {
                        k[g] = widen::<L, BYTES>(keys.add((g * head_dim + t) * KEYS * BYTES));
                    }
                    for r in 0..R {
                        let q = L::splat(*q.add(r * head_dim + t));
                        for g in 0..G {
                            s[r][g] = q.fma(k[g], s[r][g]);
                        }
                    }
                }
            }
            s
        }
    }

    #[inline(always)]
    unsafe fn value<L: Lanes>(page: &Page<'_>, j: usize, t: usize) -> L {
        // SAFETY: key j < 512 and t + 16 <= output_dim.
        unsafe { widen::<L, BYTES>(page.values.as_ptr().add((j * page.layout.output_dim() + t) * BYTES)) }
    }
}

struct Codes;

impl Cache for Codes {
    const BYTES: usize = 1;
    #[inline(always)]
    unsafe fn scores<L: Lanes, const R: usize, const G: usize>(
        page: &Page<'_>,
        scratch: Scratch,
        _: usize,
        g: usize,
        ahead: &mut Ahead,
    ) -> [[L; G]; R] {
        let blocks = page.layout.key_blocks();
        // SAFETY: groups g..g + G exist, each `blocks` blocks of [8][16][4] codes and of 16 scales; the scratch holds R
        // quantized queries.
        unsafe {
            let keys: *const i8 = page.keys.as_ptr().cast();
            let scales: *const u16 = page.keys.as_ptr().add(page.layout.key_scales()).cast();
            let mut s = [[L::splat(0.0); G]; R];
            for b in 0..blocks {
                let mut sums = [[L::zero_ints(); G]; R];
                ahead.fetch(8 * G * KEYS * 4);
                for t in 0..8 {
                    for g1 in 0..G {
                        let k = L::load_bytes(keys.add((((g + g1) * blocks + b) * 8 + t) * 4 * KEYS));
                        for r in 0..R {
                            let q = scratch.codes.add(((r * blocks + b) * 8 + t) * 4);
                            sums[r][g1] = L::dot4(sums[r][g1], k, q.cast::<i32>().read_unaligned());
                        }
                    }
                }
                for g1 in 0..G {
                    let dk = L::load_f16(scales.add(((g + g1) * blocks + b) * KEYS));
                    for r in 0..R {
                        let dq = L::splat(scratch.scales.add(r * blocks + b).read_unaligned());
                        s[r][g1] = dq.mul(dk).fma(L::from_ints(sums[r][g1]), s[r][g1]);
                    }
                }
            }
            s
        }
    }

    #[inline(always)]
    unsafe fn value<L: Lanes>(page: &Page<'_>, j: usize, t: usize) -> L {
        // SAFETY: key j < 512 and t + 16 <= output_dim, so block t / 32 exists.
        unsafe {
            let values = page.values.as_ptr();
            let scales: *const u16 = values.add(page.layout.value_scales()).cast();
            let d = L::splat_f16(scales.add(j * page.layout.value_blocks() + t / 32));
            d.mul(L::load_i8(values.add(j * page.layout.output_dim() + t).cast()))
        }
    }
}

#[inline(always)]
pub(super) unsafe fn attention_page<L: Lanes>(page: &mut Page<'_>) {
    // SAFETY: the caller's: lengths are checked and the tier is usable.
    unsafe {
        match page.layout.ty {
            KvType::F32 => tiles::<L, Floats<4>>(page, L::ROWS),
            KvType::F16 => tiles::<L, Floats<2>>(page, L::ROWS),
            KvType::Q8_0 => tiles::<L, Codes>(page, 4),
        }
    }
}

/// All rows, up to `most` at a time.
#[inline(always)]
unsafe fn tiles<L: Lanes, C: Cache>(page: &mut Page<'_>, most: usize) {
    if L::ROWS == 1 {
        // SAFETY: every row exists.
        (0..page.rows.len()).for_each(|r| unsafe { tile::<L, C, 1, 1>(page, r) });
        return;
    }
    let mut r = 0;
    while r < page.rows.len() {
        let left = page.rows.len() - r;
        let rows = if left >= most { most } else { left.min(if L::ROWS == MAX_ROWS { 8 } else { 6 }) };
        // SAFETY: rows r..r + rows exist, and rows <= most.
        unsafe {
            match rows {
                1 => tile::<L, C, 1, 4>(page, r),
                2 => tile::<L, C, 2, 2>(page, r),
                3 => tile::<L, C, 3, 2>(page, r),
                4 => tile::<L, C, 4, 1>(page, r),
                5 => tile::<L, C, 5, 1>(page, r),
                6 if L::ROWS < MAX_ROWS => tile::<L, C, 6, 1>(page, r),
                6 => tile::<L, C, 6, 2>(page, r),
                7 if L::ROWS == MAX_ROWS => tile::<L, C, 7, 2>(page, r),
                8 if L::ROWS == MAX_ROWS => tile::<L, C, 8, 2>(page, r),
                _ if L::ROWS == MAX_ROWS => tile::<L, C, MAX_ROWS, 2>(page, r),
                _ => {}
            }
        }
        r += rows;
    }
}

/// Rows `r0..r0 + R`, up to `G` groups of keys or of value dimensions at a time.
#[inline(always)]
unsafe fn tile<L: Lanes, C: Cache, const R: usize, const G: usize>(page: &mut Page<'_>, r0: usize) {
    let dim = page.layout.output_dim();
    let visible: [Range<usize>; R] = std::array::from_fn(|r| page.visible(r0 + r));
    // Over the rows that see anything: all that any sees, and what each of them sees.
    let (mut any, mut each) = (Range { start: KV_PAGE, end: 0 }, 0..KV_PAGE);
    for v in &visible {
        if v.end > 0 {
            any = any.start.min(v.start)..any.end.max(v.end);
        }
        each = each.start.max(v.start)..each.end.min(v.end);
    }
    page.o[r0 * dim..(r0 + R) * dim].fill(0.0);
    page.m[r0..r0 + R].fill(f32::NEG_INFINITY);
    page.l[r0..r0 + R].fill(0.0);
    if any.is_empty() {
        return;
    }
    // SAFETY: rows r0..r0 + R exist; all ranges lie within the page.
    unsafe {
        let scratch = Scratch::new(page);
        if page.layout.ty == KvType::Q8_0 {
            quantize_queries(page, scratch, r0, R);
        }
        let (group_bytes, value_bytes) = (KEYS * C::BYTES * page.key_values(), dim * C::BYTES);
        let (mut g, end) = (any.start / KEYS, any.end.div_ceil(KEYS));
        let window = page.window(group_bytes).next_multiple_of(G);
        page.ahead(page.keys, group_bytes, g..(g + window).min(end)).fetch(window * group_bytes);
        while g < end {
            let until = (g + window).min(end);
            let mut ahead = if until < end {
                page.ahead(page.keys, group_bytes, until..(until + window).min(end))
            } else {
                let values = any.start..(any.start + page.window(value_bytes)).min(any.end);
                page.ahead(page.values, value_bytes, values)
            };
            while until - g >= G {
                let s = C::scores::<L, R, G>(page, scratch, r0, g, &mut ahead);
                store_scores::<L, R, G>(s, scratch, g);
                g += G;
            }
            while g < until {
                let s = C::scores::<L, R, 1>(page, scratch, r0, g, &mut ahead);
                store_scores::<L, R, 1>(s, scratch, g);
                g += 1;
            }
        }
        for (r, v) in visible.iter().enumerate() {
            if v.end > 0 {
                softmax::<L>(page, scratch.scores.add(r * STRIDE), r0 + r, v.clone());
            }
        }
        // Each row ascends: what it sees before the common keys, those, what it sees after them.
        if each.is_empty() {
            for (r, v) in visible.iter().enumerate() {
                outputs::<L, C, 1, 4>(page, scratch.scores.add(r * STRIDE), r0 + r, v.clone());
            }
            return;
        }
        for (r, v) in visible.iter().enumerate() {
            outputs::<L, C, 1, 4>(page, scratch.scores.add(r * STRIDE), r0 + r, v.start..each.start);
        }
        outputs::<L, C, R, G>(page, scratch.scores, r0, each.clone());
        for (r, v) in visible.iter().enumerate() {
            outputs::<L, C, 1, 4>(page, scratch.scores.add(r * STRIDE), r0 + r, each.end..v.end);
        }
    }
}

/// Queries of rows `r0..r0 + n` in blocks of 32, into the scratch.
unsafe fn quantize_queries(page: &Page<'_>, scratch: Scratch, r0: usize, n: usize) {
    let (head_dim, blocks) = (page.layout.head_dim, page.layout.key_blocks());
    for r in 0..n {
        for (b, x) in page.q[(r0 + r) * head_dim..][..head_dim].chunks(32).enumerate() {
            // SAFETY: the caller's tier; the scratch has room for MAX_ROWS rows of `blocks` blocks.
            unsafe {
                let (q, d) = quantize_block(page.quantize, x);
                scratch.scales.add(r * blocks + b).write_unaligned(d);
                scratch.codes.add((r * blocks + b) * 32).cast::<[i8; 32]>().write_unaligned(q);
            }
        }
    }
}

#[inline(always)]
unsafe fn store_scores<L: Lanes, const R: usize, const G: usize>(s: [[L; G]; R], scratch: Scratch, g: usize) {
    for (r, s) in s.into_iter().enumerate() {
        for (i, s) in s.into_iter().enumerate() {
            // SAFETY: R <= MAX_ROWS rows of 32 groups.
            unsafe { s.store(scratch.scores.add(r * STRIDE + (g + i) * KEYS)) }
        }
    }
}

/// Turns the scores of row `r` at `p` into weights, and sets the row's `m` and `l`.
#[inline(always)]
unsafe fn softmax<L: Lanes>(page: &mut Page<'_>, p: *mut f32, r: usize, visible: Range<usize>) {
    static LANES: [f32; 16] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
    let AttentionParams { scale, softcap } = page.params;
    let (slope, position) = (page.rows[r].slope, page.rows[r].position as i64);
    let groups = visible.start / KEYS..visible.end.div_ceil(KEYS);
    // SAFETY: the row has 512 scores, all groups that `visible` touches have been computed.
    unsafe {
        let lanes = L::load(LANES.as_ptr());
        // `v` where the key is visible and `other` elsewhere.
        macro_rules! visible_or {
            ($v:expr, $other:expr, $g:expr) => {{
                let (v, first) = ($v, $g * KEYS);
                if first >= visible.start && first + KEYS <= visible.end {
                    v
                } else {
                    let lo = L::splat(visible.start as f32 - first as f32);
                    let hi = L::splat(visible.end as f32 - first as f32);
                    let other = L::splat($other);
                    lanes.select_lt(lo, other, lanes.select_lt(hi, v, other))
                }
            }};
        }
        let mut max = L::splat(f32::NEG_INFINITY);
        for g in groups.clone() {
            let mut s = L::load(p.add(g * KEYS)).mul(L::splat(scale));
            if let Some(cap) = softcap {
                let cap = L::splat(cap);
                s = cap.mul(math::tanh(s.div(cap)));
            }
            if slope != 0.0 {
                // Exact: positions are below 2^24 where a slope is used.
                let distance = (page.first + g * KEYS) as i64 - position;
                s = L::splat(slope).fma(L::splat(distance as f32).add(lanes), s);
            }
            let s = visible_or!(s, f32::NEG_INFINITY, g);
            s.store(p.add(g * KEYS));
            max = s.max(max);
        }
        let m = max.max_of_all();
        let mut sum = L::splat(0.0);
        for g in groups {
            // What is not seen has a score of minus infinity, and `e` to it takes a microcode assist: some hundred cycles.
            let x = visible_or!(L::load(p.add(g * KEYS)).sub(L::splat(m)), 0.0, g);
            let e = visible_or!(math::exp(x), 0.0, g);
            e.store(p.add(g * KEYS));
            sum = sum.add(e);
        }
        page.m[r] = m;
        page.l[r] = sum.sum();
    }
}

/// `o[r] += p[r][j] * v[j]` for rows `r0..r0 + R` and `keys` in ascending order, all of them visible to these rows.
#[inline(always)]
unsafe fn outputs<L: Lanes, C: Cache, const R: usize, const G: usize>(
    page: &mut Page<'_>,
    p: *const f32,
    r0: usize,
    keys: Range<usize>,
) {
    if keys.is_empty() {
        return;
    }
    let dim = page.layout.output_dim();
    let value_bytes = dim * C::BYTES;
    let window = page.window(value_bytes);
    for first in keys.clone().step_by(window) {
        let until = (first + window).min(keys.end);
        let ahead = &mut page.ahead(page.values, value_bytes, until..(until + window).min(keys.end));
        let mut t = 0;
        // SAFETY: `t + 16 * G <= dim` in every call; the rest is the caller's.
        unsafe {
            while t + 16 * G <= dim {
                output_tile::<L, C, R, G>(page, p, r0, first..until, t, ahead);
                t += 16 * G;
            }
            while t < dim {
                output_tile::<L, C, R, 1>(page, p, r0, first..until, t, ahead);
                t += 16;
            }
        }
    }
}

#[inline(always)]
unsafe fn output_tile<L: Lanes, C: Cache, const R: usize, const G: usize>(
    page: &mut Page<'_>,
    p: *const f32,
    r0: usize,
    keys: Range<usize>,
    t: usize,
    ahead: &mut Ahead,
) {
    let dim = page.layout.output_dim();
    // SAFETY: rows r0..r0 + R have `dim` outputs and 512 weights; `t + 16 * G <= dim`; keys lie within the page.
    unsafe {
        let o = page.o.as_mut_ptr().add(r0 * dim + t);
        let mut acc = [[L::splat(0.0); G]; R];
        for r in 0..R {
            for g in 0..G {
                acc[r][g] = L::load(o.add(r * dim + 16 * g));
            }
        }
        for first in keys.clone().step_by(STEPS) {
            ahead.fetch(STEPS * 16 * G * C::BYTES);
            for j in first..(first + STEPS).min(keys.end) {
                let mut v = [L::splat(0.0); G];
                for g in 0..G {
                    v[g] = C::value::<L>(page, j, t + 16 * g);
                }
                for r in 0..R {
                    let p = L::splat(p.add(r * STRIDE + j).read_unaligned());
                    for g in 0..G {
                        acc[r][g] = p.fma(v[g], acc[r][g]);
                    }
                }
            }
        }
        for r in 0..R {
            for g in 0..G {
                acc[r][g].store(o.add(r * dim + 16 * g));
            }
        }
    }
}
