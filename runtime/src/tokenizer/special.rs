//! Special tokens inside a text: they are cut out before anything else looks at it.

use super::kinds::{CONTROL, UNKNOWN, USER_DEFINED};
use super::table::Table;
use std::collections::BTreeMap;

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fragment<'t> {
    /// What is still to be tokenized; not empty.
    Text(&'t str),
    /// A special token.
    Token(u32),
}

/// Finds special tokens. Longer ones go first, wherever they are; of the same, the leftmost.
#[derive(Debug)]
pub(super) struct Specials {
    /// Lengths of the special tokens that begin with each byte, ascending.
    lengths: Vec<Vec<u32>>,
    /// Bit `first | second << 8`: some special token begins with these bytes.
    pairs: Vec<u64>,
    /// Tokens after which white space is dropped, ascending.
    strips: Vec<u32>,
}

impl Specials {
    pub(super) fn new(tokens: &Table, kinds: &[u8], strips: Vec<u32>) -> Specials {
        let mut specials = Specials { lengths: vec![Vec::new(); 256], pairs: vec![0; 1024], strips };
        for id in (0u32..).zip(kinds).filter(|(_, k)| *k & SPECIAL != 0).map(|(id, _)| id) {
            let text = tokens.get(id).unwrap_or(&[]);
            let Some(lengths) = text.first().and_then(|b| specials.lengths.get_mut(usize::from(*b))) else {
                continue;
            };
            let len = text.len() as u32;
            if let Err(at) = lengths.binary_search(&len) {
                lengths.insert(at, len);
            }
            match text {
                [a] => (0..=255).for_each(|b| specials.set_pair(*a, b)),
                [a, b, ..] => specials.set_pair(*a, *b),
                [] => {}
            }
        }
        specials
    }

    fn set_pair(&mut self, a: u8, b: u8) {
        let bit = usize::from(a) | usize::from(b) << 8;
        self.pairs[bit / 64] |= 1 << (bit % 64);
    }

    fn may_begin(&self, text: &[u8]) -> bool {
        let bit = usize::from(text[0]) | usize::from(text.get(1).copied().unwrap_or(0)) << 8;
        // A single last byte may be a token of one byte; `lengths` decides.
        text.len() == 1 || self.pairs[bit / 64] >> (bit % 64) & 1 == 1
    }

    /// Cuts `text`. Control and unknown tokens are only seen with `parse_special`; user-defined ones always.
    pub(super) fn cut<'t>(
        &self,
        tokens: &Table,
        kinds: &[u8],
        text: &'t str,
        parse_special: bool,
    ) -> Vec<Fragment<'t>> {
        let mut taken: BTreeMap<usize, Taken> = BTreeMap::new();
        for (id, needle) in self.present(tokens, kinds, text.as_bytes(), parse_special) {
            let mut from = 0;
            while let Some(at) = text.get(from..).and_then(|t| t.find(needle)).map(|at| from + at) {
                from = at + needle.len();
                let before = taken.range(..from).next_back();
                if let Some((_, t)) = before.filter(|(_, t)| t.end > at) {
                    // It overlaps a longer one, or white space that was dropped. So would any that begins before its end.
                    from = t.end;
                    continue;
                }
                let limit = taken.range(from..).next().map_or(text.len(), |(start, _)| *start);
                let strip = self.strips.binary_search(&id).is_ok();
                let white = |c: char| strip && matches!(c, ' ' | '\t'..='\r');
                let end = limit - text[from..limit].trim_start_matches(white).len();
                taken.insert(at, Taken { id, end });
                from = end;
            }
        }
        let mut fragments = Vec::new();
        let mut from = 0;
        for (start, Taken { id, end }) in taken {
            if from < start {
                fragments.push(Fragment::Text(&text[from..start]));
            }
            fragments.push(Fragment::Token(id));
            from = end;
        }
        if from < text.len() {
            fragments.push(Fragment::Text(&text[from..]));
        }
        fragments
    }

    /// The special tokens that occur in `text` at all, longest first, with their text.
    fn present<'v>(
        &self,
        tokens: &'v Table,
        kinds: &[u8],
        text: &[u8],
        parse_special: bool,
    ) -> Vec<(u32, &'v str)> {
        let wanted = if parse_special { SPECIAL } else { USER_DEFINED };
        let unwanted = if parse_special { 0 } else { CONTROL | UNKNOWN };
        let mut present = std::collections::HashSet::new();
        for at in 0..text.len() {
            let rest = &text[at..];
            if !self.may_begin(rest) {
                continue;
            }
            for len in self.lengths.get(usize::from(rest[0])).into_iter().flatten() {
                let Some(candidate) = rest.get(..*len as usize) else { break };
                if let Some(id) = tokens.find(candidate) {
                    let kind = kinds.get(id as usize).copied().unwrap_or(0);
                    if kind & wanted != 0 && kind & unwanted == 0 {
                        present.insert(id);
                    }
                }
            }
        }
        let with_text = |id| Some((id, std::str::from_utf8(tokens.get(id)?).ok()?));
        let mut present: Vec<(u32, &str)> = present.into_iter().filter_map(with_text).collect();
        present.sort_unstable_by_key(|(id, text)| (std::cmp::Reverse(text.len()), *id));
        present
    }
}

/// A special token that was found; what lies before `end` is used up.
#[derive(Debug, Clone, Copy)]
struct Taken {
    id: u32,
    end: usize,
}

/// Kinds that are cut out of a text.
const SPECIAL: u8 = CONTROL | UNKNOWN | USER_DEFINED;
