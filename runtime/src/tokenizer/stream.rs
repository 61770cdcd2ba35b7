//! Text from tokens as they come, in whole characters.

use super::Tokenizer;

/// Turns tokens into text one by one. A character whose bytes are spread over several tokens comes with the last of
/// them; bytes that are no character become U+FFFD.
#[derive(Debug)]
pub struct StreamDecoder<'t> {
    tokenizer: &'t Tokenizer,
    /// Bytes of a character that is not complete.
    pending: Vec<u8>,
    /// Whether a leading space is the tokenizer's, not the text's.
    strip_space: bool,
    special: bool,
}

impl<'t> StreamDecoder<'t> {
    /// A decoder for text that goes on from other text, such as an answer after its prompt. Control tokens are silent.
    pub fn new(tokenizer: &'t Tokenizer) -> StreamDecoder<'t> {
        StreamDecoder { tokenizer, pending: Vec::new(), strip_space: false, special: false }
    }

    /// A decoder for a whole text: the space that some tokenizers put before a text is taken off again. `special` tells
    /// whether control tokens are written out.
    pub fn from_start(tokenizer: &'t Tokenizer, special: bool) -> StreamDecoder<'t> {
        StreamDecoder { strip_space: tokenizer.adds_space_prefix(), special, ..StreamDecoder::new(tokenizer) }
    }

    /// The characters that are complete with token `id`. A number that is no token adds nothing.
    pub fn push(&mut self, id: u32) -> String {
        let control = self.tokenizer.is_control(id);
        if control && !self.special {
            return String::new();
        }
        let start = self.pending.len();
        self.tokenizer.push_bytes(id, &mut self.pending);
        if self.strip_space && !control && self.pending.len() > start {
            if self.pending.get(start) == Some(&b' ') {
                self.pending.remove(start);
            }
            self.strip_space = false;
        }
        let mut text = String::new();
        let mut keep = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            let bad = chunk.invalid();
            if !bad.is_empty() {
                // Only the end of the bytes can be a character's beginning; anything else is wrong for good.
                let at_end = chunk.valid().len() + bad.len() == self.pending.len() - keep;
                if at_end && incomplete(bad) {
                    keep += chunk.valid().len();
                    break;
                }
                text.push('\u{fffd}');
            }
            keep += chunk.valid().len() + bad.len();
        }
        self.pending.drain(..keep);
        text
    }

    /// What is left at the end: U+FFFD if a character was never completed.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

/// Whether more bytes can make `bytes` a character.
fn incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
}
