//! The attention methods of [`Kernels`]: a paged KV cache, partial results per page, their fold (contract section 8).

use super::api::check;
use super::attention::{self, Page};
use super::fold::Fold;
use super::kv::{KV_PAGE, KvLayout, Store};
use crate::error::message;
use crate::{Error, Kernels, host};
use std::ops::Range;

/// Positions up to here are exact as f32, which ALiBi needs.
const MAX_POSITION: usize = 1 << 24;

/// What turns a dot product into a score, the same for all rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionParams {
    /// Multiplies the dot product.
    pub scale: f32,
    /// `s = cap * tanh(s / cap)`, after the scale.
    pub softcap: Option<f32>,
}

/// One query: one head at one position. Rows of one call share a KV head; they may be several heads (GQA), several
/// positions, or both.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryRow {
    /// The query's absolute position.
    pub position: usize,
    /// The absolute positions of the keys that the query sees, in all pages.
    pub visible: Range<usize>,
    /// ALiBi: `s = fma(slope, key position - query position, s)`; 0 for none.
    pub slope: f32,
}

/// Rows of values that may have something else between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Strided<'a> {
    /// From the first value of the first row on, at least to the last value of the last row.
    pub values: &'a [f32],
    /// Values from the beginning of a row to that of the next.
    pub stride: usize,
}

impl<'a> Strided<'a> {
    /// The rows from row `i` on.
    pub fn from_row(self, i: usize) -> Strided<'a> {
        let start = i.saturating_mul(self.stride).min(self.values.len());
        Strided { values: &self.values[start..], ..self }
    }

    /// Row `i`, of `width` values, which has been checked to be there.
    #[inline(always)]
    pub(super) fn row(self, i: usize, width: usize) -> &'a [f32] {
        &self.values[i * self.stride..][..width]
    }

    /// Whether there are `n` rows of `width` values.
    fn check(&self, n: usize, width: usize) -> Result<(), Error> {
        let need = n.saturating_sub(1).checked_mul(self.stride).and_then(|last| last.checked_add(width));
        check(n == 0 || self.values.len() >= need.unwrap_or(usize::MAX), || {
            message!("{} values for {n} rows of {width}, {} apart", self.values.len(), self.stride)
        })
    }
}

/// Results that still have to be folded and divided. Before the first fold: `m` is `-inf`, `l` and `o` are 0.
#[derive(Debug)]
pub struct Partial<'a> {
    /// `[rows]`, the largest score; `-inf` where no key was visible.
    pub m: &'a mut [f32],
    /// `[rows]`, the sum of `exp(score - m)`; 0 where no key was visible.
    pub l: &'a mut [f32],
    /// `[rows][output_dim]`, the sum of `exp(score - m) * value`. Dimensions past value_dim are padding.
    pub o: &'a mut [f32],
}

/// A [`Partial`] to read.
#[derive(Debug, Clone, Copy)]
pub struct PartialRef<'a> {
    /// `[rows]`
    pub m: &'a [f32],
    /// `[rows]`
    pub l: &'a [f32],
    /// `[rows][output_dim]`
    pub o: &'a [f32],
}

impl Kernels {
    /// Stores one key and one value of a KV head in a page of the cache (contract section 9 for Q8_0).
    ///
    /// `keys` and `values` are the page's memory ([`KvLayout::key_page_bytes`], [`KvLayout::value_page_bytes`]; best aligned to
    /// 64 bytes), `slot` is the position within the page, `k` is `[head_dim]`, `v` is `[value_dim]`.
    ///
    /// ```
    /// use kinglet_kernels::{Kernels, KvLayout, KvType};
    /// let layout = KvLayout { ty: KvType::F32, head_dim: 2, value_dim: 1 };
    /// let (mut keys, mut values) = (vec![0; layout.key_page_bytes()], vec![0; layout.value_page_bytes()]);
    /// Kernels::detect()?.store_kv(layout, &mut keys, &mut values, 0, &[1.0, 0.0], &[3.0])?;
    /// assert!(keys.iter().any(|byte| *byte != 0) && values.iter().any(|byte| *byte != 0));
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] when a length does not fit or `slot` is not below [`KV_PAGE`].
    pub fn store_kv(
        &self,
        layout: KvLayout,
        keys: &mut [u8],
        values: &mut [u8],
        slot: usize,
        k: &[f32],
        v: &[f32],
    ) -> Result<(), Error> {
        check(k.len() == layout.head_dim && v.len() == layout.value_dim, || {
            message!("a key of {} and a value of {} values for {layout:?}", k.len(), v.len())
        })?;
        let (k, v) = (Strided { values: k, stride: k.len() }, Strided { values: v, stride: v.len() });
        self.store_kv_batch(layout, keys, values, slot..slot.saturating_add(1), k, v)
    }

    /// As [`Kernels::store_kv`] for the slots `slots`, whose keys are rows of `k` and whose values are rows of `v`: a batch of tokens, in whose
    /// rows those of one head lie. The 16 slots from a multiple of 16 on are stored at once, without a write for every value of a key.
    ///
    /// ```
    /// use kinglet_kernels::{Kernels, KvLayout, KvType, Strided};
    /// let layout = KvLayout { ty: KvType::F16, head_dim: 2, value_dim: 1 };
    /// let (mut keys, mut values) = (vec![0; layout.key_page_bytes()], vec![0; layout.value_page_bytes()]);
    /// // Two tokens of two heads each, of which the second one is stored.
    /// let k = Strided { values: &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0][2..], stride: 4 };
    /// let v = Strided { values: &[1.0, 2.0, 3.0, 4.0][1..], stride: 2 };
    /// let kernels = Kernels::detect()?;
    /// kernels.store_kv_batch(layout, &mut keys, &mut values, 7..9, k, v)?;
    /// let (mut one_by_one, mut other) = (vec![0; keys.len()], vec![0; values.len()]);
    /// kernels.store_kv(layout, &mut one_by_one, &mut other, 7, &[3.0, 4.0], &[2.0])?;
    /// kernels.store_kv(layout, &mut one_by_one, &mut other, 8, &[7.0, 8.0], &[4.0])?;
    /// assert!(keys == one_by_one && values == other);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] when a length does not fit or `slots` end after [`KV_PAGE`].
    pub fn store_kv_batch(
        &self,
        layout: KvLayout,
        keys: &mut [u8],
        values: &mut [u8],
        slots: Range<usize>,
        k: Strided<'_>,
        v: Strided<'_>,
    ) -> Result<(), Error> {
        check_page(layout, keys, values)?;
        check(slots.start <= slots.end && slots.end <= KV_PAGE, || {
            message!("slots {slots:?} of a page of {KV_PAGE}")
        })?;
        k.check(slots.len(), layout.head_dim)?;
        v.check(slots.len(), layout.value_dim)?;
        let quantize = self.quantize_fn();
        host::check()?;
        let mut store = Store { layout, keys, values, slots, k, v, quantize };
        // SAFETY: the tier is usable (here and below; see `Kernels`); lengths have been checked.
        unsafe { (self.float().store_kv)(&mut store) };
        Ok(())
    }

    /// Bytes of scratch that [`Kernels::attention_page`] needs; of a layout that [`KvLayout::check`] refuses, any number.
    pub fn attention_scratch(&self, layout: KvLayout, _rows: usize) -> usize {
        attention::scratch_bytes(layout)
    }

    /// Attends from `rows` to the keys of page `page`, those at positions `page * KV_PAGE ..` (contract section 8).
    ///
    /// `q` is `[rows][head_dim]`. The page's result overwrites `out`; a row that sees no key of the page gets `m = -inf`, `l = 0`,
    /// `o = 0`. Fold the pages in ascending order with [`Kernels::attention_fold`].
    ///
    /// ```
    /// use kinglet_kernels::{AttentionParams, KV_PAGE, Kernels, KvLayout, KvType, Partial, PartialRef, QueryRow};
    /// let kernels = Kernels::detect()?;
    /// let layout = KvLayout { ty: KvType::F16, head_dim: 2, value_dim: 2 };
    /// let (mut keys, mut values) = (vec![0; layout.key_page_bytes()], vec![0; layout.value_page_bytes()]);
    /// kernels.store_kv(layout, &mut keys, &mut values, 0, &[1.0, 0.0], &[3.0, 5.0])?;
    /// // One query at position 0 that sees the one key there.
    /// let rows = [QueryRow { position: 0, visible: 0..1, slope: 0.0 }];
    /// let (mut m, mut l, mut o) = ([f32::NEG_INFINITY], [0.0], vec![0.0; layout.output_dim()]);
    /// let params = AttentionParams { scale: 1.0, softcap: None };
    /// let mut scratch = vec![0; kernels.attention_scratch(layout, rows.len())];
    /// let out = Partial { m: &mut m, l: &mut l, o: &mut o };
    /// kernels.attention_page(layout, params, &[1.0, 1.0], &rows, 0, &keys, &values, out, &mut scratch)?;
    /// let mut y = [0.0; 2];
    /// kernels.attention_finish(layout, PartialRef { m: &m, l: &l, o: &o }, &mut y)?;
    /// assert_eq!(y, [3.0, 5.0]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// Source: blocks folded by their maxima are the online softmax of Milakov and Gimelshein, 2018, and FlashAttention, Dao et al., 2022; ALiBi is
    /// Press et al., 2021.
    ///
    /// # Errors
    /// [`Error::Shape`] when lengths do not fit, or when a row with a slope has positions from 2^24 on.
    #[allow(clippy::too_many_arguments, reason = "each is a different thing")]
    pub fn attention_page(
        &self,
        layout: KvLayout,
        params: AttentionParams,
        q: &[f32],
        rows: &[QueryRow],
        page: usize,
        keys: &[u8],
        values: &[u8],
        out: Partial<'_>,
        scratch: &mut [u8],
    ) -> Result<(), Error> {
        check_page(layout, keys, values)?;
        let n = rows.len();
        check_rows(n, layout.output_dim(), &out.m[..], &out.l[..], &out.o[..])?;
        check(n.checked_mul(layout.head_dim) == Some(q.len()), || {
            message!("{} query values for {n} rows of {}", q.len(), layout.head_dim)
        })?;
        let need = self.attention_scratch(layout, n);
        check(scratch.len() >= need, || {
            message!("{} bytes of attention scratch where {need} are needed", scratch.len())
        })?;
        let first = page.checked_mul(KV_PAGE).filter(|first| first.checked_add(KV_PAGE).is_some());
        let first = first.ok_or_else(|| Error::Shape { what: message!("page {page}") })?;
        for row in rows.iter().filter(|row| row.slope != 0.0) {
            let last = row.position.max(row.visible.end.min(first + KV_PAGE));
            check(last <= MAX_POSITION, || message!("position {last} with a slope"))?;
        }
        let (quantize, Partial { m, l, o }) = (self.quantize_fn(), out);
        let mut args = Page { layout, params, q, rows, first, keys, values, m, l, o, scratch, quantize };
        host::check()?;
        // SAFETY: lengths have been checked.
        unsafe { (self.float().attention_page)(&mut args) };
        Ok(())
    }

    /// Folds the result of a page into that of the pages before it (contract section 8). Rows whose part is empty (`l = 0`)
    /// are left untouched.
    ///
    /// ```
    /// use kinglet_kernels::{Kernels, Partial, PartialRef};
    /// // One row: nothing yet, then a page whose largest score is 2, with one key of weight 1 and value 5.
    /// let (mut m, mut l, mut o) = ([f32::NEG_INFINITY], [0.0], [0.0; 16]);
    /// let part = PartialRef { m: &[2.0], l: &[1.0], o: &[5.0; 16] };
    /// Kernels::detect()?.attention_fold(Partial { m: &mut m, l: &mut l, o: &mut o }, &part)?;
    /// assert_eq!((m, l, o), ([2.0], [1.0], [5.0; 16]));
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// Source: see [`Kernels::attention_page`].
    ///
    /// # Errors
    /// [`Error::Shape`] when lengths differ or `o` is not a multiple of 16 values per row.
    pub fn attention_fold(&self, into: Partial<'_>, part: &PartialRef<'_>) -> Result<(), Error> {
        let n = into.m.len();
        let dim = into.o.len().checked_div(n).unwrap_or(0);
        check(dim.is_multiple_of(16), || message!("attention outputs of {dim} values"))?;
        check_rows(n, dim, &into.m[..], &into.l[..], &into.o[..])?;
        check_rows(n, dim, part.m, part.l, part.o)?;
        let (part_m, part_l, part_o) = (part.m, part.l, part.o);
        let mut fold = Fold { m: into.m, l: into.l, o: into.o, dim, part_m, part_l, part_o };
        host::check()?;
        // SAFETY: lengths have been checked.
        unsafe { (self.float().attention_fold)(&mut fold) };
        Ok(())
    }

    /// `out = o / l`, `[rows][value_dim]` without padding; 0 for a row that saw no key (contract section 8).
    ///
    /// ```
    /// use kinglet_kernels::{Kernels, KvLayout, KvType, PartialRef};
    /// let layout = KvLayout { ty: KvType::F16, head_dim: 2, value_dim: 2 };
    /// let mut o = vec![0.0; layout.output_dim()];
    /// o[..2].copy_from_slice(&[6.0, 10.0]);
    /// let mut y = [0.0; 2];
    /// Kernels::detect()?.attention_finish(layout, PartialRef { m: &[1.0], l: &[2.0], o: &o }, &mut y)?;
    /// assert_eq!(y, [3.0, 5.0]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] when lengths do not fit.
    pub fn attention_finish(
        &self,
        layout: KvLayout,
        acc: PartialRef<'_>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        layout.check()?;
        let (n, dim) = (acc.m.len(), layout.output_dim());
        check_rows(n, dim, acc.m, acc.l, acc.o)?;
        check(n.checked_mul(layout.value_dim) == Some(out.len()), || {
            message!("{} results for {n} rows of {}", out.len(), layout.value_dim)
        })?;
        host::check()?;
        // SAFETY: lengths have been checked.
        unsafe { (self.float().attention_finish)(acc.l, acc.o, dim, out, layout.value_dim) };
        Ok(())
    }
}

fn check_page(layout: KvLayout, keys: &[u8], values: &[u8]) -> Result<(), Error> {
    layout.check()?;
    check(keys.len() == layout.key_page_bytes() && values.len() == layout.value_page_bytes(), || {
        message!("a page of {} bytes of keys and {} of values for {layout:?}", keys.len(), values.len())
    })
}

fn check_rows(n: usize, dim: usize, m: &[f32], l: &[f32], o: &[f32]) -> Result<(), Error> {
    check(m.len() == n && l.len() == n && n.checked_mul(dim) == Some(o.len()), || {
        message!("partial results m {}, l {}, o {} for {n} rows of {dim}", m.len(), l.len(), o.len())
    })
}
