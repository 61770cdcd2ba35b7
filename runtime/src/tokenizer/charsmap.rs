//! SentencePiece's precompiled map of characters (`tokenizer.ggml.precompiled_charsmap`): a double-array trie from
//! sequences of characters to offsets into a list of replacements, each ended by a zero byte.
//!
//! The file holds the length of the trie in bytes, the trie, and the replacements. A node has its label in bits 0–7, "a
//! value hangs here" in bit 8, and the offset to its children in bits 10–30, shifted by 8 more if bit 9 is set; a value
//! has bit 31 set. The child for byte `c` of a node whose children lie at `o` is node `o ^ c`.

/// The trie and the replacements.
#[derive(Debug)]
pub(super) struct Charsmap {
    nodes: Vec<u32>,
    replacements: Vec<u8>,
}

impl Charsmap {
    /// Reads the map.
    ///
    /// # Errors
    /// A description, when the lengths do not fit.
    pub(super) fn new(bytes: &[u8]) -> Result<Charsmap, String> {
        let short = || format!("has {} bytes, fewer than it says", bytes.len());
        let (len, rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
        let len = u32::from_le_bytes(*len) as usize;
        let (trie, replacements) = rest.split_at_checked(len).ok_or_else(short)?;
        let nodes = trie.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        Ok(Charsmap { nodes, replacements: replacements.to_vec() })
    }

    /// What stands for the longest beginning of `text` that the map knows, and its length in bytes. A broken map knows
    /// nothing where it is broken.
    pub(super) fn replace(&self, text: &str) -> Option<(usize, &str)> {
        let offset = |node: u32| (node >> 10) << ((node & 1 << 9) >> 6);
        let mut at = offset(*self.nodes.first()?);
        let mut longest = None;
        for (i, byte) in text.bytes().enumerate().take_while(|(_, byte)| *byte != 0) {
            at ^= u32::from(byte);
            let Some(node) = self.nodes.get(at as usize) else { break };
            if node & (1 << 31 | 0xff) != u32::from(byte) {
                break;
            }
            at ^= offset(*node);
            if node >> 8 & 1 == 1 {
                longest = self.nodes.get(at as usize).map(|value| (i + 1, value & !(1 << 31)));
            }
        }
        let (len, start) = longest.filter(|(len, _)| text.is_char_boundary(*len))?;
        let tail = self.replacements.get(start as usize..)?;
        let end = tail.iter().position(|b| *b == 0)?;
        Some((len, std::str::from_utf8(&tail[..end]).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::Charsmap;

    #[test]
    fn broken_maps_are_refused_or_know_nothing() {
        for bytes in [&b""[..], b"\x01\0\0", b"\x04\0\0\0", b"\xff\xff\xff\xff\0\0\0\0"] {
            assert!(Charsmap::new(bytes).is_err());
        }
        assert_eq!(Charsmap::new(b"\0\0\0\0").unwrap().replace("a"), None);
        // Nodes that lead anywhere, and values that point anywhere.
        let mut state = 1u64;
        for _ in 0..2000 {
            let mut bytes = 1024u32.to_le_bytes().to_vec();
            for _ in 0..300 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                bytes.extend(((state >> 33) as u32 & 0x8001_ff7f).to_le_bytes());
            }
            let map = Charsmap::new(&bytes).unwrap();
            for text in ["a", "abc", "é漢字", "\0"] {
                assert!(map.replace(text).is_none_or(|(len, _)| len <= text.len()));
            }
        }
    }
}
