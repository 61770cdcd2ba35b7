//! Which of the named pre-tokenizers a `tokenizer.json` has.

use super::spelled::with_type;
use serde_json::Value as Json;

/// How texts are cut into words, by the regular expressions that are told apart by a piece of them, and what that is called in GGUF.
const SPLITS: &[(&str, &str)] = &[
    // Tekken: the case of letters matters.
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "tekken",
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "llama-bpe",
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "qwen2",
    ),
];

/// GPT-2's own expression, which `ByteLevel` has built in.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The value of `tokenizer.ggml.pre`.
pub(super) fn pre_tokenizer(json: &Json) -> Result<String, String> {
    let pre = json.get("pre_tokenizer");
    let unknown = |what: String| {
        Err(format!(
            "{what}; if a known pre-tokenizer cuts texts in the same way, give its name (tokenizer.ggml.pre) with --pre"
        ))
    };
    let bytes = with_type(pre, "ByteLevel");
    let Some(bytes) = bytes.first() else {
        return unknown(
            "it is byte-pair encoding of something else than bytes, which is not supported".to_owned(),
        );
    };
    if bytes.get("add_prefix_space").and_then(Json::as_bool) == Some(true) {
        return unknown(
            "its pre-tokenizer puts a space before every text, which is not supported".to_owned(),
        );
    }
    let own = bytes.get("use_regex").and_then(Json::as_bool).unwrap_or(true);
    let digits = with_type(pre, "Digits");
    let single = |d: &&Json| d.get("individual_digits").and_then(Json::as_bool).unwrap_or(false);
    let splits = with_type(pre, "Split");
    let regex =
        |s: &&Json| s.get("pattern").and_then(|p| p.get("Regex")).and_then(Json::as_str).map(str::to_owned);
    let Some(patterns) = splits.iter().map(regex).collect::<Option<Vec<_>>>() else {
        return unknown("its pre-tokenizer splits at a fixed text".to_owned());
    };
    match (&patterns[..], own, &digits[..]) {
        ([], true, []) => Ok("gpt-2".to_owned()),
        ([], true, [d]) if single(d) => Ok("smollm".to_owned()),
        ([one], false, []) => match SPLITS.iter().find(|(pattern, _)| pattern == one) {
            Some((_, name)) => Ok((*name).to_owned()),
            None if one == GPT2 => Ok("gpt-2".to_owned()),
            None => unknown(format!("its pre-tokenizer `{one}` is not known")),
        },
        _ => unknown("its pre-tokenizer is not known".to_owned()),
    }
}
