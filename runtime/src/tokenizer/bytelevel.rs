//! GPT-2's byte-level alphabet: every byte has a printable character, so that a vocabulary of bytes can be written as text.

/// The character of a byte: itself where it is printable in Latin-1, else the next free one from U+0100 on.
const CHARS: [char; 256] = {
    let mut table = ['\0'; 256];
    let (mut byte, mut free) = (0usize, 256u32);
    while byte < 256 {
        let printable = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        table[byte] = if printable {
            byte as u8 as char
        } else {
            free += 1;
            match char::from_u32(free - 1) {
                Some(c) => c,
                None => '\0',
            }
        };
        byte += 1;
    }
    table
};

/// The byte of each character below U+0144; `u16::MAX` where there is none.
const BYTES: [u16; 324] = {
    let mut table = [u16::MAX; 324];
    let mut byte = 0;
    while byte < 256 {
        table[CHARS[byte] as usize] = byte as u16;
        byte += 1;
    }
    table
};

/// Appends `bytes`, spelt in the alphabet.
#[inline]
pub(super) fn spell(bytes: &[u8], out: &mut String) {
    out.extend(bytes.iter().map(|b| CHARS[usize::from(*b)]));
}

/// Appends the bytes that `text` spells; what is not of the alphabet stands for itself.
pub(super) fn unspell(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match BYTES.get(c as usize).and_then(|b| u8::try_from(*b).ok()) {
                Some(byte) => out.push(byte),
                None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        out.extend_from_slice(chunk.invalid());
    }
}

#[cfg(test)]
mod tests {
    use super::{CHARS, spell, unspell};

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        let (mut text, mut back) = (String::new(), Vec::new());
        spell(&all, &mut text);
        unspell(text.as_bytes(), &mut back);
        assert_eq!(back, all);
        assert_eq!(text.chars().count(), 256);
        assert_eq!((CHARS[32], CHARS[10], CHARS[0x7f], CHARS[0xad]), ('Ġ', 'Ċ', 'ġ', '\u{143}'));
        back.clear();
        unspell("漢".as_bytes(), &mut back);
        unspell(&[0xff], &mut back);
        assert_eq!(back, [0xe6, 0xbc, 0xa2, 0xff]);
    }
}
