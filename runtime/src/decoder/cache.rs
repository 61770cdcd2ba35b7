//! What the layers remember: keys and values in pages of [`KV_PAGE`] positions for each layer and head, allocated when they are
//! first written, and the states of convolutions.
//!
//! A page is one of the contract's absolute attention blocks, so nothing about attention depends on how much memory the
//! cache has or in which chunks it was filled. A layer with a window has a ring of pages: as many as the window and one batch
//! touch at any position, of which the oldest is written anew. What it held no later query sees; a session that goes back to
//! where one would see it decodes again from the beginning ([`Cache::rewind`]).

use super::DecodeError;
use super::conv::ConvState;
use crate::model::spec::{AttentionSpec, Mixer, ModelSpec};
use kinglet_kernels::{KV_PAGE, Kernels, KvLayout, KvType, Strided};
use std::ops::Range;

/// Pages begin on a cache line.
const ALIGN: usize = 64;

/// Bytes that begin on a cache line.
#[derive(Debug)]
pub(super) struct AlignedBytes {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBytes {
    /// `len` zeros, or `None` when there is no memory for them.
    pub(super) fn zeroed(len: usize) -> Option<AlignedBytes> {
        let size = len.checked_add(ALIGN)?;
        let layout = std::alloc::Layout::array::<u8>(size).ok()?;
        // Not written to, unlike `Vec::resize`: what is never used of a page never becomes memory.
        // SAFETY: the size is not 0, because `ALIGN` is not.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        if start.is_null() {
            return None;
        }
        // SAFETY: allocated above with the layout of `size` bytes, all of which are initialized, by the allocator that `Vec` uses.
        let bytes = unsafe { Vec::from_raw_parts(start, size, size) };
        let start = bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        Some(AlignedBytes { bytes, start, len })
    }

    pub(super) fn get(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    pub(super) fn get_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

/// One head's keys and values at [`KV_PAGE`] positions.
#[derive(Debug)]
struct Page {
    keys: AlignedBytes,
    values: AlignedBytes,
}

/// One key and value head of one layer.
#[derive(Debug)]
pub(super) struct HeadCache {
    layout: KvLayout,
    /// At most [`Ring::slots`]; page `p` is in slot `p % slots`.
    pages: Vec<Page>,
    slots: usize,
}

impl HeadCache {
    /// Keys and values of page `page`, which has been written and not been dropped.
    pub(super) fn page(&self, page: usize) -> (&[u8], &[u8]) {
        let page = &self.pages[page % self.slots];
        (page.keys.get(), page.values.get())
    }

    /// Stores keys `[head_dim]` and values `[value_dim]` of some positions, whose pages are allocated.
    pub(super) fn store(
        &mut self,
        kernels: &Kernels,
        positions: Range<usize>,
        k: Strided<'_>,
        v: Strided<'_>,
    ) -> Result<(), DecodeError> {
        let mut start = positions.start;
        while start < positions.end {
            let end = (start + 1).next_multiple_of(KV_PAGE).min(positions.end);
            let page = &mut self.pages[start / KV_PAGE % self.slots];
            let (keys, values) = (page.keys.get_mut(), page.values.get_mut());
            let (slot, row) = (start % KV_PAGE, start - positions.start);
            let slots = slot..slot + end - start;
            kernels.store_kv_batch(self.layout, keys, values, slots, k.from_row(row), v.from_row(row))?;
            start = end;
        }
        Ok(())
    }
}

/// Which pages the heads of a layer keep.
#[derive(Debug)]
struct Ring {
    /// How many keys a query sees.
    window: Option<usize>,
    /// Pages at most.
    slots: usize,
    /// The first page that has not been written over.
    first: usize,
}

impl Ring {
    /// For sessions of `n_ctx` positions that decode at most `batch` of them at once.
    fn new(window: Option<usize>, n_ctx: usize, batch: usize) -> Ring {
        let all = n_ctx.div_ceil(KV_PAGE).max(1);
        // A batch and the window before its first query are a run of so many positions, which may begin at the end of a page.
        let touched = |w: usize| w.saturating_add(batch.min(n_ctx)).saturating_sub(2) / KV_PAGE + 1;
        Ring { window, slots: window.map_or(all, |w| all.min(touched(w).saturating_add(1))), first: 0 }
    }

    /// Whether a session may outgrow it.
    fn drops(&self, n_ctx: usize) -> bool {
        self.slots < n_ctx.div_ceil(KV_PAGE)
    }

    /// Whether it has all that a query at `position` sees.
    fn sees(&self, position: usize) -> bool {
        let first = self.window.map_or(0, |w| (position + 1).saturating_sub(w));
        first / KV_PAGE >= self.first
    }
}

/// The cache of one layer's attention.
#[derive(Debug)]
pub(super) struct AttentionCache {
    pub(super) layout: KvLayout,
    pub(super) heads: Vec<HeadCache>,
    ring: Ring,
}

/// The cache of one layer.
#[derive(Debug)]
pub(super) enum LayerCache {
    Attention(AttentionCache),
    Conv(ConvState),
}

/// The cache of a session.
#[derive(Debug)]
pub(super) struct Cache {
    pub(super) layers: Vec<LayerCache>,
    n_ctx: usize,
}

fn layout(a: &AttentionSpec, ty: KvType) -> KvLayout {
    KvLayout { ty, head_dim: a.head_dim, value_dim: a.value_dim }
}

impl Cache {
    /// For sessions of `n_ctx` positions that decode at most `batch` of them at once.
    pub(super) fn new(spec: &ModelSpec, ty: KvType, n_ctx: usize, batch: usize) -> Cache {
        let layer = |mixer: &Mixer| match mixer {
            Mixer::Attention(a) => {
                let (layout, ring) = (layout(a, ty), Ring::new(a.window, n_ctx, batch));
                let head = |_| HeadCache { layout, pages: Vec::new(), slots: ring.slots };
                let heads = (0..a.n_kv_heads).map(head).collect();
                LayerCache::Attention(AttentionCache { layout, heads, ring })
            }
            Mixer::ShortConv(kernel) => LayerCache::Conv(ConvState::new(*kernel, spec.dim)),
        };
        Cache { layers: spec.layers.iter().map(|l| layer(&l.mixer)).collect(), n_ctx }
    }

    /// Makes sure that positions `0..len` have pages, where they are kept.
    pub(super) fn reserve(&mut self, len: usize) -> Result<(), DecodeError> {
        let no_memory = || {
            let what = format!("no memory for the key-value cache at position {len}");
            DecodeError::Memory(what)
        };
        for layer in &mut self.layers {
            let cache = match layer {
                LayerCache::Attention(cache) => cache,
                LayerCache::Conv(state) => {
                    state.reserve(len).ok_or_else(no_memory)?;
                    continue;
                }
            };
            let wanted = len.div_ceil(KV_PAGE).min(cache.ring.slots);
            for head in &mut cache.heads {
                while head.pages.len() < wanted {
                    let keys = AlignedBytes::zeroed(cache.layout.key_page_bytes());
                    let values = AlignedBytes::zeroed(cache.layout.value_page_bytes());
                    let (keys, values) = (keys.ok_or_else(no_memory)?, values.ok_or_else(no_memory)?);
                    head.pages.push(Page { keys, values });
                }
            }
        }
        Ok(())
    }

    /// Positions up to `end` are about to be written: the pages they take from older ones are no longer those.
    pub(super) fn write_up_to(&mut self, end: usize) {
        for layer in &mut self.layers {
            if let LayerCache::Attention(AttentionCache { ring, .. }) = layer {
                ring.first = ring.first.max(end.div_ceil(KV_PAGE).saturating_sub(ring.slots));
            }
        }
    }

    /// Whether there are positions that it cannot go back to at once.
    pub(super) fn forgets(&self) -> bool {
        self.layers.iter().any(|l| match l {
            LayerCache::Attention(cache) => cache.ring.drops(self.n_ctx),
            LayerCache::Conv(_) => true,
        })
    }

    /// Where [`Cache::rewind`] to `position` would end.
    pub(super) fn resumes_at(&self, position: usize) -> usize {
        let layers = self.layers.iter().map(|l| match l {
            LayerCache::Attention(cache) if cache.ring.sees(position) => position,
            // The layer's keys need what the layers before it make of positions before the window, and so on.
            LayerCache::Attention(_) => 0,
            LayerCache::Conv(state) => state.resumes_at(position),
        });
        layers.min().unwrap_or(position)
    }

    /// Goes back to `position` or, where something is missing there, to the last position before it that has everything. Returns
    /// that position: from there on tokens must be decoded again.
    pub(super) fn rewind(&mut self, position: usize) -> usize {
        let position = self.resumes_at(position);
        for layer in &mut self.layers {
            match layer {
                LayerCache::Attention(cache) if position == 0 => cache.ring.first = 0,
                LayerCache::Attention(_) => {}
                LayerCache::Conv(state) => state.rewind(position),
            }
        }
        position
    }

    /// Bytes of keys and values, and of the states of convolutions, that are allocated.
    pub(super) fn bytes(&self) -> usize {
        let of = |layer: &LayerCache| match layer {
            LayerCache::Attention(AttentionCache { layout, heads, .. }) => {
                let pages: usize = heads.iter().map(|h| h.pages.len()).sum();
                pages * (layout.key_page_bytes() + layout.value_page_bytes())
            }
            LayerCache::Conv(state) => state.allocated(),
        };
        self.layers.iter().map(of).sum()
    }
}

/// Positions of a layer whose queries see `window` keys that a full session keeps: whole pages.
pub fn kept_positions(window: Option<usize>, n_ctx: usize, batch: usize) -> usize {
    Ring::new(window, n_ctx, batch).slots * KV_PAGE
}

/// Bytes that the cache of a session of `n_ctx` positions takes when it is full, whose batches have at most `batch` tokens.
pub fn cache_bytes(spec: &ModelSpec, ty: KvType, n_ctx: usize, batch: usize) -> usize {
    let layer = |mixer: &Mixer| match mixer {
        Mixer::Attention(a) => {
            let (layout, ring) = (layout(a, ty), Ring::new(a.window, n_ctx, batch));
            ring.slots * a.n_kv_heads * (layout.key_page_bytes() + layout.value_page_bytes())
        }
        Mixer::ShortConv(kernel) => n_ctx.div_ceil(KV_PAGE) * ConvState::bytes(*kernel, spec.dim),
    };
    spec.layers.iter().map(|l| layer(&l.mixer)).sum()
}

/// Bytes of the cache that a token at position `depth` reads: keys and values that it sees, each once.
pub fn cache_bytes_read(spec: &ModelSpec, ty: KvType, depth: usize) -> usize {
    let layer = |mixer: &Mixer| match mixer {
        Mixer::Attention(a) => {
            let (layout, seen) = (layout(a, ty), (depth + 1).min(a.window.unwrap_or(usize::MAX)));
            seen * a.n_kv_heads * (layout.key_page_bytes() + layout.value_page_bytes()) / KV_PAGE
        }
        Mixer::ShortConv(kernel) => ConvState::bytes(*kernel, spec.dim),
    };
    spec.layers.iter().map(|l| layer(&l.mixer)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_holds_what_any_batch_sees() {
        for (window, batch) in
            [(1, 1), (2, 1), (512, 512), (512, 1), (513, 512), (600, 64), (4096, 512), (5, 9999)]
        {
            let ring = Ring::new(Some(window), 1 << 20, batch);
            for position in (0..5000).chain(99_000..100_100) {
                let first = (position + 1usize).saturating_sub(window) / KV_PAGE;
                let last = (position + batch - 1) / KV_PAGE;
                assert!(last - first < ring.slots, "window {window}, batch {batch}, at {position}");
            }
            // And no page more, where one more than the least is needed for some position.
            assert!(ring.slots <= (window + batch - 2) / KV_PAGE + 2);
        }
        assert_eq!(Ring::new(None, 4096, 512).slots, 8);
        assert_eq!(Ring::new(Some(usize::MAX), 4096, 512).slots, 8);
        assert_eq!(Ring::new(Some(512), 4096, 512).slots, 3);
        assert_eq!(Ring::new(Some(512), 700, 512).slots, 2);
    }
}
