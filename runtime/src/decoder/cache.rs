//! The key and value cache: pages of [`KV_PAGE`] positions for each layer and head, allocated when they are first written.
//!
//! A page is one of the contract's absolute attention blocks, so nothing about attention depends on how much memory the
//! cache has or in which chunks it was filled.

use super::DecodeError;
use crate::model::spec::{LayerSpec, ModelSpec};
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

/// The cache of one layer.
#[derive(Debug)]
pub(super) struct LayerCache {
    pub(super) layout: KvLayout,
    pub(super) heads: Vec<HeadCache>,
}

/// The cache of a session.
#[derive(Debug)]
pub(super) struct Cache {
    pub(super) layers: Vec<LayerCache>,
}

fn layout(layer: &LayerSpec, ty: KvType) -> KvLayout {
    KvLayout { ty, head_dim: layer.head_dim, value_dim: layer.value_dim }
}

impl Cache {
    pub(super) fn new(spec: &ModelSpec, ty: KvType) -> Cache {
        let layer = |l: &LayerSpec| {
            let layout = layout(l, ty);
            let head = |_| HeadCache { layout, pages: Vec::new() };
            LayerCache { layout, heads: (0..l.n_kv_heads).map(head).collect() }
        };
        Cache { layers: spec.layers.iter().map(layer).collect() }
    }

    /// Makes sure that positions `0..len` have pages.
    pub(super) fn reserve(&mut self, len: usize) -> Result<(), DecodeError> {
        for layer in &mut self.layers {
            let layout = layer.layout;
            for head in &mut layer.heads {
                while head.pages.len() < len.div_ceil(KV_PAGE) {
                    let keys = AlignedBytes::zeroed(layout.key_page_bytes());
                    let values = AlignedBytes::zeroed(layout.value_page_bytes());
                    match (keys, values) {
                        (Some(keys), Some(values)) => head.pages.push(Page { keys, values }),
                        _ => {
                            let what = format!("no memory for the key-value cache at position {len}");
                            return Err(DecodeError::Memory(what));
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Bytes that the cache of `positions` positions takes.
pub fn cache_bytes(spec: &ModelSpec, ty: KvType, positions: usize) -> usize {
    let page = |l: &LayerSpec| {
        let layout = layout(l, ty);
        l.n_kv_heads * (layout.key_page_bytes() + layout.value_page_bytes())
    };
    positions.div_ceil(KV_PAGE) * spec.layers.iter().map(page).sum::<usize>()
}
