//! What the layers remember: keys and values in pages of [`KV_PAGE`] positions for each layer and head, allocated when they are
//! first written, and the states of convolutions.
//!
//! A page is one of the contract's absolute attention blocks, so nothing about attention depends on how much memory the
//! cache has or in which chunks it was filled.

use super::DecodeError;
use super::conv::ConvState;
use crate::model::spec::{AttentionSpec, Mixer, ModelSpec};
use kinglet_kernels::{KV_PAGE, Kernels, KvLayout, KvType};

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
    pages: Vec<Page>,
}

impl HeadCache {
    /// Keys and values of page `page`, which has been written.
    pub(super) fn page(&self, page: usize) -> (&[u8], &[u8]) {
        let page = &self.pages[page];
        (page.keys.get(), page.values.get())
    }

    /// Stores the key `[head_dim]` and value `[value_dim]` of one position, whose page is allocated.
    pub(super) fn store(
        &mut self,
        kernels: &Kernels,
        position: usize,
        k: &[f32],
        v: &[f32],
    ) -> Result<(), DecodeError> {
        let page = &mut self.pages[position / KV_PAGE];
        let (keys, values) = (page.keys.get_mut(), page.values.get_mut());
        Ok(kernels.store_kv(self.layout, keys, values, position % KV_PAGE, k, v)?)
    }
}

/// The cache of one layer's attention.
#[derive(Debug)]
pub(super) struct AttentionCache {
    pub(super) layout: KvLayout,
    pub(super) heads: Vec<HeadCache>,
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
}

fn layout(a: &AttentionSpec, ty: KvType) -> KvLayout {
    KvLayout { ty, head_dim: a.head_dim, value_dim: a.value_dim }
}

impl Cache {
    pub(super) fn new(spec: &ModelSpec, ty: KvType) -> Cache {
        let layer = |mixer: &Mixer| match mixer {
            Mixer::Attention(a) => {
                let layout = layout(a, ty);
                let head = |_| HeadCache { layout, pages: Vec::new() };
                LayerCache::Attention(AttentionCache { layout, heads: (0..a.n_kv_heads).map(head).collect() })
            }
            Mixer::ShortConv(kernel) => LayerCache::Conv(ConvState::new(*kernel, spec.dim)),
        };
        Cache { layers: spec.layers.iter().map(|l| layer(&l.mixer)).collect() }
    }

    /// Makes sure that positions `0..len` have pages.
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
            for head in &mut cache.heads {
                while head.pages.len() < len.div_ceil(KV_PAGE) {
                    let keys = AlignedBytes::zeroed(cache.layout.key_page_bytes());
                    let values = AlignedBytes::zeroed(cache.layout.value_page_bytes());
                    let (keys, values) = (keys.ok_or_else(no_memory)?, values.ok_or_else(no_memory)?);
                    head.pages.push(Page { keys, values });
                }
            }
        }
        Ok(())
    }

    /// Whether there are positions that it cannot go back to at once.
    pub(super) fn forgets(&self) -> bool {
        self.layers.iter().any(|l| matches!(l, LayerCache::Conv(_)))
    }

    /// Goes back to `position`, and returns from which position on tokens must be decoded again to be there.
    pub(super) fn rewind(&mut self, position: usize) -> usize {
        let states = self.layers.iter_mut().filter_map(|l| match l {
            LayerCache::Attention(_) => None,
            LayerCache::Conv(state) => Some(state.rewind(position)),
        });
        states.min().unwrap_or(position)
    }
}

/// Bytes that the cache of `positions` positions takes.
pub fn cache_bytes(spec: &ModelSpec, ty: KvType, positions: usize) -> usize {
    let page = |mixer: &Mixer| match mixer {
        Mixer::Attention(a) => {
            let layout = layout(a, ty);
            a.n_kv_heads * (layout.key_page_bytes() + layout.value_page_bytes())
        }
        Mixer::ShortConv(kernel) => ConvState::bytes(*kernel, spec.dim),
    };
    positions.div_ceil(KV_PAGE) * spec.layers.iter().map(|l| page(&l.mixer)).sum::<usize>()
}
