//! The paged KV cache: how a page of 512 keys and values of one KV head lies in memory, and storing into it.
//!
//! ```text
//! keys    F32, F16   [32 groups][head_dim][16 keys]
//!         Q8_0       codes  [32 groups][head_dim padded to 32, / 4][16 keys][4] i8
//!                    scales [32 groups][blocks of 32][16 keys] f16
//! values  F32, F16   [512 keys][value_dim padded to 16]
//!         Q8_0       codes  [512 keys][value_dim padded to 16] i8
//!                    scales [512 keys][blocks of 32] f16
//! ```
//! Keys are interleaved so that sixteen of them are sixteen lanes and a score is one chain over head_dim.

use super::attention_api::Strided;
use super::lanes::{Lanes, load_n};
use crate::Error;
use crate::error::message;
pub(super) use crate::table::QuantizeFn;
use half::f16;
use std::ops::Range;

/// Keys in a page: the block of contract section 8, at absolute positions `page * KV_PAGE ..`.
pub const KV_PAGE: usize = 512;

/// Keys in an interleaved group.
pub(super) const KEYS: usize = 16;

/// The largest head_dim and value_dim.
const MAX_DIM: usize = 4096;

/// What the cache stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, missing_docs, reason = "the names are the field's own")]
pub enum KvType {
    F32,
    F16,
    Q8_0,
}

/// The shape of the cache of one KV head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KvLayout {
    /// What is stored.
    pub ty: KvType,
    /// Values per key, 1 to 4096.
    pub head_dim: usize,
    /// Values per value vector, 1 to 4096.
    pub value_dim: usize,
}

impl KvLayout {
    /// Checks the limits of both dimensions.
    ///
    /// # Errors
    /// [`Error::Shape`] naming the dimension that is out of range.
    pub fn check(&self) -> Result<(), Error> {
        for (name, dim) in [("head_dim", self.head_dim), ("value_dim", self.value_dim)] {
            if dim == 0 || dim > MAX_DIM {
                return Err(Error::Shape { what: message!("a {name} of {dim}, not within 1..={MAX_DIM}") });
            }
        }
        Ok(())
    }

    /// Bytes of the keys of one page; of dimensions that [`KvLayout::check`] refuses, any number.
    pub fn key_page_bytes(&self) -> usize {
        KV_PAGE.wrapping_mul(match self.ty {
            KvType::F32 => self.head_dim.wrapping_mul(4),
            KvType::F16 => self.head_dim.wrapping_mul(2),
            KvType::Q8_0 => self.key_blocks().wrapping_mul(34),
        })
    }

    /// Bytes of the values of one page; of dimensions that [`KvLayout::check`] refuses, any number.
    pub fn value_page_bytes(&self) -> usize {
        KV_PAGE.wrapping_mul(match self.ty {
            KvType::F32 => self.output_dim().wrapping_mul(4),
            KvType::F16 => self.output_dim().wrapping_mul(2),
            KvType::Q8_0 => self.output_dim().wrapping_add(2 * self.value_blocks()),
        })
    }

    /// Values per row of attention output while partial results are folded: value_dim rounded up to 16. Of dimensions that
    /// [`KvLayout::check`] refuses, any number.
    pub fn output_dim(&self) -> usize {
        match self.value_dim % 16 {
            0 => self.value_dim,
            rest => self.value_dim.wrapping_add(16 - rest),
        }
    }

    /// Blocks of 32 in a key.
    pub(super) fn key_blocks(&self) -> usize {
        self.head_dim.div_ceil(32)
    }
    /// Blocks of 32 in a value.
    pub(super) fn value_blocks(&self) -> usize {
        self.value_dim.div_ceil(32)
    }
    /// Where the scales of a Q8_0 page of keys start.
    pub(super) fn key_scales(&self) -> usize {
        KV_PAGE * 32 * self.key_blocks()
    }
    /// Where the scales of a Q8_0 page of values start.
    pub(super) fn value_scales(&self) -> usize {
        KV_PAGE * self.width()
    }
    /// [`KvLayout::output_dim`] of what has been checked.
    fn width(&self) -> usize {
        self.value_dim.next_multiple_of(16)
    }
}

/// Quantizes one block of up to 32 values; the codes of missing ones are 0.
///
/// # Safety
/// `quantize`'s tier is usable.
#[inline(always)]
pub(super) unsafe fn quantize_block(quantize: QuantizeFn, x: &[f32]) -> ([i8; 32], f32) {
    let mut padded = [0.0f32; 32];
    padded[..x.len()].copy_from_slice(x);
    let (mut q, mut d, mut sums) = ([0; 32], [0.0], [0; 2]);
    // SAFETY: one block of 32; the tier is the caller's.
    unsafe { quantize(&padded, &mut q, &mut d, &mut sums) };
    (q, d[0])
}

/// Some keys and as many values on their way into a page.
pub(super) struct Store<'a> {
    pub layout: KvLayout,
    /// `layout.key_page_bytes()`
    pub keys: &'a mut [u8],
    /// `layout.value_page_bytes()`
    pub values: &'a mut [u8],
    /// Positions within the page.
    pub slots: Range<usize>,
    /// A key of each slot, `[head_dim]`.
    pub k: Strided<'a>,
    /// A value of each slot, `[value_dim]`.
    pub v: Strided<'a>,
    pub quantize: QuantizeFn,
}

#[inline(always)]
pub(super) unsafe fn store_kv<L: Lanes>(s: &mut Store<'_>) {
    // SAFETY: the caller's: lengths are checked and the tier is usable.
    unsafe {
        match s.layout.ty {
            KvType::F32 => floats::<L, 4>(s),
            KvType::F16 => floats::<L, 2>(s),
            KvType::Q8_0 => (0..s.slots.len()).for_each(|i| codes(s, i)),
        }
    }
}

/// 16 values as f32 or f16 bytes.
#[inline(always)]
unsafe fn convert<L: Lanes, const BYTES: usize>(x: &[f32]) -> [[u8; BYTES]; 16] {
    let mut out = [[0u8; BYTES]; 16];
    // SAFETY: up to 16 values are read and 16 of `BYTES` bytes are written.
    unsafe {
        let v: L = if x.len() < 16 { load_n(x.as_ptr(), x.len()) } else { L::load(x.as_ptr()) };
        if BYTES == 4 { v.store(out.as_mut_ptr().cast()) } else { v.store_f16(out.as_mut_ptr().cast()) }
    }
    out
}

#[inline(always)]
unsafe fn floats<L: Lanes, const BYTES: usize>(s: &mut Store<'_>) {
    let (n, head_dim) = (s.slots.len(), s.layout.head_dim);
    let group_bytes = head_dim * KEYS * BYTES;
    let mut i = 0;
    while i < n {
        let (group, lane) = ((s.slots.start + i) / KEYS, (s.slots.start + i) % KEYS);
        let keys = s.keys[group * group_bytes..][..group_bytes].chunks_mut(16 * KEYS * BYTES);
        // A group whole, or the one key.
        if lane == 0 && n - i >= KEYS {
            for (t, to) in keys.enumerate() {
                let mut rows = [[[0u8; BYTES]; 16]; KEYS];
                for (row, i) in rows.iter_mut().zip(i..) {
                    let k = &s.k.row(i, head_dim)[16 * t..];
                    // SAFETY: the caller has the features of `L` (here and below).
                    *row = unsafe { convert::<L, BYTES>(&k[..k.len().min(16)]) };
                }
                transpose(&rows, to);
            }
            i += KEYS;
            continue;
        }
        for (k, to) in s.k.row(i, head_dim).chunks(16).zip(keys) {
            // SAFETY: as above.
            let bytes = unsafe { convert::<L, BYTES>(k) };
            for (bytes, to) in bytes.iter().zip(to.chunks_mut(KEYS * BYTES)) {
                to[lane * BYTES..][..BYTES].copy_from_slice(bytes);
            }
        }
        i += 1;
    }
    let stride = s.layout.output_dim() * BYTES;
    let values = s.values[s.slots.start * stride..s.slots.end * stride].chunks_mut(stride);
    for (i, to) in values.enumerate() {
        for (v, to) in s.v.row(i, s.layout.value_dim).chunks(16).zip(to.chunks_exact_mut(16 * BYTES)) {
            // SAFETY: as above.
            to.copy_from_slice(unsafe { convert::<L, BYTES>(v) }.as_flattened());
        }
    }
}

/// `to[t][key] = rows[key][t]` for as many `t` as `to` has room for.
#[inline(always)]
fn transpose<const BYTES: usize>(rows: &[[[u8; BYTES]; 16]; KEYS], to: &mut [u8]) {
    let dims = to.len() / (KEYS * BYTES);
    if BYTES != 2 {
        for (t, to) in to.chunks_mut(KEYS * BYTES).enumerate() {
            to.chunks_mut(BYTES).zip(rows).for_each(|(to, row)| to.copy_from_slice(&row[t]));
        }
        return;
    }
    // Four by four in words of 64 bits: a few operations for 16 values, where single ones are 16 loads and 16 stores.
    for t in (0..dims).step_by(4) {
        for (four, keys) in rows.chunks_exact(4).enumerate() {
            let word = |key: usize| -> u64 {
                let bytes: &[u8] = keys[key].as_flattened();
                u64::from_le(bytemuck::pod_read_unaligned(&bytes[2 * t..][..8]))
            };
            for (t, word) in (t..dims).zip(transpose4([word(0), word(1), word(2), word(3)])) {
                to[(t * KEYS + 4 * four) * 2..][..8].copy_from_slice(&word.to_le_bytes());
            }
        }
    }
}

/// Four words of four 16-bit values, transposed.
#[inline(always)]
fn transpose4([a, b, c, d]: [u64; 4]) -> [u64; 4] {
    const EVEN: u64 = 0x0000_ffff_0000_ffff;
    const LOW: u64 = 0xffff_ffff;
    let pairs = |a: u64, b: u64| ((a & EVEN) | ((b & EVEN) << 16), ((a >> 16) & EVEN) | (b & !EVEN));
    let ((a0, a1), (c0, c1)) = (pairs(a, b), pairs(c, d));
    [(a0 & LOW) | (c0 << 32), (a1 & LOW) | (c1 << 32), (a0 >> 32) | (c0 & !LOW), (a1 >> 32) | (c1 & !LOW)]
}

/// Key and value `i`.
unsafe fn codes(s: &mut Store<'_>, i: usize) {
    let (layout, slot) = (s.layout, s.slots.start + i);
    let (group, lane) = (slot / KEYS, slot % KEYS);
    let (codes, scales) = s.keys.split_at_mut(layout.key_scales());
    for (b, k) in s.k.row(i, layout.head_dim).chunks(32).enumerate() {
        // SAFETY: the caller's tier (here and below).
        let (q, d) = unsafe { quantize_block(s.quantize, k) };
        let block = group * layout.key_blocks() + b;
        for (q, to) in q.chunks(4).zip(codes[block * 32 * KEYS..][..32 * KEYS].chunks_mut(4 * KEYS)) {
            to[4 * lane..][..4].copy_from_slice(bytemuck::cast_slice(q));
        }
        let d = f16::from_f32(d).to_le_bytes();
        scales[2 * (block * KEYS + lane)..][..2].copy_from_slice(&d);
    }
    let (codes, scales) = s.values.split_at_mut(layout.value_scales());
    let codes = &mut codes[slot * layout.width()..][..layout.width()];
    for ((b, v), to) in s.v.row(i, layout.value_dim).chunks(32).enumerate().zip(codes.chunks_mut(32)) {
        // SAFETY: as above.
        let (q, d) = unsafe { quantize_block(s.quantize, v) };
        to.copy_from_slice(bytemuck::cast_slice(&q[..to.len()]));
        let d = f16::from_f32(d).to_le_bytes();
        scales[2 * (slot * layout.value_blocks() + b)..][..2].copy_from_slice(&d);
    }
}
