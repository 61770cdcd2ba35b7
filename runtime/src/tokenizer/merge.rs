//! Merging the best pair of neighbours until none is left: the core of both kinds of tokenizer, in O(n log n).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

const NONE: u32 = u32::MAX;

/// A stretch of the text that is one token so far; length 0 once its left neighbour has swallowed it.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: u32,
    len: u32,
    prev: u32,
    next: u32,
}

/// The work space, kept between words so that a word allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    /// `rank << 32 | left symbol`: the lowest rank first, and the leftmost of equals. Beside it `right << 32 | bytes
    /// of both`, which tells whether either has changed since.
    heap: BinaryHeap<Reverse<(u64, u64)>>,
}

impl Merger {
    /// Texts longer than this are to be cut by the caller; positions are 32 bits.
    pub(super) const MAX_TEXT: usize = 1 << 30;

    /// Starts from the characters of `text` and merges neighbours while `rank(both, bytes of the left one)` gives
    /// some; then gives every remaining piece to `out`.
    pub(super) fn run(
        &mut self,
        text: &str,
        mut rank: impl FnMut(&[u8], usize) -> Option<u32>,
        mut out: impl FnMut(&[u8]),
    ) {
        self.symbols.clear();
        self.heap.clear();
        for (i, (start, c)) in text.char_indices().enumerate() {
            let (start, i) = (start as u32, i as u32);
            self.symbols.push(Symbol {
                start,
                len: c.len_utf8() as u32,
                prev: i.wrapping_sub(1),
                next: i + 1,
            });
        }
        match self.symbols.last_mut() {
            Some(last) => last.next = NONE,
            None => return,
        }
        let bytes = text.as_bytes();
        for left in 0..self.symbols.len() as u32 {
            self.consider(bytes, left, &mut rank);
        }
        while let Some(Reverse((key, rest))) = self.heap.pop() {
            let (left, right) = (key as u32 as usize, (rest >> 32) as usize);
            let (a, b) = (self.symbols[left], self.symbols[right]);
            if a.len == 0 || b.len == 0 || a.len + b.len != rest as u32 {
                continue;
            }
            self.symbols[right].len = 0;
            self.symbols[left].len = a.len + b.len;
            self.symbols[left].next = b.next;
            if b.next != NONE {
                self.symbols[b.next as usize].prev = left as u32;
            }
            if a.prev != NONE {
                self.consider(bytes, a.prev, &mut rank);
            }
            self.consider(bytes, left as u32, &mut rank);
        }
        let mut at = 0;
        while at != NONE {
            let s = self.symbols[at as usize];
            out(&bytes[s.start as usize..(s.start + s.len) as usize]);
            at = s.next;
        }
    }

    /// Queues the pair of `left` and its right neighbour, if it can be merged.
    #[inline]
    fn consider(&mut self, text: &[u8], left: u32, rank: &mut impl FnMut(&[u8], usize) -> Option<u32>) {
        let a = self.symbols[left as usize];
        if a.next == NONE {
            return;
        }
        let len = a.len + self.symbols[a.next as usize].len;
        let both = &text[a.start as usize..(a.start + len) as usize];
        if let Some(rank) = rank(both, a.len as usize) {
            let key = u64::from(rank) << 32 | u64::from(left);
            self.heap.push(Reverse((key, u64::from(a.next) << 32 | u64::from(len))));
        }
    }
}

/// A rank that orders like `score` upside down: the highest score has the lowest rank.
pub(super) fn rank_of_score(score: f32) -> u32 {
    // Adding zero makes -0 and 0 equal.
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    !ascending
}

#[cfg(test)]
mod tests {
    use super::{Merger, rank_of_score};

    fn pieces(text: &str, pairs: &[&str]) -> Vec<String> {
        let mut out = Vec::new();
        let rank = |both: &[u8], left: usize| {
            let (a, b) = std::str::from_utf8(both).unwrap().split_at(left);
            pairs.iter().position(|p| *p == format!("{a} {b}")).map(|i| i as u32)
        };
        Merger::default().run(text, rank, |p| out.push(String::from_utf8(p.to_vec()).unwrap()));
        out
    }

    #[test]
    fn the_lowest_rank_goes_first_and_the_leftmost_of_equals() {
        assert_eq!(pieces("", &[]), [""; 0]);
        assert_eq!(pieces("aéb", &[]), ["a", "é", "b"]);
        assert_eq!(pieces("abc", &["b c", "a b", "ab c"]), ["a", "bc"]);
        assert_eq!(pieces("abc", &["a b", "b c", "ab c"]), ["abc"]);
        assert_eq!(pieces("aaaaa", &["a a"]), ["aa", "aa", "a"]);
        assert_eq!(pieces("aaaaa", &["a a", "aa aa", "aaaa a"]), ["aaaaa"]);
    }

    #[test]
    fn scores_order_upside_down() {
        let scores = [f32::INFINITY, 3.5, 1e-40, 0.0, -1e-40, -2.0, -1e9, f32::NEG_INFINITY];
        assert!(scores.map(rank_of_score).is_sorted_by(|a, b| a < b));
        assert_eq!(rank_of_score(-0.0), rank_of_score(0.0));
    }
}
