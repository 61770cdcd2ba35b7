//! Strings with an index: the vocabulary, and the merges.
//!
//! Start-up matters (a vocabulary has up to 262 k entries, and a Pi reads it before the first token), so there is no
//! allocation per string: all bytes in one buffer, their ends in another, and one open-addressing table of `u32`.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A slot that holds nothing.
const EMPTY: u32 = u32::MAX;

/// Byte strings numbered from 0, found by content.
#[derive(Debug)]
pub(super) struct Table {
    bytes: Vec<u8>,
    /// Where string `i` ends in `bytes`; it begins where the one before ends.
    ends: Vec<u32>,
    /// `index | tag`, the tag being the bits of the hash above `index_mask`, or [`EMPTY`]. At most half are taken.
    slots: Vec<u32>,
    /// The bits of a slot that hold the index.
    index_mask: u32,
    /// Keeps a hostile file from choosing strings that collide.
    seed: u64,
    longest: usize,
}

impl Table {
    /// Numbers `strings` in order. Of equal strings, the first is found.
    ///
    /// # Errors
    /// A description, when they are too many or too long for 32-bit offsets.
    pub(super) fn new<'a>(n: usize, strings: impl Iterator<Item = &'a [u8]>) -> Result<Table, String> {
        // One bit is left for the tag, so that a taken slot is never `EMPTY`.
        if n >= 1 << 30 {
            return Err(format!("has {n} entries, too many"));
        }
        let index_mask = (n.next_power_of_two() as u32).max(1) - 1;
        let slots = vec![EMPTY; (2 * n.max(1)).next_power_of_two()];
        let seed = RandomState::new().build_hasher().finish();
        let (mut bytes, mut ends, mut longest) = (Vec::with_capacity(8 * n), Vec::with_capacity(n), 0);
        for string in strings.take(n) {
            bytes.extend_from_slice(string);
            ends.push(u32::try_from(bytes.len()).map_err(|_| "has more than 4 GiB of text".to_owned())?);
            longest = longest.max(string.len());
        }
        let mut table = Table { bytes, ends, slots, index_mask, seed, longest };
        table.fill();
        Ok(table)
    }

    /// Enters every string. In groups, whose slots are read before they are needed: the table is larger than the caches
    /// of small machines, and so their misses overlap.
    fn fill(&mut self) {
        const GROUP: usize = 32;
        let mut at = [(0, 0); GROUP];
        for first in (0..self.ends.len()).step_by(GROUP) {
            let indices = first as u32..self.ends.len().min(first + GROUP) as u32;
            let mut touched = 0;
            for (index, at) in indices.clone().zip(&mut at) {
                *at = self.start(self.get(index).unwrap_or(&[]));
                touched ^= self.slots[at.0];
            }
            std::hint::black_box(touched);
            for (index, (slot, tag)) in indices.zip(at) {
                self.enter(index, slot, tag);
            }
        }
    }

    #[inline]
    fn enter(&mut self, index: u32, mut slot: usize, tag: u32) {
        loop {
            let taken = self.slots[slot];
            if taken == EMPTY {
                self.slots[slot] = index | tag;
                return;
            }
            if taken & !self.index_mask == tag && self.get(taken & self.index_mask) == self.get(index) {
                return;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    /// First slot to look at, and the tag.
    #[inline]
    fn start(&self, string: &[u8]) -> (usize, u32) {
        let hash = hash(self.seed, string);
        // `index | tag == EMPTY` needs an all-ones tag; the top bit is kept clear to rule it out.
        (hash as usize & (self.slots.len() - 1), (hash >> 32) as u32 & !self.index_mask & 0x7fff_ffff)
    }

    /// The number of `string`.
    #[inline]
    pub(super) fn find(&self, string: &[u8]) -> Option<u32> {
        if string.len() > self.longest {
            return None;
        }
        let (mut slot, tag) = self.start(string);
        loop {
            let taken = self.slots[slot];
            if taken == EMPTY {
                return None;
            }
            let index = taken & self.index_mask;
            if taken & !self.index_mask == tag && self.get(index) == Some(string) {
                return Some(index);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    /// String number `index`.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&[u8]> {
        let index = index as usize;
        let end = *self.ends.get(index)? as usize;
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        self.bytes.get(start..end)
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Length in bytes of the longest string.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }
}

/// Eight bytes at a time, each step a folded 64 x 64 multiplication. The last step may take bytes a second time, which
/// spares copying a short rest.
#[inline]
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        (product as u64) ^ (product >> 64) as u64
    };
    let mut h = seed ^ (bytes.len() as u64).wrapping_mul(K);
    let last = match (bytes.last_chunk::<8>(), bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(last), ..) => {
            for word in bytes[..bytes.len() - 1].as_chunks::<8>().0 {
                h = mix(h ^ u64::from_le_bytes(*word), K);
            }
            u64::from_le_bytes(*last)
        }
        (None, Some(a), Some(b)) => {
            u64::from(u32::from_le_bytes(*a)) | u64::from(u32::from_le_bytes(*b)) << 32
        }
        _ => bytes.iter().fold(0, |w, b| w << 8 | u64::from(*b)),
    };
    mix(mix(h ^ last, K), seed | 1)
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        for n in [0usize, 1, 2, 3, 1000, 4097] {
            let strings: Vec<String> = (0..n).map(|i| format!("{:x}", i * i * 7919)).collect();
            let table = Table::new(n, strings.iter().map(String::as_bytes)).unwrap();
            assert_eq!(table.len(), n);
            for (i, s) in strings.iter().enumerate() {
                let first = strings.iter().position(|t| t == s).unwrap();
                assert_eq!(table.find(s.as_bytes()), Some(first as u32));
                assert_eq!(table.get(i as u32), Some(s.as_bytes()));
                assert_eq!(table.find(format!("{s}!").as_bytes()), None);
            }
            assert_eq!(table.find(b"never"), None);
            assert_eq!(table.get(n as u32), None);
        }
    }

    #[test]
    fn the_first_of_equal_strings_is_found() {
        let table = Table::new(3, [&b"a"[..], b"b", b"a"].into_iter()).unwrap();
        assert_eq!((table.find(b"a"), table.get(2)), (Some(0), Some(&b"a"[..])));
    }
}
