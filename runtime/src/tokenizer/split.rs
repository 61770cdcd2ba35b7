//! Hand-written equivalents of the commonest pre-tokenizer expressions. They need no compilation (which takes longer
//! than opening a model) and no backtracking; the tests hold each against the expression that it stands for.

use super::class::{LETTER, LOWER, MARK, NUMBER, PUNCTUATION, SPACE, UPPER, class, first, run};

/// Bytes of the first piece of a text that is not empty: a match, or what lies before the next match.
pub(super) type Piece = fn(&str) -> usize;

/// The expressions that have a hand-written equivalent.
pub(super) const FAST: &[(&str, Piece)] = &[
    (GPT2, gpt2),
    (CL100K, |s| words(s, &Words { digits: 3, ..PLAIN })),
    (QWEN2, |s| words(s, &PLAIN)),
    (QWEN35, |s| words(s, &Words { letters: LETTER | MARK, ..PLAIN })),
    (MINICPM5, |s| words(s, &Words { digits: usize::MAX, ..PLAIN })),
    (SEED_CODER, |s| words(s, &Words { tail: "", ..PLAIN })),
    (BAILING, |s| words(s, &PLAIN)),
    (UFAKZEKA, |s| words(s, &Words { contractions: false, ..PLAIN })),
    (TEKKEN, |s| cased(s, 1, false)),
    (O200K, |s| cased(s, 3, true)),
    (O200K_DIGIT, |s| cased(s, 1, true)),
    (r"\p{N}", |s| isolate(s, |c| class(c) & NUMBER != 0, 1)),
    (r"\p{N}{1,3}", |s| isolate(s, |c| class(c) & NUMBER != 0, 3)),
    (r"\p{N}+", |s| isolate(s, |c| class(c) & NUMBER != 0, usize::MAX)),
    (r"[\r\n]", |s| isolate(s, |c| matches!(c, '\r' | '\n'), 1)),
    (r"[^\n]+|[\n]+", lines),
    (THREE_DIGITS, three_digits),
    (PUNCT, |s| isolate(s, punct, usize::MAX)),
    (PUNCT_BACKTICK, |s| isolate(s, |c| c == '`' || punct(c), usize::MAX)),
];

pub(super) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
pub(super) const CL100K: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub(super) const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub(super) const QWEN35: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub(super) const MINICPM5: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub(super) const SEED_CODER: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
pub(super) const BAILING: &str = r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
pub(super) const UFAKZEKA: &str =
    r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub(super) const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub(super) const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub(super) const O200K_DIGIT: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub(super) const JAIS2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}";
pub(super) const EXAONE_MOE: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+";
pub(super) const KIMI_K2: &str = r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub(super) const THREE_DIGITS: &str = r"[0-9][0-9][0-9]";
pub(super) const PUNCT: &str = r"[\p{P}\$\+<=>\^~\|]+";
pub(super) const PUNCT_BACKTICK: &str = r"[\p{P}\$\+<=>\^~\|`]+";

fn gpt2(s: &str) -> usize {
    if let Some(n) = contraction(s, false) {
        return n;
    }
    let body = s.strip_prefix(' ').unwrap_or(s);
    let lead = s.len() - body.len();
    match first(body) {
        k if k & LETTER != 0 => lead + run(body, LETTER, true),
        k if k & NUMBER != 0 => lead + run(body, NUMBER, true),
        k if k & SPACE == 0 && !body.is_empty() => lead + run(body, SPACE | LETTER | NUMBER, false),
        _ => spaces(s),
    }
}

/// How the members of the family of `cl100k` differ.
struct Words {
    contractions: bool,
    letters: u8,
    /// Digits of one piece at most.
    digits: usize,
    /// What may follow punctuation.
    tail: &'static str,
}

const PLAIN: Words = Words { contractions: true, letters: LETTER, digits: 1, tail: "\r\n" };

fn words(s: &str, how: &Words) -> usize {
    if let Some(n) = contraction(s, true).filter(|_| how.contractions) {
        return n;
    }
    let mut chars = s.chars();
    let c = chars.next().unwrap_or('\n');
    let k = class(c);
    if k & how.letters != 0 {
        return run(s, how.letters, true);
    }
    if !matches!(c, '\r' | '\n') && k & NUMBER == 0 && first(chars.as_str()) & how.letters != 0 {
        return c.len_utf8() + run(chars.as_str(), how.letters, true);
    }
    rest(s, how.letters, how.digits, how.tail)
}

/// Words that break before a capital.
fn cased(s: &str, digits: usize, contractions: bool) -> usize {
    let c = s.chars().next().unwrap_or('\n');
    let prefix = !matches!(c, '\r' | '\n') && class(c) & (LETTER | NUMBER) == 0;
    let starts = if prefix { [Some(c.len_utf8()), Some(0)] } else { [Some(0), None] };
    // Each of the two alternatives tries with the prefix first, and then without.
    for want_lower in [true, false] {
        for start in starts.into_iter().flatten() {
            if let Some(n) = capitalised(&s[start..], want_lower) {
                let end = start + n;
                let more = if contractions { contraction(&s[end..], true) } else { None };
                return end + more.unwrap_or(0);
            }
        }
    }
    rest(s, LETTER, digits, "\r\n/")
}

/// `[upper]*[lower]+`, or else `[upper]+[lower]*`; the classes overlap.
fn capitalised(s: &str, want_lower: bool) -> Option<usize> {
    let upper = run(s, UPPER, true);
    let lower = run(&s[upper..], LOWER, true);
    if !want_lower {
        return (upper > 0).then_some(upper + lower);
    }
    if lower > 0 {
        return Some(upper + lower);
    }
    // The run of upper ones gives back until its last one is a lower one too.
    s[..upper].char_indices().rev().find(|(_, c)| class(*c) & LOWER != 0).map(|(at, c)| at + c.len_utf8())
}

/// Digits, punctuation and white space, as the families of `cl100k` and `o200k` end.
fn rest(s: &str, letters: u8, digits: usize, tail: &str) -> usize {
    if first(s) & NUMBER != 0 {
        return isolate(s, |c| class(c) & NUMBER != 0, digits);
    }
    let body = s.strip_prefix(' ').unwrap_or(s);
    let no_word = SPACE | letters | LETTER | NUMBER;
    if !body.is_empty() && first(body) & no_word == 0 {
        let end = s.len() - body.len() + run(body, no_word, false);
        let after = &s[end..];
        return end + (after.len() - after.trim_start_matches(|c| tail.contains(c)).len());
    }
    let white = run(s, SPACE, true);
    match s[..white].rfind(['\r', '\n']) {
        Some(newline) => newline + 1,
        None => spaces(s),
    }
}

/// White space, without its last character when a word follows.
fn spaces(s: &str) -> usize {
    let n = run(s, SPACE, true);
    let last = s[..n].chars().next_back().map_or(0, char::len_utf8);
    if n == 0 {
        return s.chars().next().map_or(0, char::len_utf8);
    }
    if n == s.len() || n == last { n } else { n - last }
}

/// `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll`, `'d`
fn contraction(s: &str, any_case: bool) -> Option<usize> {
    let b = s.as_bytes();
    if b.first() != Some(&b'\'') {
        return None;
    }
    let at = |i: usize| b.get(i).map_or(0, |c| if any_case { c.to_ascii_lowercase() } else { *c });
    match (at(1), at(2)) {
        (b's' | b't' | b'm' | b'd', _) => Some(2),
        (b'r' | b'v', b'e') | (b'l', b'l') => Some(3),
        _ => None,
    }
}

/// Up to `most` characters that are `wanted`, or all up to the next such.
fn isolate(s: &str, wanted: impl Fn(char) -> bool, most: usize) -> usize {
    let inside = s.chars().next().is_some_and(&wanted);
    let mut chars = s.char_indices().enumerate();
    let end = chars.find(|(i, (_, c))| wanted(*c) != inside || (inside && *i >= most));
    end.map_or(s.len(), |(_, (at, _))| at)
}

fn punct(c: char) -> bool {
    class(c) & PUNCTUATION != 0 || matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '~' | '|')
}

fn three_digits(s: &str) -> usize {
    let b = s.as_bytes();
    let three = |w: &[u8]| w.iter().all(u8::is_ascii_digit);
    match b.windows(3).position(three) {
        Some(0) => 3,
        Some(at) => at,
        None => s.len(),
    }
}

fn lines(s: &str) -> usize {
    isolate(s, |c| c == '\n', usize::MAX)
}

#[cfg(test)]
mod tests {
    use crate::tokenizer::pretokenize::{Pass, all_patterns, replaced};

    /// Every hand-written splitter against its expression, on random mixtures of the characters that matter.
    #[test]
    fn each_splitter_equals_its_expression() {
        let alphabet: Vec<char> =
            "  \t\n\r\u{b}\u{a0}\u{3000}\u{85}'''aAbBsStTrReEvVmMlLdDzZ019٣²Ⅷ.,!/\\$+<=>^~|`_-\
            éÉßǅʰªあ漢ยัิ\u{301}\u{300}़ाे\u{200d}😀€«»¿…\0\u{7f}\u{ad}\u{378}"
                .chars()
                .collect();
        let mut state = 7u64;
        let mut next = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        };
        for pattern in replaced() {
            let fast = Pass::new(pattern).unwrap();
            assert!(!matches!(fast, Pass::Regex(_)), "`{pattern}`");
            let slow = Pass::regex(pattern).unwrap();
            for round in 0..3000 {
                // All of them, letters and digits, or digits above all: `zZ019٣²Ⅷ.,`.
                let some = [&alphabet[..], &alphabet[..44], &alphabet[32..42]][round % 3];
                let text: String = (0..1 + next(24)).map(|_| some[next(some.len())]).collect();
                let (mut a, mut b) = (Vec::new(), Vec::new());
                fast.pieces(&text, &mut |s| a.push(s.to_owned()));
                slow.pieces(&text, &mut |s| b.push(s.to_owned()));
                assert_eq!(a, b, "`{pattern}` on {text:?}");
            }
        }
    }

    #[test]
    fn every_fast_pattern_is_used() {
        let used = all_patterns();
        for pattern in replaced() {
            assert!(used.contains(&pattern), "no pre-tokenizer uses `{pattern}`");
        }
    }
}
