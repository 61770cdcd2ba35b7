//! The vocabulary, the special tokens and the chat template: from `tokenizer.model` (SentencePiece) or `tokenizer.json`, and
//! `tokenizer_config.json`.

mod bpe;
mod sentencepiece;
mod spelled;

use super::config::{Config, read_bytes, read_json_if_there};
use super::families::Family;
use super::writer::Value;
use serde_json::Value as Json;
use std::collections::HashMap;
use std::path::Path;

/// A text file of a checkpoint (a template) is not longer, in bytes.
const MAX_TEXT: u64 = 16 << 20;
/// Nor is a SentencePiece model.
const MAX_MODEL: u64 = 256 << 20;

/// Kinds of tokens by their numbers in GGUF, which are SentencePiece's.
mod kind {
    pub const NORMAL: i32 = 1;
    pub const UNKNOWN: i32 = 2;
    pub const CONTROL: i32 = 3;
    pub const USER_DEFINED: i32 = 4;
    pub const UNUSED: i32 = 5;
    pub const BYTE: i32 = 6;
}

/// A token.
#[derive(Debug, Clone)]
struct Token {
    text: Vec<u8>,
    score: f32,
    kind: i32,
}

/// What a tokenizer is, whatever it was read from.
#[derive(Debug)]
struct Vocabulary {
    /// By id; `None` where no token has the number.
    tokens: Vec<Option<Token>>,
    /// For byte-pair encoding, its merges, `left right`.
    merges: Option<Vec<Vec<u8>>>,
    /// `tokenizer.ggml.pre`.
    pre: String,
    /// SentencePiece's: whether a space goes before a text.
    space_prefix: Option<bool>,
    /// Ids that the model itself names: `bos`, `eos`, `unknown`, `padding`.
    ids: Vec<(&'static str, u32)>,
    /// Whether the tokenizer adds BOS and EOS, where it says so.
    adds: (Option<bool>, Option<bool>),
}

impl Vocabulary {
    fn set(&mut self, id: usize, token: Token) {
        if self.tokens.len() <= id {
            self.tokens.resize(id + 1, None);
        }
        if let Some(slot) = self.tokens.get_mut(id) {
            *slot = Some(token);
        }
    }
}

/// Writes the keys of the tokenizer in `folder`.
pub(super) fn write(
    folder: &Path,
    family: &Family,
    config: &Config,
    vocab_size: usize,
    pre: Option<&str>,
    keys: &mut Vec<(String, Value)>,
) -> Result<(), String> {
    let (model, json) = (folder.join("tokenizer.model"), folder.join("tokenizer.json"));
    let settings = read_json_if_there(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
    let all = read_json_if_there(&json)?;
    let mut vocabulary = if model.exists() {
        sentencepiece::read(&read_bytes(&model, MAX_MODEL)?)
            .map_err(|e| format!("{}: {e}", model.display()))?
    } else if let Some(all) = &all {
        spelled::read(all, pre).map_err(|e| format!("{}: {e}", json.display()))?
    } else {
        return Err(format!(
            "{}: there is no tokenizer.model and no tokenizer.json in it; --tokenizer DIR takes them from another folder",
            folder.display()
        ));
    };
    let fail = |file: &str, what: String| format!("{}: {what}", folder.join(file).display());
    add_tokens(&mut vocabulary, added_in_json(all.as_ref())?, vocab_size)
        .map_err(|e| fail("tokenizer.json", e))?;
    let added = read_json_if_there(&folder.join("added_tokens.json"))?;
    add_tokens(&mut vocabulary, added_in_map(added.as_ref())?, vocab_size)
        .map_err(|e| fail("added_tokens.json", e))?;
    add_tokens(&mut vocabulary, added_in_settings(&settings)?, vocab_size)
        .map_err(|e| fail("tokenizer_config.json", e))?;
    if vocabulary.tokens.len() > vocab_size {
        let (n, have) = (vocabulary.tokens.len(), vocab_size);
        return Err(format!("{}: {n} tokens, and the embedding has {have} rows", folder.display()));
    }
    if family.name.starts_with("gemma") {
        gemma(&mut vocabulary);
    }
    let settings = Config::of(&folder.join("tokenizer_config.json"), settings);
    keys.extend(keys_of(vocabulary, &settings, config, vocab_size)?);
    if let Some(template) = template(folder, &settings)? {
        keys.push(("tokenizer.chat_template".to_owned(), Value::Text(template)));
    }
    Ok(())
}

fn keys_of(
    v: Vocabulary,
    settings: &Config,
    config: &Config,
    vocab_size: usize,
) -> Result<Vec<(String, Value)>, String> {
    let mut keys = Vec::new();
    let mut key = |name: &str, value: Value| keys.push((format!("tokenizer.ggml.{name}"), value));
    let byte_level = v.merges.is_some();
    key("model", Value::Text(if byte_level { "gpt2" } else { "llama" }.to_owned()));
    key("pre", Value::Text(v.pre));
    // The embedding may have more rows than there are tokens.
    let padded: Vec<Token> = (0..vocab_size)
        .map(|i| {
            let unused =
                || Token { text: format!("[PAD{i}]").into_bytes(), score: -1000.0, kind: kind::UNUSED };
            v.tokens.get(i).cloned().flatten().unwrap_or_else(unused)
        })
        .collect();
    let mut by_text: HashMap<&[u8], u32> = HashMap::with_capacity(padded.len());
    for (id, token) in (0u32..).zip(&padded) {
        by_text.entry(&token.text).or_insert(id);
    }
    let mut ids: Vec<(&str, u32)> = Vec::new();
    for (name, setting) in
        [("bos", "bos"), ("eos", "eos"), ("unknown", "unk"), ("padding", "pad"), ("eot", "eot")]
    {
        let text = settings.special(&format!("{setting}_token"));
        let said = text.and_then(|t| by_text.get(t.as_bytes()).copied());
        let own = v.ids.iter().find(|(n, _)| *n == name).map(|(_, id)| *id);
        let number = || config.token_id(&format!("{setting}_token_id"));
        let id = said.or(own).or_else(number).filter(|id| (*id as usize) < vocab_size);
        ids.extend(id.map(|id| (name, id)));
    }
    let scores = padded.iter().map(|t| t.score).collect();
    let kinds = padded.iter().map(|t| t.kind).collect();
    key("tokens", Value::Texts(padded.iter().map(|t| t.text.clone()).collect()));
    if !byte_level {
        key("scores", Value::F32s(scores));
    }
    key("token_type", Value::I32s(kinds));
    if let Some(merges) = v.merges {
        key("merges", Value::Texts(merges));
    }
    for (name, id) in &ids {
        key(&format!("{name}_token_id"), Value::U32(*id));
    }
    let has = |name: &str| ids.iter().any(|(n, _)| *n == name);
    let adds = |setting: &str, own: Option<bool>| Ok::<_, String>(settings.opt_bool(&[setting])?.or(own));
    for (token, name, own) in [("bos", "add_bos_token", v.adds.0), ("eos", "add_eos_token", v.adds.1)] {
        if let Some(add) = adds(name, own)? {
            key(name, Value::Bool(add && has(token)));
        }
    }
    if let Some(prefix) = v.space_prefix {
        key("add_space_prefix", Value::Bool(prefix));
    }
    Ok(keys)
}

/// A token that is beside the model: its id, its text, and whether it is special.
type Added = (u64, String, bool);

fn added_in_json(json: Option<&Json>) -> Result<Vec<Added>, String> {
    let list = json.and_then(|j| j.get("added_tokens")).and_then(Json::as_array);
    let one = |t: &Json| {
        let text = t.get("content").and_then(Json::as_str)?.to_owned();
        Some((t.get("id")?.as_u64()?, text, t.get("special").and_then(Json::as_bool).unwrap_or(false)))
    };
    let wrong = || "key `added_tokens` has an entry without id or content".to_owned();
    list.into_iter().flatten().map(|t| one(t).ok_or_else(wrong)).collect()
}

fn added_in_map(json: Option<&Json>) -> Result<Vec<Added>, String> {
    let map = json.and_then(Json::as_object);
    let wrong = || "added_tokens.json: an id is not a number".to_owned();
    map.into_iter()
        .flatten()
        .map(|(text, id)| Ok((id.as_u64().ok_or_else(wrong)?, text.clone(), looks_special(text))))
        .collect()
}

fn added_in_settings(settings: &Json) -> Result<Vec<Added>, String> {
    let map = settings.get("added_tokens_decoder").and_then(Json::as_object);
    let one = |id: &str, t: &Json| {
        let text = t.get("content").and_then(Json::as_str)?.to_owned();
        Some((id.parse().ok()?, text, t.get("special").and_then(Json::as_bool).unwrap_or(false)))
    };
    let wrong =
        || "tokenizer_config.json: key `added_tokens_decoder` has an entry without id or content".to_owned();
    map.into_iter().flatten().map(|(id, t)| one(id, t).ok_or_else(wrong)).collect()
}

fn add_tokens(v: &mut Vocabulary, added: Vec<Added>, vocab_size: usize) -> Result<(), String> {
    for (id, text, special) in added {
        let fits = usize::try_from(id).ok().filter(|id| *id < vocab_size);
        let Some(at) = fits else {
            return Err(format!(
                "the added token `{text}` has the number {id}, and the embedding {vocab_size} rows"
            ));
        };
        let old = v.tokens.get(at).cloned().flatten();
        let kind = match &old {
            // What SentencePiece knows of its own tokens is more than what is said beside it.
            Some(t) if matches!(t.kind, kind::UNKNOWN | kind::BYTE | kind::CONTROL) => t.kind,
            _ if special || looks_special(&text) => kind::CONTROL,
            _ => kind::USER_DEFINED,
        };
        let score = old.map_or(-1000.0, |t| t.score);
        // These are matched in the text as it is, where SentencePiece's spelling of a space does not occur.
        let text = if v.merges.is_none() { text.replace('\u{2581}', " ") } else { text };
        v.set(at, Token { text: text.into_bytes(), score, kind });
    }
    Ok(())
}

/// Tokens that mark something and are not always declared special.
fn looks_special(text: &str) -> bool {
    let between = |a: &str, b: &str| text.starts_with(a) && text.ends_with(b);
    ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(&text)
        || between("<|", "|>")
        || between("<｜", "｜>")
        || between("<unused", ">")
}

/// Gemma's vocabulary: no space before a text, and marks of turns that are control tokens.
fn gemma(v: &mut Vocabulary) {
    v.space_prefix = Some(false);
    for token in v.tokens.iter_mut().flatten() {
        if ["<start_of_turn>", "<end_of_turn>"].iter().any(|t| t.as_bytes() == token.text)
            || (token.kind == kind::USER_DEFINED && token.text.starts_with(b"<unused"))
        {
            token.kind = kind::CONTROL;
        }
    }
}

/// `chat_template.jinja`, or the template of `tokenizer_config.json`; of several there, the one called `default`.
fn template(folder: &Path, settings: &Config) -> Result<Option<String>, String> {
    let file = folder.join("chat_template.jinja");
    if file.exists() {
        let text = String::from_utf8(read_bytes(&file, MAX_TEXT)?);
        return text.map(Some).map_err(|_| format!("{}: not UTF-8 text", file.display()));
    }
    Ok(match settings.get(&["chat_template"]) {
        Some((_, Json::String(text))) => Some(text.clone()),
        Some((_, Json::Array(several))) => {
            let named = |t: &&Json| t.get("name").and_then(Json::as_str) == Some("default");
            let one = several.iter().find(named);
            one.and_then(|t| t.get("template")).and_then(Json::as_str).map(str::to_owned)
        }
        _ => None,
    })
}

impl Config {
    /// A special token's text, which is written as a string or as an object with `content`.
    fn special(&self, name: &str) -> Option<&str> {
        match self.get(&[name])?.1 {
            Json::String(text) => Some(text),
            other => other.get("content").and_then(Json::as_str),
        }
    }

    /// An id, or the first of several.
    fn token_id(&self, name: &str) -> Option<u32> {
        let value = self.get(&[name])?.1;
        let one = value.as_array().and_then(|a| a.first()).unwrap_or(value);
        one.as_u64().and_then(|id| u32::try_from(id).ok())
    }
}
