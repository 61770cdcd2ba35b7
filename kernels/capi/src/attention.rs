//! Attention over a paged KV cache.

use crate::args::{Args, Struct, read_struct, reserved, times};
use crate::handle::Handle;
use crate::status::{Fail, Status, call};
use kinglet_kernels::{AttentionParams, KV_PAGE, KvLayout, KvType, Partial, PartialRef, QueryRow};
use std::ffi::c_void;

/// What a KV cache stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum CacheKind {
    /// 4 bytes a value.
    F32 = 0,
    /// 2 bytes a value.
    F16 = 1,
    /// 34 bytes for 32 values.
    Q8_0 = 2,
}

/// The shape of the cache of one KV head. A page holds 512 keys and values, at absolute positions `512 * page` and on.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Cache {
    /// `sizeof(kinglet_cache)`
    pub size: usize,
    /// Values per key, 1 to 4096.
    pub head_dim: usize,
    /// Values per value vector, 1 to 4096.
    pub value_dim: usize,
    /// A `kinglet_cache_kind`.
    pub kind: u32,
    /// 0.
    pub reserved: u32,
}

/// Sizes that follow from a `kinglet_cache`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct CacheSizes {
    /// Bytes of the keys of one page.
    pub key_page: usize,
    /// Bytes of the values of one page.
    pub value_page: usize,
    /// Values per row of unfinished outputs: value_dim rounded up to 16.
    pub output_dim: usize,
    /// Bytes of workspace for `kinglet_attention_page`.
    pub workspace: usize,
}

/// One query: one head at one position. Rows of one call share a KV head.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Query {
    /// Its absolute position.
    pub position: usize,
    /// The first absolute position that it sees.
    pub visible_begin: usize,
    /// One past the last.
    pub visible_end: usize,
    /// ALiBi: `score += slope * (key position - query position)`; 0 for none.
    pub slope: f32,
    /// 0.
    pub reserved: u32,
}

/// What `kinglet_attention_page` works on.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Attention {
    /// `sizeof(kinglet_attention)`
    pub size: usize,
    /// `[rows][head_dim]`
    pub q: *const f32,
    /// `[rows]`
    pub queries: *const Query,
    /// Query rows.
    pub rows: usize,
    /// The page's number.
    pub page: usize,
    /// The page's keys.
    pub keys: *const c_void,
    /// The page's values.
    pub values: *const c_void,
    /// `[rows]`, written: the largest score; -infinity where no key was visible.
    pub m: *mut f32,
    /// `[rows]`, written: the sum of `exp(score - m)`.
    pub l: *mut f32,
    /// `[rows][output_dim]`, written: the sum of `exp(score - m) * value`.
    pub o: *mut f32,
    /// Multiplies the dot products.
    pub scale: f32,
    /// `score = cap * tanh(score / cap)` after the scale; 0 for none.
    pub softcap: f32,
    /// Workspace, as `kinglet_cache_sizes` says.
    pub workspace: *mut c_void,
    /// Its bytes.
    pub workspace_size: usize,
}

// SAFETY: plain, `size` first, no padding; 0 is null and 0.0.
unsafe impl Struct for Cache {
    const NAME: &'static str = "kinglet_cache";
}
// SAFETY: as above.
unsafe impl Struct for Attention {
    const NAME: &'static str = "kinglet_attention";
}

/// # Safety
/// `cache` is null or a `kinglet_cache`.
unsafe fn layout(args: &mut Args, cache: *const Cache) -> Result<KvLayout, Fail> {
    // SAFETY: the caller's.
    let cache = unsafe { read_struct(args, cache) }?;
    reserved::<Cache>(cache.reserved)?;
    let ty = match cache.kind {
        0 => KvType::F32,
        1 => KvType::F16,
        2 => KvType::Q8_0,
        kind => return Err(Fail::new(Status::UnknownValue, format_args!("cache kind {kind}"))),
    };
    let layout = KvLayout { ty, head_dim: cache.head_dim, value_dim: cache.value_dim };
    layout.check()?;
    Ok(layout)
}

/// Sizes for a cache of this shape, into `sizes`.
///
/// # Safety
/// `cache` is a `kinglet_cache`; `sizes` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_cache_sizes(
    kernels: *const Handle,
    cache: *const Cache,
    sizes: *mut CacheSizes,
) -> Status {
    call(|| {
        let (k, mut args) = (crate::handle::kernels(kernels)?, Args::new());
        // SAFETY: the caller's (here and below).
        let out = unsafe { args.write("sizes", sizes, 1) }?;
        let layout = unsafe { layout(&mut args, cache) }?;
        out[0] = CacheSizes {
            key_page: layout.key_page_bytes(),
            value_page: layout.value_page_bytes(),
            output_dim: layout.output_dim(),
            workspace: k.attention_scratch(layout, usize::MAX),
        };
        Ok(())
    })
}

/// Stores one key (`[head_dim]`) and one value (`[value_dim]`) at slot `slot` (0 to 511) of a page. Pages begin as anything; 64 bytes are their
/// best alignment.
///
/// # Safety
/// `cache` is such a struct; `keys` and `values` are pages of that shape that can be written, `k` and `v` can be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_store_kv(
    kernels: *const Handle,
    cache: *const Cache,
    keys: *mut c_void,
    values: *mut c_void,
    slot: usize,
    k: *const f32,
    v: *const f32,
) -> Status {
    call(|| {
        let (kernels, mut args) = (crate::handle::kernels(kernels)?, Args::new());
        // SAFETY: the caller's (here and below).
        let layout = unsafe { layout(&mut args, cache) }?;
        let keys = unsafe { args.write::<u8>("keys", keys.cast(), layout.key_page_bytes()) }?;
        let values = unsafe { args.write::<u8>("values", values.cast(), layout.value_page_bytes()) }?;
        let k = unsafe { args.read("k", k, layout.head_dim) }?;
        let v = unsafe { args.read("v", v, layout.value_dim) }?;
        Ok(kernels.store_kv(layout, keys, values, slot, k, v)?)
    })
}

/// As `kinglet_store_kv` for slots `slot_begin <= slot < slot_end`, whose keys and values are rows that begin `k_stride` and `v_stride` values
/// apart: those of one head in the rows of a batch of tokens. Strides are at least `head_dim` and `value_dim`. The 16 slots from a multiple of 16 on are
/// stored at once, in less time than one by one.
///
/// # Safety
/// As there; `k` has `(slots - 1) * k_stride + head_dim` values and `v` has `(slots - 1) * v_stride + value_dim`, or none when there is no slot.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_store_kv_batch(
    kernels: *const Handle,
    cache: *const Cache,
    keys: *mut c_void,
    values: *mut c_void,
    slot_begin: usize,
    slot_end: usize,
    k: *const f32,
    k_stride: usize,
    v: *const f32,
    v_stride: usize,
) -> Status {
    call(|| {
        let (kernels, mut args) = (crate::handle::kernels(kernels)?, Args::new());
        // SAFETY: the caller's (here and below).
        let layout = unsafe { layout(&mut args, cache) }?;
        if slot_begin > slot_end || slot_end > KV_PAGE {
            return Err(Fail::new(
                Status::Shape,
                format_args!("slots {slot_begin} to {slot_end} of a page of {KV_PAGE}"),
            ));
        }
        let n = slot_end - slot_begin;
        let keys = unsafe { args.write::<u8>("keys", keys.cast(), layout.key_page_bytes()) }?;
        let values = unsafe { args.write::<u8>("values", values.cast(), layout.value_page_bytes()) }?;
        let k = unsafe { args.rows("k", k, (n, layout.head_dim), k_stride) }?;
        let v = unsafe { args.rows("v", v, (n, layout.value_dim), v_stride) }?;
        Ok(kernels.store_kv_batch(layout, keys, values, slot_begin..slot_end, k, v)?)
    })
}

/// Queries handed on at once, so that no memory has to be allocated for them. Rows are independent: no bit depends on it.
const BATCH: usize = 48;

/// Attends from queries to the keys of one page. Fold pages in ascending order with `kinglet_attention_fold`, then
/// `kinglet_attention_finish`.
///
/// # Safety
/// Both are such structs, and what `attention` points to is there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_attention_page(
    kernels: *const Handle,
    cache: *const Cache,
    attention: *const Attention,
) -> Status {
    call(|| {
        let (kernels, mut args) = (crate::handle::kernels(kernels)?, Args::new());
        // SAFETY: the caller's (here and below).
        let layout = unsafe { layout(&mut args, cache) }?;
        let a = unsafe { read_struct(&mut args, attention) }?;
        let (dim, head_dim) = (layout.output_dim(), layout.head_dim);
        let q = unsafe { args.read("q", a.q, times("q", a.rows, head_dim)?) }?;
        let queries = unsafe { args.read("queries", a.queries, a.rows) }?;
        let keys = unsafe { args.read::<u8>("keys", a.keys.cast(), layout.key_page_bytes()) }?;
        let values = unsafe { args.read::<u8>("values", a.values.cast(), layout.value_page_bytes()) }?;
        let m = unsafe { args.write("m", a.m, a.rows) }?;
        let l = unsafe { args.write("l", a.l, a.rows) }?;
        let o = unsafe { args.write("o", a.o, times("o", a.rows, dim)?) }?;
        let scratch = unsafe { args.write::<u8>("workspace", a.workspace.cast(), a.workspace_size) }?;
        let need = kernels.attention_scratch(layout, a.rows);
        if scratch.len() < need {
            let have = scratch.len();
            return Err(Fail::new(
                Status::Workspace,
                format_args!("workspace of {have} bytes where {need} are needed"),
            ));
        }
        let params = AttentionParams { scale: a.scale, softcap: (a.softcap != 0.0).then_some(a.softcap) };
        let row = |query: &Query| QueryRow {
            position: query.position,
            visible: query.visible_begin..query.visible_end,
            slope: query.slope,
        };
        // Refused as a whole, before anything is written.
        if let Some(bad) = queries.iter().find(|q| q.reserved != 0) {
            return Err(Fail::new(
                Status::StructSize,
                format_args!("kinglet_query: reserved is {}", bad.reserved),
            ));
        }
        let page_end = a.page.saturating_mul(KV_PAGE).saturating_add(KV_PAGE);
        let last = |q: &Query| q.position.max(q.visible_end.min(page_end));
        if let Some(bad) = queries.iter().find(|q| q.slope != 0.0 && last(q) > 1 << 24) {
            return Err(Fail::new(Status::TooLarge, format_args!("position {} with a slope", bad.position)));
        }
        let mut rows: [QueryRow; BATCH] =
            std::array::from_fn(|_| QueryRow { position: 0, visible: 0..0, slope: 0.0 });
        for first in (0..a.rows).step_by(BATCH) {
            let part = first..a.rows.min(first + BATCH);
            for (to, from) in rows.iter_mut().zip(&queries[part.clone()]) {
                *to = row(from);
            }
            let out = Partial {
                m: &mut m[part.clone()],
                l: &mut l[part.clone()],
                o: &mut o[part.start * dim..part.end * dim],
            };
            let q = &q[part.start * head_dim..part.end * head_dim];
            kernels.attention_page(
                layout,
                params,
                q,
                &rows[..part.len()],
                a.page,
                keys,
                values,
                out,
                scratch,
            )?;
        }
        Ok(())
    })
}

/// Folds a page's `part_m`, `part_l`, `part_o` into `m`, `l`, `o`, which begin as -infinity, 0 and 0. Shapes as in `kinglet_attention`.
///
/// # Safety
/// `cache` is such a struct; there are `rows`, `rows` and `rows * output_dim` values each.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_attention_fold(
    kernels: *const Handle,
    cache: *const Cache,
    rows: usize,
    m: *mut f32,
    l: *mut f32,
    o: *mut f32,
    part_m: *const f32,
    part_l: *const f32,
    part_o: *const f32,
) -> Status {
    call(|| {
        let (kernels, mut args) = (crate::handle::kernels(kernels)?, Args::new());
        // SAFETY: the caller's (here and below).
        let values = times("o", rows, unsafe { layout(&mut args, cache) }?.output_dim())?;
        let m = unsafe { args.write("m", m, rows) }?;
        let l = unsafe { args.write("l", l, rows) }?;
        let o = unsafe { args.write("o", o, values) }?;
        let part_m = unsafe { args.read("part_m", part_m, rows) }?;
        let part_l = unsafe { args.read("part_l", part_l, rows) }?;
        let part_o = unsafe { args.read("part_o", part_o, values) }?;
        Ok(kernels.attention_fold(Partial { m, l, o }, &PartialRef { m: part_m, l: part_l, o: part_o })?)
    })
}

/// `out = o / l`, `[rows][value_dim]` without padding; 0 for a row that saw no key.
///
/// # Safety
/// `cache` is such a struct; `l` has `rows` values, `o` has `rows * output_dim`, `out` has room for `rows * value_dim`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_attention_finish(
    kernels: *const Handle,
    cache: *const Cache,
    rows: usize,
    l: *const f32,
    o: *const f32,
    out: *mut f32,
) -> Status {
    call(|| {
        let (kernels, mut args) = (crate::handle::kernels(kernels)?, Args::new());
        // SAFETY: the caller's (here and below).
        let layout = unsafe { layout(&mut args, cache) }?;
        let l = unsafe { args.read("l", l, rows) }?;
        let o = unsafe { args.read("o", o, times("o", rows, layout.output_dim())?) }?;
        let out = unsafe { args.write("out", out, times("out", rows, layout.value_dim)?) }?;
        // Maxima are not needed any more; their number has to be right.
        Ok(kernels.attention_finish(layout, PartialRef { m: l, l, o }, out)?)
    })
}
