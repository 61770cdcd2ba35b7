//! Classes of characters, as the pre-tokenizers' regular expressions see them.

use unicode_properties::{GeneralCategory as C, UnicodeGeneralCategory};

/// `\p{L}`
pub(super) const LETTER: u8 = 1;
/// `\p{M}`
pub(super) const MARK: u8 = 2;
/// `\p{N}`
pub(super) const NUMBER: u8 = 4;
/// `\s`
pub(super) const SPACE: u8 = 8;
/// `\p{P}`
pub(super) const PUNCTUATION: u8 = 16;
/// `\p{Lu}`, `\p{Lt}`, `\p{Lm}`, `\p{Lo}`, `\p{M}`: what a capitalised word begins with
pub(super) const UPPER: u8 = 64;
/// `\p{Ll}`, `\p{Lm}`, `\p{Lo}`, `\p{M}`: what it goes on with
pub(super) const LOWER: u8 = 128;

const ASCII: [u8; 128] = {
    let mut table = [0; 128];
    let mut c = 0u8;
    while c < 128 {
        table[c as usize] = match c {
            b'A'..=b'Z' => LETTER | UPPER,
            b'a'..=b'z' => LETTER | LOWER,
            b'0'..=b'9' => NUMBER,
            9..=13 | b' ' => SPACE,
            b'$' | b'+' | b'<' | b'=' | b'>' | b'^' | b'`' | b'|' | b'~' => 0,
            33..=126 => PUNCTUATION,
            _ => 0,
        };
        c += 1;
    }
    table
};

/// The classes that `c` is in.
#[inline]
pub(super) fn class(c: char) -> u8 {
    if c.is_ascii() { ASCII[c as usize & 127] } else { wide(c) }
}

fn wide(c: char) -> u8 {
    if c.is_whitespace() {
        return SPACE;
    }
    match c.general_category() {
        C::UppercaseLetter | C::TitlecaseLetter => LETTER | UPPER,
        C::LowercaseLetter => LETTER | LOWER,
        C::ModifierLetter | C::OtherLetter => LETTER | UPPER | LOWER,
        C::NonspacingMark | C::SpacingMark | C::EnclosingMark => MARK | UPPER | LOWER,
        C::DecimalNumber | C::LetterNumber | C::OtherNumber => NUMBER,
        C::ConnectorPunctuation
        | C::DashPunctuation
        | C::OpenPunctuation
        | C::ClosePunctuation
        | C::InitialPunctuation
        | C::FinalPunctuation
        | C::OtherPunctuation => PUNCTUATION,
        _ => 0,
    }
}

/// The classes of the first character, 0 at the end.
#[inline]
pub(super) fn first(s: &str) -> u8 {
    s.chars().next().map_or(0, class)
}

/// Bytes of the longest prefix whose characters are all in one of `classes` (`want`), or all in none of them.
#[inline]
pub(super) fn run(s: &str, classes: u8, want: bool) -> usize {
    s.char_indices().find(|(_, c)| (class(*c) & classes != 0) != want).map_or(s.len(), |(at, _)| at)
}
