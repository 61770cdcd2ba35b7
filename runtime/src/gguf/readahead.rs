//! Asking for pages before they are used, in the order in which they are used.
//!
//! A decoder that meets a cold page waits for the disk, and its threads meet them in an order that is no order to a disk: an SD
//! card reads at a fraction of its speed then. One thread goes ahead of it instead, sequentially, layer after layer.

use super::{Bytes, Gguf, Mapping, TensorInfo};
use std::sync::Arc;

/// How much is asked for at once: long enough for a disk, short enough that a page which somebody waits for is not queued behind
/// seconds of reading.
const PIECE: usize = 4 << 20;

/// A part of a mapped file.
#[derive(Debug)]
struct Part {
    mapping: Arc<Mapping>,
    start: usize,
    len: usize,
}

impl Gguf {
    /// Starts to read the tensors into the page cache from a thread of its own, in the order of a forward pass: layers as they lie
    /// in the file, then the output. Does nothing for a model that is not mapped, or one of more than `limit` bytes, which would
    /// push its own beginning out again.
    ///
    /// Nothing waits for it, and nothing but time depends on it.
    pub fn read_ahead(&self, limit: Option<u64>) {
        let tied = self.tensor("output.weight").is_none();
        let mut tensors: Vec<&TensorInfo> =
            self.tensors().iter().filter(|t| tied || t.name != "token_embd.weight").collect();
        let total: usize = tensors.iter().map(|t| t.bytes).sum();
        if limit.is_some_and(|limit| total as u64 > limit) {
            return;
        }
        // What is used last, wherever it lies.
        let last = |t: &TensorInfo| t.name.starts_with("output") || t.name == "token_embd.weight";
        tensors.sort_by_key(|t| (last(t), t.shard, t.offset));
        let part = |t: &TensorInfo| match self.shards.get(t.shard) {
            Some(Bytes::Map(m)) => Some(Part { mapping: Arc::clone(m), start: t.offset, len: t.bytes }),
            _ => None,
        };
        let parts = merge(tensors.into_iter().filter_map(part));
        // Without a thread the pages come when they are used, as they would have anyway.
        let _ = std::thread::Builder::new().name("kinglet-read".to_owned()).spawn(move || {
            #[cfg(target_os = "linux")]
            for part in &parts {
                super::huge_pages::ask(&part.mapping, part.start..part.start + part.len);
            }
            read(&cut(&parts));
        });
    }
}

/// See [`Gguf::read_sparsely`].
#[must_use = "pages are read alone for as long as this lives"]
#[derive(Debug)]
pub(crate) struct Sparsely<'a>(&'a Gguf);

impl Gguf {
    /// For as long as the result lives, a page of the tensors that is touched is read alone. Otherwise the system reads what lies
    /// around it too, up to megabytes of large tensors for each small one that is looked at, when the file is not in the cache.
    pub(crate) fn read_sparsely(&self) -> Sparsely<'_> {
        self.expect_random(true);
        Sparsely(self)
    }

    /// Whether the order in which tensors are read is no order.
    #[cfg(unix)]
    fn expect_random(&self, random: bool) {
        let advice = if random { memmap2::Advice::Random } else { memmap2::Advice::Normal };
        for (i, shard) in self.shards.iter().enumerate() {
            let first = self.tensors().iter().filter(|t| t.shard == i).map(|t| t.offset).min();
            if let (Bytes::Map(m), Some(first)) = (shard, first) {
                // A hint, whose refusal costs nothing but time.
                let _ = m.map.advise_range(advice, first, m.map.len() - first);
            }
        }
    }
    #[cfg(not(unix))]
    fn expect_random(&self, _: bool) {}
}

impl Drop for Sparsely<'_> {
    fn drop(&mut self) {
        self.0.expect_random(false);
    }
}

/// Joins parts that follow each other.
fn merge(parts: impl Iterator<Item = Part>) -> Vec<Part> {
    let mut merged: Vec<Part> = Vec::new();
    for part in parts {
        // Between tensors there is padding.
        let gap = 4096;
        match merged.last_mut() {
            Some(m)
                if Arc::ptr_eq(&m.mapping, &part.mapping)
                    && (m.start + m.len..=m.start + m.len + gap).contains(&part.start) =>
            {
                m.len = part.start + part.len - m.start;
            }
            _ => merged.push(part),
        }
    }
    merged
}

/// The parts in pieces.
fn cut(parts: &[Part]) -> Vec<Part> {
    let pieces = |p: &Part| {
        let (mapping, end) = (Arc::clone(&p.mapping), p.start + p.len);
        let starts = (p.start..end).step_by(PIECE);
        starts
            .map(move |s| Part { mapping: Arc::clone(&mapping), start: s, len: PIECE.min(end - s) })
            .collect::<Vec<_>>()
    };
    parts.iter().flat_map(pieces).collect()
}

/// Maps the pieces one after the other, or where the system cannot do that at once, has them read.
fn read(pieces: &[Part]) {
    let mapped = populate(pieces);
    let pieces = &pieces[mapped..];
    // Two are under way at any time: one is waited for, by touching its last byte, and the next has been asked for.
    for (i, piece) in pieces.iter().enumerate() {
        if i == 0 {
            ask(piece);
        }
        if let Some(next) = pieces.get(i + 1) {
            ask(next);
        }
        std::hint::black_box(piece.mapping.map.get(piece.start + piece.len.saturating_sub(1)).copied());
    }
}

/// Maps the pieces from the first one on, and says how many.
#[cfg(target_os = "linux")]
fn populate(pieces: &[Part]) -> usize {
    let map = |p: &&Part| p.mapping.map.advise_range(memmap2::Advice::PopulateRead, p.start, p.len).is_ok();
    pieces.iter().take_while(map).count()
}

#[cfg(not(target_os = "linux"))]
fn populate(_: &[Part]) -> usize {
    0
}

/// A hint, whose refusal costs nothing but time.
fn ask(piece: &Part) {
    #[cfg(unix)]
    let _ = piece.mapping.map.advise_range(memmap2::Advice::WillNeed, piece.start, piece.len);
    #[cfg(not(unix))]
    let _ = piece;
}

#[cfg(test)]
mod tests {
    use super::{PIECE, Part, cut, merge, read};
    use crate::gguf::{Bytes, map};
    use std::sync::Arc;

    #[test]
    fn neighbours_are_read_as_one_and_long_parts_in_pieces() {
        let path = std::env::temp_dir().join(format!("kinglet-readahead-{}", std::process::id()));
        std::fs::write(&path, vec![1u8; 3 * PIECE]).unwrap();
        let Bytes::Map(mapping) = map(&path).unwrap() else { panic!("it is mapped") };
        let part = |(start, len)| Part { mapping: Arc::clone(&mapping), start, len };
        let parts =
            merge([(0, 100), (128, 2 * PIECE), (2 * PIECE + 9000, 7), (50, 10)].map(part).into_iter());
        let pieces = cut(&parts);
        let ranges: Vec<(usize, usize)> = pieces.iter().map(|p| (p.start, p.len)).collect();
        assert_eq!(ranges, [(0, PIECE), (PIECE, PIECE), (2 * PIECE, 128), (2 * PIECE + 9000, 7), (50, 10)]);
        read(&pieces);
        std::fs::remove_file(&path).unwrap();
    }
}
