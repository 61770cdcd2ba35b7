//! `tokenizer.json`: byte-level byte-pair encoding, or SentencePiece's in the spelling of the `tokenizers` library.

use super::bpe::pre_tokenizer;
use super::{Token, Vocabulary, kind};
use serde_json::Value as Json;
use std::collections::HashMap;

/// An id beyond this is a mistake.
const MAX_ID: u64 = 1 << 26;

/// Reads the model; tokens that are only `added_tokens` are not among them.
pub(super) fn read(json: &Json, pre: Option<&str>) -> Result<Vocabulary, String> {
    let model = json.get("model").ok_or("key `model` is missing")?;
    // Some files leave the type out.
    let name = model.get("type").and_then(Json::as_str).unwrap_or("BPE");
    if name != "BPE" {
        return Err(format!("the model `{name}` is not supported; byte-pair encoding (BPE) is"));
    }
    let vocab =
        model.get("vocab").and_then(Json::as_object).ok_or("key `model.vocab` is missing or no object")?;
    let merges = merges(model)?;
    let byte_fallback = model.get("byte_fallback").and_then(Json::as_bool).unwrap_or(false);
    let unknown = model.get("unk_token").and_then(Json::as_str);
    let mut v = Vocabulary {
        tokens: Vec::new(),
        merges: None,
        pre: "default".to_owned(),
        space_prefix: None,
        ids: Vec::new(),
        adds: adds(json),
    };
    let scores = if byte_fallback { scores(&merges) } else { HashMap::new() };
    for (text, id) in vocab {
        let id =
            id.as_u64().filter(|id| *id < MAX_ID).ok_or_else(|| format!("token `{text}` has no number"))?;
        let is_unknown = byte_fallback && unknown == Some(text);
        let byte = byte_fallback && text.len() == 6 && text.starts_with("<0x") && text.ends_with('>');
        let kind = match (is_unknown, byte) {
            (true, _) => kind::UNKNOWN,
            (_, true) => kind::BYTE,
            _ => kind::NORMAL,
        };
        if is_unknown {
            v.ids.push(("unknown", id as u32));
        }
        // What no merge makes never comes from one, so its score does not matter.
        let score =
            if kind == kind::NORMAL { scores.get(text.as_str()).copied().unwrap_or(-1e6) } else { 0.0 };
        v.set(id as usize, Token { text: text.as_bytes().to_vec(), score, kind });
    }
    if byte_fallback {
        v.space_prefix = Some(space_prefix(json));
    } else {
        v.pre = match pre {
            Some(pre) => pre.to_owned(),
            None => pre_tokenizer(json)?,
        };
        v.merges = Some(merges.iter().map(|(a, b)| [a.as_bytes(), b" ", b.as_bytes()].concat()).collect());
    }
    Ok(v)
}

/// Merges, in either spelling: `"a b"` or `["a", "b"]`.
fn merges(model: &Json) -> Result<Vec<(&str, &str)>, String> {
    let list =
        model.get("merges").and_then(Json::as_array).ok_or("key `model.merges` is missing or no array")?;
    let wrong = || "key `model.merges` has an entry that is no pair".to_owned();
    list.iter().map(|m| pair(m).ok_or_else(wrong)).collect()
}

fn pair(merge: &Json) -> Option<(&str, &str)> {
    match merge {
        Json::String(text) => text.split_once(' '),
        other => match other.as_array()?.as_slice() {
            [a, b] => Some((a.as_str()?, b.as_str()?)),
            _ => None,
        },
    }
}

/// SentencePiece takes the merge of the best result first, so a token's score is the rank of the first merge that makes it.
fn scores(merges: &[(&str, &str)]) -> HashMap<String, f32> {
    let mut scores = HashMap::with_capacity(merges.len());
    for (rank, (a, b)) in merges.iter().enumerate() {
        scores.entry([*a, *b].concat()).or_insert(-(rank as f32));
    }
    scores
}

/// Every object in `json` and below that has this type.
pub(super) fn with_type<'j>(json: Option<&'j Json>, name: &str) -> Vec<&'j Json> {
    let mut found = Vec::new();
    let mut left: Vec<&Json> = json.into_iter().collect();
    while let Some(one) = left.pop() {
        if one.get("type").and_then(Json::as_str) == Some(name) {
            found.push(one);
        }
        match one {
            Json::Array(all) => left.extend(all),
            Json::Object(map) => left.extend(map.values()),
            _ => {}
        }
    }
    found
}

fn space_prefix(json: &Json) -> bool {
    let metaspace = with_type(json.get("pre_tokenizer"), "Metaspace");
    let prepends = |m: &&Json| match m.get("prepend_scheme").and_then(Json::as_str) {
        Some(scheme) => scheme != "never",
        None => m.get("add_prefix_space").and_then(Json::as_bool).unwrap_or(true),
    };
    !with_type(json.get("normalizer"), "Prepend").is_empty() || metaspace.iter().any(prepends)
}

/// Whether BOS and EOS are added: the special tokens of the template for one text, before and after it.
fn adds(json: &Json) -> (Option<bool>, Option<bool>) {
    let template = with_type(json.get("post_processor"), "TemplateProcessing");
    let Some(single) = template.first().and_then(|t| t.get("single")).and_then(Json::as_array) else {
        return (None, None);
    };
    let special = |t: Option<&Json>| t.is_some_and(|t| t.get("SpecialToken").is_some());
    (Some(special(single.first())), Some(special(single.last()) && single.len() > 1))
}
