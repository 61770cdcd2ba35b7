//! SentencePiece's byte-pair encoding by scores (`tokenizer.ggml.model = "llama"`): the neighbours that together are
//! the token of the highest score are merged first. No list of merges exists, and none is built.

use super::merge::{Merger, rank_of_score};
use super::table::Table;

/// What stands for a space in the vocabulary: U+2581.
pub(super) const SPACE: &str = "\u{2581}";

/// The scores and what to do with characters that are no token.
#[derive(Debug)]
pub(super) struct Spm {
    /// Score of each token, as a rank.
    ranks: Vec<u32>,
    /// The token of each byte, if it has one.
    bytes: Vec<Option<u32>>,
    unknown: Option<u32>,
    /// A space goes before a text, and before a text that follows a special token.
    pub(super) space_prefix: bool,
}

impl Spm {
    pub(super) fn new(tokens: &Table, scores: Vec<f32>, unknown: Option<u32>, space_prefix: bool) -> Spm {
        let ranks = scores.into_iter().map(rank_of_score).collect();
        let byte = |b: u8| tokens.find(&byte_name(b)).or_else(|| tokens.find(&[b]));
        Spm { ranks, bytes: (0..=255).map(byte).collect(), unknown, space_prefix }
    }

    /// Appends the tokens of a text without special tokens.
    pub(super) fn encode(
        &self,
        tokens: &Table,
        text: &str,
        prefix: bool,
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) {
        let mut escaped = String::with_capacity(text.len() + text.len() / 2 + 3);
        if prefix && self.space_prefix {
            escaped.push_str(SPACE);
        }
        for (i, part) in text.split(' ').enumerate() {
            if i > 0 {
                escaped.push_str(SPACE);
            }
            escaped.push_str(part);
        }
        let rank = |both: &[u8], _| tokens.find(both).and_then(|t| self.ranks.get(t as usize).copied());
        merger.run(&escaped, rank, |piece| match tokens.find(piece) {
            Some(token) => out.push(token),
            None => self.fall_back(piece, out),
        });
    }

    /// Byte tokens; the unknown token once, where a vocabulary has none.
    fn fall_back(&self, piece: &[u8], out: &mut Vec<u32>) {
        let bytes = piece.iter().map(|b| self.bytes.get(usize::from(*b)).copied().flatten());
        match bytes.collect::<Option<Vec<u32>>>() {
            Some(tokens) => out.extend(tokens),
            None => out.extend(self.unknown),
        }
    }
}

/// `<0x0A>`
pub(super) fn byte_name(byte: u8) -> [u8; 6] {
    let hex = |n: u8| b"0123456789ABCDEF"[usize::from(n & 15)];
    [b'<', b'0', b'x', hex(byte >> 4), hex(byte), b'>']
}

/// The byte that `<0x0A>` names.
pub(super) fn named_byte(name: &[u8]) -> Option<u8> {
    let digits = name.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::{byte_name, named_byte};

    #[test]
    fn bytes_have_names() {
        assert_eq!(&byte_name(0xaf), b"<0xAF>");
        assert!((0..=255).all(|b| named_byte(&byte_name(b)) == Some(b)));
        assert!([&b"<0x>"[..], b"<0x100>", b"0x0A", b"<0xZZ>", b""].iter().all(|n| named_byte(n).is_none()));
    }
}
