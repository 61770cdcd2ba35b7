//! Byte-pair encoding by a list of merges (`tokenizer.ggml.model = "gpt2"`, and Gemma 4's).

use super::bytelevel;
use super::merge::Merger;
use super::pretokenize::{Pre, PreTokenizer, lookup, names};
use super::spm::{self, byte_name};
use super::table::Table;
use crate::gguf::{Array, Kind};

/// The merges and the rule that cuts words.
#[derive(Debug)]
pub(super) struct Bpe {
    /// Each merge as the file writes it, "left right"; its number is its rank.
    merges: Table,
    words: PreTokenizer,
    ignore_merges: bool,
    whole_newlines: bool,
    /// Words are spelt in the byte-level alphabet; otherwise they are plain UTF-8 with U+2581 for spaces.
    pub(super) byte_level: bool,
}

impl Bpe {
    /// The row of a pre-tokenizer's name.
    pub(super) fn row(pre: &str) -> Result<&'static Pre, String> {
        lookup(pre).ok_or_else(|| {
            format!(
                "the pre-tokenizer `{pre}` of key `tokenizer.ggml.pre` is not known; known are: {}",
                names()
            )
        })
    }

    pub(super) fn new(row: &Pre, merges: Array<'_>) -> Result<Bpe, String> {
        let key = "key `tokenizer.ggml.merges`";
        if merges.kind != Kind::Str {
            return Err(format!("{key} is not an array of strings"));
        }
        let bad = merges.strings().position(|m| !m.iter().skip(1).any(|b| *b == b' ') || m.ends_with(b" "));
        if let Some(bad) = bad {
            return Err(format!("{key}: entry {bad} is not two tokens with a space between"));
        }
        let merges = Table::new(merges.len, merges.strings()).map_err(|e| format!("{key} {e}"))?;
        let words = PreTokenizer::new(row)?;
        Ok(Bpe {
            merges,
            words,
            ignore_merges: row.ignore_merges,
            whole_newlines: row.whole_newlines,
            byte_level: row.byte_level,
        })
    }

    /// Appends the tokens of a text without special tokens.
    pub(super) fn encode(&self, tokens: &Table, text: &str, work: &mut Work, out: &mut Vec<u32>) {
        if self.byte_level {
            self.words.words(text, &mut |word| {
                work.word.clear();
                bytelevel::spell(word.as_bytes(), &mut work.word);
                self.word(tokens, work, out);
            });
        } else {
            let text = text.replace(' ', spm::SPACE);
            self.words.words(&text, &mut |word| {
                work.word.clear();
                work.word.push_str(word);
                self.word(tokens, work, out);
            });
        }
    }

    fn word(&self, tokens: &Table, work: &mut Work, out: &mut Vec<u32>) {
        let Work { word, pair, merger } = work;
        let whole = self.ignore_merges || (self.whole_newlines && word.starts_with('\n'));
        if let Some(token) = tokens.find(word.as_bytes()).filter(|_| whole) {
            out.push(token);
            return;
        }
        let rank = |both: &[u8], left: usize| {
            if both.len() >= self.merges.longest() {
                return None;
            }
            pair.clear();
            pair.extend_from_slice(&both[..left]);
            pair.push(b' ');
            pair.extend_from_slice(&both[left..]);
            self.merges.find(pair)
        };
        merger.run(word, rank, |piece| match tokens.find(piece) {
            Some(token) => out.push(token),
            None if self.byte_level => out.extend(piece.iter().filter_map(|b| tokens.find(&[*b]))),
            None => out.extend(piece.iter().filter_map(|b| tokens.find(&byte_name(*b)))),
        });
    }
}

/// Buffers that are kept from word to word.
#[derive(Debug, Default)]
pub(super) struct Work {
    word: String,
    pair: Vec<u8>,
    pub(super) merger: Merger,
}
