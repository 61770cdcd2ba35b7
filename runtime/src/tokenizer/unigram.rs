//! SentencePiece's unigram model (`tokenizer.ggml.model = "t5"`): of all ways to cut a text into tokens, the one whose
//! scores sum highest (Viterbi), after characters were normalized by the map that the file carries.

use super::charsmap::Charsmap;
use super::kinds::{NORMAL, UNUSED, USER_DEFINED};
use super::spm::SPACE;
use super::table::Table;

/// How much less than the least likely token a character that is no token scores.
const UNKNOWN_PENALTY: f32 = 10.0;

/// The scores, and what is done to a text before.
#[derive(Debug)]
pub(super) struct Unigram {
    /// Tokens that a text may be cut into, sorted by their bytes.
    sorted: Vec<u32>,
    /// Score of each token; of user-defined ones, 0.
    scores: Vec<f32>,
    unknown: Option<u32>,
    unknown_score: f32,
    charsmap: Option<Charsmap>,
    /// A space goes before a text.
    pub(super) space_prefix: bool,
    /// Runs of spaces become one, and those at the ends vanish; each word then has a space before it.
    merge_spaces: bool,
}

/// The best way to reach a position: by this token, from that position.
#[derive(Debug, Clone, Copy)]
struct Best {
    score: f64,
    from: usize,
    token: Option<u32>,
}

impl Unigram {
    pub(super) fn new(
        tokens: &Table,
        kinds: &[u8],
        mut scores: Vec<f32>,
        unknown: Option<u32>,
        charsmap: Option<Charsmap>,
        (space_prefix, merge_spaces): (bool, bool),
    ) -> Unigram {
        let mut least = f32::MAX;
        for (score, kind) in scores.iter_mut().zip(kinds) {
            if kind & NORMAL != 0 {
                least = least.min(*score);
            } else if kind & USER_DEFINED != 0 {
                *score = 0.0;
            }
        }
        let usable = (0u32..).zip(kinds).filter(|(_, kind)| *kind & (NORMAL | USER_DEFINED | UNUSED) != 0);
        let mut sorted: Vec<u32> = usable.map(|(id, _)| id).collect();
        sorted.sort_unstable_by_key(|id| (tokens.get(*id), *id));
        let unknown_score = least - UNKNOWN_PENALTY;
        Unigram { sorted, scores, unknown, unknown_score, charsmap, space_prefix, merge_spaces }
    }

    /// Appends the tokens of a text without special tokens.
    pub(super) fn encode(&self, tokens: &Table, text: &str, out: &mut Vec<u32>) {
        let text = self.normalize(text);
        let nothing = Best { score: f64::MIN, from: 0, token: self.unknown };
        let mut best = vec![nothing; text.len() + 1];
        best[0].score = 0.0;
        for (at, c) in text.char_indices() {
            let before = best[at].score;
            let mut relax = |len: usize, score: f32, token: Option<u32>| {
                if let Some(b) = best.get_mut(at + len).filter(|b| before + f64::from(score) > b.score) {
                    *b = Best { score: before + f64::from(score), from: at, token };
                }
            };
            let mut whole_character = false;
            self.prefixes(tokens, &text.as_bytes()[at..], |len, id| {
                whole_character |= len == c.len_utf8();
                relax(len, self.scores.get(id as usize).copied().unwrap_or(0.0), Some(id));
            });
            if !whole_character {
                relax(c.len_utf8(), self.unknown_score, self.unknown);
            }
        }
        let (first, mut at) = (out.len(), text.len());
        let mut unknown_follows = false;
        while at > 0 {
            let Best { from, token, .. } = best[at];
            // Several unknown characters in a row are one unknown token.
            let unknown = token == self.unknown;
            out.extend(token.filter(|_| !(unknown && unknown_follows)));
            unknown_follows = unknown;
            at = from;
        }
        out[first..].reverse();
    }

    /// Every token that `text` begins with, shortest first.
    fn prefixes(&self, tokens: &Table, text: &[u8], mut found: impl FnMut(usize, u32)) {
        // All of `range` begin with the bytes read so far.
        let mut range = self.sorted.as_slice();
        for (depth, byte) in text.iter().enumerate() {
            let next = |id: &u32| tokens.get(*id).and_then(|token| token.get(depth)).copied();
            let low = range.partition_point(|id| next(id).is_none_or(|b| b < *byte));
            let high = range.partition_point(|id| next(id).is_none_or(|b| b <= *byte));
            range = &range[low..high];
            let Some(first) = range.first() else { return };
            if tokens.get(*first).is_some_and(|token| token.len() == depth + 1) {
                found(depth + 1, *first);
            }
        }
    }

    /// Replaces characters by the map, and spaces by U+2581.
    fn normalize(&self, text: &str) -> String {
        let mut normalized = String::with_capacity(text.len() + text.len() / 2 + 3);
        let (mut inside_word, mut prefixed) = (false, false);
        let mut put = |c: char| {
            if c == ' ' {
                inside_word = false;
                if !self.merge_spaces {
                    normalized.push_str(SPACE);
                }
                return;
            }
            if !inside_word {
                inside_word = true;
                if self.merge_spaces || (self.space_prefix && !prefixed) {
                    normalized.push_str(SPACE);
                    prefixed = true;
                }
            }
            normalized.push(c);
        };
        let mut left = text;
        while let Some(c) = left.chars().next() {
            match self.charsmap.as_ref().and_then(|map| map.replace(left)) {
                Some((len, replacement)) => {
                    replacement.chars().for_each(&mut put);
                    left = left.get(len..).unwrap_or("");
                }
                None => {
                    put(c);
                    left = &left[c.len_utf8()..];
                }
            }
        }
        normalized
    }
}
