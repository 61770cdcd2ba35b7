//! Pre-tokenizers: how a text is cut into words before byte-pair encoding, by the names of `tokenizer.ggml.pre`.
//!
//! Names and expressions are facts, taken from llama.cpp's `src/llama-vocab.cpp`, and equal to what it does but for what
//! it approximates and what is here as the models were trained: the case of non-ASCII letters (`tekken`, `gpt-4o` and its
//! kin, `kimi-k2`), combining marks inside words of these, white space beyond ASCII inside the CJK range of `deepseek-llm`
//! and `deepseek-coder`, digits beyond ASCII (`superbpe`), digits that a letter follows (`tiny_aya`), and what lies before
//! digits (`afmoe`).

use super::split::{
    BAILING, CL100K, EXAONE_MOE, FAST, GPT2, JAIS2, KIMI_K2, MINICPM5, O200K, O200K_DIGIT, PUNCT,
    PUNCT_BACKTICK, Piece, QWEN2, QWEN35, SEED_CODER, TEKKEN, THREE_DIGITS, UFAKZEKA,
};

/// One row of the table.
#[derive(Debug)]
pub(super) struct Pre {
    names: &'static [&'static str],
    /// Each expression cuts the pieces that the one before left; what lies between two matches is a piece too.
    patterns: &'static [&'static str],
    /// A word that is a token is taken whole, whatever the merges say.
    pub(super) ignore_merges: bool,
    /// Whether BOS is added when `tokenizer.ggml.add_bos_token` is absent.
    pub(super) add_bos: bool,
    /// Words are spelt in the byte-level alphabet; otherwise they are plain UTF-8 with U+2581 for spaces.
    pub(super) byte_level: bool,
    /// A run of newlines that is a token is taken whole, because merges do not reach it.
    pub(super) whole_newlines: bool,
}

const fn row(names: &'static [&'static str], patterns: &'static [&'static str]) -> Pre {
    Pre { names, patterns, ignore_merges: false, add_bos: false, byte_level: true, whole_newlines: false }
}

const fn whole_words(row: Pre) -> Pre {
    Pre { ignore_merges: true, ..row }
}

const fn with_bos(row: Pre) -> Pre {
    Pre { add_bos: true, ..row }
}

/// Merges run over whole lines of plain UTF-8.
const fn plain(row: Pre) -> Pre {
    Pre { byte_level: false, ..row }
}

const fn with_whole_newlines(row: Pre) -> Pre {
    Pre { whole_newlines: true, ..row }
}

/// Groups of three digits, counted from the right: `afmoe`, `tiny_aya`, and `superbpe`, which only cuts where a group begins.
const FROM_RIGHT: &str = r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))";
const FROM_RIGHT_OF_WORDS: &str = r"\d{1,3}(?=(?:\d{3})*\b)";
const BEFORE_THREES: &str = r"(?=(\d{3})+(?!\d))";

/// The expressions that count digits from the right, which looks through the whole run for each group: the runs that they cut, and whether
/// the first group is a piece of its own, apart from what lies before it.
const THREES: &[(&str, &str, bool)] =
    &[(FROM_RIGHT, r"\p{N}+", true), (FROM_RIGHT_OF_WORDS, r"\d+\b", true), (BEFORE_THREES, r"\d+", false)];

const CJK: &str = r"[一-龥぀-ゟ゠-ヿ]+";
const LINES: &str = r"[^\n]+|[\n]+";

#[rustfmt::skip]
const TABLE: &[Pre] = &[
    row(&["default"], &[PUNCT, GPT2, r"\p{N}+", THREE_DIGITS]),
    row(&["gpt-2", "phi-2", "gigachat", "a.x-4.0", "mellum", "modern-bert", "exaone4", "mpt", "olmo", "jais",
        "trillion", "granite-docling", "jina-es", "jina-de", "jina-v1-en", "jina-v2-es", "jina-v2-de", "jina-v2-code",
        "roberta-bpe"], &[GPT2]),
    row(&["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"],
        &[r"\p{N}", GPT2]),
    row(&["falcon"], &[PUNCT_BACKTICK, GPT2, THREE_DIGITS]),
    with_bos(whole_words(row(&["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0",
        "lfm2", "jina-v5-nano"], &[CL100K]))),
    row(&["jais-2"], &[JAIS2]),
    row(&["dbrx", "smaug-bpe", "chatglm-bpe"], &[CL100K]),
    whole_words(row(&["glm4", "glm5"], &[CL100K])),
    row(&["qwen2", "stablelm2", "deepseek-r1-qwen", "kormo", "megrez", "hunyuan", "solar-open", "grok-2",
        "f2llmv2"], &[QWEN2]),
    row(&["qwen35"], &[QWEN35]),
    row(&["laguna"], &[LINES, QWEN2]),
    row(&["exaone-moe"], &[EXAONE_MOE]),
    row(&["superbpe"], &[r"\p{N}+", BEFORE_THREES]),
    whole_words(row(&["minicpm5"], &[r"\p{N}{1,3}", MINICPM5])),
    row(&["seed-coder"], &[SEED_CODER]),
    row(&["bailingmoe", "bailingmoe2", "llada-moe"], &[BAILING]),
    row(&["ufakzeka"], &[UFAKZEKA]),
    with_bos(whole_words(row(&["tekken"], &[TEKKEN]))),
    row(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[O200K]),
    whole_words(row(&["granite-embed-multi-97m"], &[O200K])),
    row(&["tiny_aya", "cohere2moe"], &[FROM_RIGHT_OF_WORDS, O200K]),
    row(&["kimi-k2"], &[KIMI_K2]),
    whole_words(row(&["youtu"], &[r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+", O200K_DIGIT])),
    row(&["deepseek-llm"], &[r"[\r\n]", r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", r"[一-龥ࠀ-一가-퟿]+", r"\p{N}+"]),
    row(&["deepseek-coder"], &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+", r"\p{N}"]),
    row(&["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], &[r"\p{N}{1,3}", CJK, r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##]),
    row(&["spark2_5"], &[r"\p{N}{1,3}", CJK, r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"##, r"\p{N}"]),
    row(&["afmoe"], &[FROM_RIGHT, r"[一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+", r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##]),
    row(&["bloom", "poro-chat", "gpt3-finnish"], &[r" ?[^(\s|.,!?…。，、।۔،)]+"]),
    row(&["viking"], &[r" ?[^(\s|.,!?…。，、।۔،)]+", r"\p{N}"]),
    with_bos(row(&["chameleon"], &[r"<sentinel:[0-9]+>", r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", r"([\t\n]|    |  )", r"\p{N}", r"[\p{P}!-/:-@\[-`{-~]", GPT2])),
    with_bos(with_whole_newlines(plain(row(&[GEMMA4, "granite-embed-multi-311m"], &[LINES])))),
    plain(row(&["sarvam-moe"], &[LINES])),
];

/// The pre-tokenizer of `tokenizer.ggml.model = "gemma4"`.
pub(super) const GEMMA4: &str = "gemma4";

/// The row of a name.
pub(super) fn lookup(name: &str) -> Option<&'static Pre> {
    TABLE.iter().find(|row| row.names.contains(&name))
}

/// Every name, for an error message.
pub(super) fn names() -> String {
    let names: Vec<&str> = TABLE.iter().flat_map(|row| row.names).copied().collect();
    names.join(", ")
}

/// One expression, ready to cut.
#[derive(Debug)]
pub(super) enum Pass {
    /// A hand-written equivalent.
    Fast(Piece),
    /// One of [`THREES`], by the expression of its runs.
    Threes { runs: Box<fancy_regex::Regex>, first_alone: bool },
    /// The expression itself.
    Regex(Box<fancy_regex::Regex>),
}

impl Pass {
    pub(super) fn new(pattern: &str) -> Result<Pass, String> {
        if let Some((_, piece)) = FAST.iter().find(|(p, _)| *p == pattern) {
            return Ok(Pass::Fast(*piece));
        }
        if let Some((_, runs, first_alone)) = THREES.iter().find(|(p, ..)| *p == pattern) {
            return Ok(Pass::Threes { runs: compiled(runs)?, first_alone: *first_alone });
        }
        Pass::regex(pattern)
    }

    /// The expression itself, whether or not there is an equivalent.
    pub(super) fn regex(pattern: &str) -> Result<Pass, String> {
        compiled(pattern).map(Pass::Regex)
    }

    /// Gives the pieces of `text` to `out`, in order; together they are `text`.
    pub(super) fn pieces<'t>(&self, text: &'t str, out: &mut dyn FnMut(&'t str)) {
        match self {
            Pass::Fast(piece) => {
                let mut left = text;
                while !left.is_empty() {
                    let (word, rest) = left.split_at(piece(left).max(1));
                    out(word);
                    left = rest;
                }
            }
            Pass::Threes { runs, first_alone } => {
                let mut end = 0;
                let mut cut = |at: usize| {
                    if end < at {
                        out(&text[end..at]);
                        end = at;
                    }
                };
                for run in runs.find_iter(text).map_while(Result::ok) {
                    let digits = run.as_str().chars().count();
                    if *first_alone {
                        cut(run.start());
                    }
                    for (i, (at, _)) in run.as_str().char_indices().enumerate() {
                        if (digits - i) % 3 == 0 {
                            cut(run.start() + at);
                        }
                    }
                    if *first_alone {
                        cut(run.end());
                    }
                }
                cut(text.len());
            }
            Pass::Regex(regex) => {
                let mut end = 0;
                // An expression that gives up (its stack is full) leaves the rest as one piece.
                for found in regex.find_iter(text).map_while(Result::ok) {
                    if end < found.start() {
                        out(&text[end..found.start()]);
                    }
                    // An expression that only looks ahead says where to cut.
                    if found.start() < found.end() {
                        out(&text[found.start()..found.end()]);
                    }
                    end = found.end();
                }
                if end < text.len() {
                    out(&text[end..]);
                }
            }
        }
    }
}

fn compiled(pattern: &str) -> Result<Box<fancy_regex::Regex>, String> {
    // A long run of spaces backtracks once per space; that is linear, so it needs no limit.
    let built = fancy_regex::RegexBuilder::new(pattern).backtrack_limit(usize::MAX).build();
    built.map(Box::new).map_err(|e| format!("the expression `{pattern}`: {e}"))
}

/// The passes of one model.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    passes: Vec<Pass>,
}

impl PreTokenizer {
    pub(super) fn new(row: &Pre) -> Result<PreTokenizer, String> {
        row.patterns
            .iter()
            .map(|p| Pass::new(p))
            .collect::<Result<_, _>>()
            .map(|passes| PreTokenizer { passes })
    }

    /// Gives the words of `text` to `out`, in order; together they are `text`.
    pub(super) fn words<'t>(&self, text: &'t str, out: &mut dyn FnMut(&'t str)) {
        cut(&self.passes, text, out);
    }
}

fn cut<'t>(passes: &[Pass], text: &'t str, out: &mut dyn FnMut(&'t str)) {
    match passes.split_first() {
        None => out(text),
        Some((pass, rest)) => pass.pieces(text, &mut |piece| cut(rest, piece, out)),
    }
}

/// The expressions that are not run as they are.
#[cfg(test)]
pub(super) fn replaced() -> impl Iterator<Item = &'static str> {
    FAST.iter().map(|(pattern, _)| *pattern).chain(THREES.iter().map(|(pattern, ..)| *pattern))
}

#[cfg(test)]
pub(super) fn all_patterns() -> Vec<&'static str> {
    TABLE.iter().flat_map(|row| row.patterns).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::{Pass, PreTokenizer, TABLE, THREES, all_patterns};

    #[test]
    fn every_expression_compiles_and_loses_nothing() {
        let text = "It's 12345 ÉCOLE d'été\r\n\n  if (x>=1)\t{ 漢字かな가나다 } <sentinel:7> IMGIMGABZ 😀 \u{3000}!  ";
        for row in TABLE {
            let mut joined = String::new();
            PreTokenizer::new(row).unwrap().words(text, &mut |word| {
                assert!(!word.is_empty());
                joined.push_str(word);
            });
            assert_eq!(joined, text, "{:?}", row.names);
        }
        for pattern in all_patterns() {
            Pass::regex(pattern).unwrap();
        }
    }

    /// A run of digits is looked through once, not for every group of three in it.
    #[test]
    fn long_runs_of_digits_are_cut_at_once() {
        let digits = "1234567890".repeat(100_000);
        for (pattern, ..) in THREES {
            let (mut pieces, mut bytes) = (0, 0);
            Pass::new(pattern).unwrap().pieces(&digits, &mut |piece| {
                pieces += 1;
                bytes += piece.len();
            });
            assert_eq!((pieces, bytes), (333_334, 1_000_000), "`{pattern}`");
        }
    }

    #[test]
    fn no_name_is_listed_twice() {
        let mut names: Vec<&str> = TABLE.iter().flat_map(|row| row.names).copied().collect();
        let n = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), n);
    }
}
