//! What each token is: normal, control, user-defined…, the special ids, and which tokens end an answer.

use super::table::Table;
use crate::gguf::{Gguf, Kind, Value};

/// Kinds of tokens as bits, because a token that its file calls normal may be found to be a control token too.
pub(super) const NORMAL: u8 = 1;
pub(super) const UNKNOWN: u8 = 2;
pub(super) const CONTROL: u8 = 4;
pub(super) const USER_DEFINED: u8 = 8;
pub(super) const BYTE: u8 = 16;
/// Never special and without text; only a unigram model gives it.
pub(super) const UNUSED: u8 = 32;

/// Tokens that end a turn or a text, by their text, in all known families (llama.cpp keeps the same list).
const ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|END_OF_TURN_TOKEN|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<eos>",
    "<end_of_utterance>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Tokens for filling in the middle: the key that names one, the texts that do otherwise, and whether it ends an answer.
const FILL_IN: &[(&str, &[&str], bool)] = &[
    (
        "fim_pre",
        &[
            "<|fim_prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<｜fim▁begin｜>",
            "<PRE>",
            "▁<PRE>",
            "<|code_prefix|>",
            "<|prefix|>",
        ],
        false,
    ),
    (
        "fim_suf",
        &[
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<｜fim▁hole｜>",
            "<SUF>",
            "▁<SUF>",
            "<|code_suffix|>",
            "<|suffix|>",
        ],
        false,
    ),
    (
        "fim_mid",
        &[
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<｜fim▁end｜>",
            "<MID>",
            "▁<MID>",
            "<|code_middle|>",
            "<|middle|>",
        ],
        false,
    ),
    ("fim_pad", &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"], true),
    ("fim_rep", &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"], true),
    ("fim_sep", &["<|file_sep|>"], true),
];

/// Kinds of all tokens, from `tokenizer.ggml.token_type`.
pub(super) fn read(gguf: &Gguf, n: usize) -> Result<Vec<u8>, String> {
    let key = "tokenizer.ggml.token_type";
    let Some(types) = gguf.array(key).map_err(|e| e.what)? else { return Ok(vec![NORMAL; n]) };
    if types.len != n {
        return Err(format!("key `{key}` has {} entries for {n} tokens", types.len));
    }
    if !matches!(types.kind, Kind::I32 | Kind::U32) {
        return Err(format!("key `{key}` is not an array of 32-bit integers"));
    }
    let kind = |number| match number {
        1 => NORMAL,
        2 => UNKNOWN,
        3 => CONTROL,
        4 => USER_DEFINED,
        5 => UNUSED,
        6 => BYTE,
        // 0 is an undefined token: never special, and it has no text.
        _ => 0,
    };
    Ok(types.bytes().as_chunks().0.iter().map(|b| kind(u32::from_le_bytes(*b))).collect())
}

/// An id of the key `tokenizer.ggml.{name}_token_id`.
pub(super) fn id(gguf: &Gguf, name: &str, n: usize) -> Result<Option<u32>, String> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    match gguf.get(&key) {
        // Converters write -1 for "none", in whichever type.
        None | Some(Value::Int(-1) | Value::Uint(0xffff_ffff)) => Ok(None),
        Some(_) => match gguf.uint(&key).map_err(|e| e.what)? {
            Some(id) if id < n as u64 => Ok(Some(id as u32)),
            Some(id) => Err(format!("key `{key}` is {id}, and the vocabulary has {n} tokens")),
            None => Ok(None),
        },
    }
}

/// Every token that ends an answer, ascending. Corrects the `kinds` of tokens that are known by their text.
pub(super) fn ends(
    gguf: &Gguf,
    tokens: &Table,
    kinds: &mut [u8],
    named: &[Option<u32>],
) -> Result<Vec<u32>, String> {
    let mut ends: Vec<u32> = named.iter().copied().flatten().collect();
    let find = |text: &str| tokens.find(text.as_bytes());
    let mut mark = |id: u32, set: u8, keep: u8| {
        if let Some(kind) = kinds.get_mut(id as usize) {
            *kind = *kind & keep | set;
        }
    };
    for (name, texts, is_end) in FILL_IN {
        let id = match id(gguf, name, tokens.len())? {
            Some(id) => Some(id),
            None => texts.iter().find_map(|t| find(t)).inspect(|id| mark(*id, CONTROL, !0)),
        };
        ends.extend(id.filter(|_| *is_end));
    }
    for id in ENDS.iter().filter_map(|t| find(t)) {
        mark(id, CONTROL, !0);
        ends.push(id);
    }
    // The channels of gpt-oss are part of what it says.
    for text in ["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"] {
        find(text).inspect(|id| mark(*id, USER_DEFINED, 0));
    }
    // Where an answer has several messages, `<|end|>` only ends one of them.
    let has = |text| find(text).is_some();
    let call = has("<|call|>") || has("<|calls|>");
    if let Some(end) = find("<|end|>").filter(|_| call && (has("<|return|>") || has("<|flush|>"))) {
        ends.retain(|id| *id != end);
        mark(end, USER_DEFINED, 0);
    }
    // Gemma 4 and PLaMo use `</s>` for something else.
    if let Some(end) = find("</s>").filter(|_| has("<|tool_response>") || has("<|plamo:eos|>")) {
        ends.retain(|id| *id != end);
        mark(end, NORMAL, 0);
    }
    ends.sort_unstable();
    ends.dedup();
    Ok(ends)
}
