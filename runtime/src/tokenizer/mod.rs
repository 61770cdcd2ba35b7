//! Text to tokens and back, from the vocabulary in a GGUF file.
//!
//! Three kinds of tokenizer: byte-level byte-pair encoding (`gpt2`), SentencePiece's (`llama`) and its unigram model (`t5`).
//! All give what llama.cpp gives. The build copies the vocabulary once into two flat tables: a few milliseconds, also for 262 k tokens.

mod bpe;
mod bytelevel;
mod charsmap;
mod class;
mod kinds;
mod merge;
mod pretokenize;
mod special;
mod split;
mod spm;
mod stream;
mod table;
mod unigram;

pub use stream::StreamDecoder;

use crate::gguf::{Gguf, GgufError, Kind};
use bpe::{Bpe, Work};
use charsmap::Charsmap;
use kinds::{BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED};
use merge::Merger;
use special::{Fragment, Specials};
use spm::Spm;
use table::Table;
use unigram::Unigram;

/// A model's tokenizer. It owns what it needs; the file may be closed.
#[derive(Debug)]
pub struct Tokenizer {
    tokens: Table,
    kinds: Vec<u8>,
    encoder: Encoder,
    specials: Specials,
    bos: Option<u32>,
    eos: Option<u32>,
    unknown: Option<u32>,
    add_bos: bool,
    add_eos: bool,
    /// Ascending.
    ends: Vec<u32>,
}

#[derive(Debug)]
enum Encoder {
    Bpe(Bpe),
    Spm(Spm),
    Unigram(Unigram),
}

impl Tokenizer {
    /// Builds the tokenizer of a model.
    ///
    /// # Errors
    /// Names the key of the file that is missing, wrong or not supported.
    pub fn from_gguf(gguf: &Gguf) -> Result<Tokenizer, GgufError> {
        build(gguf).map_err(|what| GgufError { file: gguf.file().to_owned(), what })
    }

    /// The tokens of `text`. With `add_special`, BOS and EOS are added where the model wants them. With `parse_special`,
    /// control tokens written in the text are taken as such; without, they are text like any other, which is what a
    /// text from somebody else needs.
    pub fn encode(&self, text: &str, add_special: bool, parse_special: bool) -> Vec<u32> {
        let mut out = Vec::with_capacity(text.len() / 4 + 2);
        out.extend(self.bos.filter(|_| add_special && self.add_bos));
        let mut work = Work::default();
        let mut after_special = true;
        for fragment in self.specials.cut(&self.tokens, &self.kinds, text, parse_special) {
            match fragment {
                Fragment::Token(id) => {
                    out.push(id);
                    after_special = true;
                }
                Fragment::Text(text) => {
                    for part in parts(text) {
                        match &self.encoder {
                            Encoder::Bpe(bpe) => bpe.encode(&self.tokens, part, &mut work, &mut out),
                            Encoder::Spm(spm) => {
                                spm.encode(&self.tokens, part, after_special, &mut work.merger, &mut out);
                            }
                            Encoder::Unigram(unigram) => unigram.encode(&self.tokens, part, &mut out),
                        }
                        after_special = false;
                    }
                }
            }
        }
        out.extend(self.eos.filter(|_| add_special && self.add_eos));
        out
    }

    /// The tokens of a text that a chat template rendered: special tokens are parsed, and BOS is added as the model wants
    /// unless the text begins with it already.
    pub fn encode_chat(&self, rendered: &str) -> Vec<u32> {
        let mut ids = self.encode(rendered, false, true);
        if let Some(bos) = self.bos.filter(|bos| self.add_bos && ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        ids
    }

    /// The text of `ids`, control tokens written out if `special`. Bytes that are no UTF-8 become U+FFFD, and numbers that
    /// are no token are left out.
    pub fn decode(&self, ids: &[u32], special: bool) -> String {
        let mut decoder = StreamDecoder::from_start(self, special);
        let mut text: String = ids.iter().map(|id| decoder.push(*id)).collect();
        text.push_str(&decoder.finish());
        text
    }

    /// The bytes that token `id` stands for; of a control token, its name. Empty for an unused token or no token.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.push_bytes(id, &mut bytes);
        bytes
    }

    fn push_bytes(&self, id: u32, out: &mut Vec<u8>) {
        let (Some(text), kind) = (self.tokens.get(id), self.kind(id)) else { return };
        if kind & (CONTROL | UNKNOWN | USER_DEFINED) != 0 {
            out.extend_from_slice(text);
        } else if kind & BYTE != 0 {
            out.extend(spm::named_byte(text));
        } else if kind & NORMAL != 0 {
            match &self.encoder {
                Encoder::Bpe(bpe) if bpe.byte_level => bytelevel::unspell(text, out),
                _ => push_with_spaces(text, out),
            }
        }
    }

    /// The text of token `id` as the vocabulary spells it (`Ġthe`, `▁the`, `<0x0A>`), invalid UTF-8 replaced; `None` if
    /// there is no such token.
    pub fn token_text(&self, id: u32) -> Option<std::borrow::Cow<'_, str>> {
        self.tokens.get(id).map(String::from_utf8_lossy)
    }

    /// The token that the vocabulary spells `text`.
    pub fn find(&self, text: &str) -> Option<u32> {
        self.tokens.find(text.as_bytes())
    }

    /// Number of tokens; ids are below it.
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// The token that begins a text, if the model has one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text, if the model has one.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// The token of what cannot be encoded, if the model has one.
    pub fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// Whether [`Tokenizer::encode`] with `add_special` begins with BOS.
    pub fn adds_bos(&self) -> bool {
        self.add_bos && self.bos.is_some()
    }

    /// Whether [`Tokenizer::encode`] with `add_special` ends with EOS.
    pub fn adds_eos(&self) -> bool {
        self.add_eos && self.eos.is_some()
    }

    /// Whether `id` ends an answer: EOS, end of turn, or any token known to mean that.
    pub fn is_end_of_generation(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// Every token for which [`Tokenizer::is_end_of_generation`] holds, ascending.
    pub fn end_of_generation(&self) -> &[u32] {
        &self.ends
    }

    /// Whether `id` is a control token or the unknown token: one that a text does not show.
    pub fn is_control(&self, id: u32) -> bool {
        self.kind(id) & (CONTROL | UNKNOWN) != 0
    }

    fn kind(&self, id: u32) -> u8 {
        self.kinds.get(id as usize).copied().unwrap_or(0)
    }

    fn adds_space_prefix(&self) -> bool {
        match &self.encoder {
            Encoder::Spm(spm) => spm.space_prefix,
            Encoder::Unigram(unigram) => unigram.space_prefix,
            Encoder::Bpe(_) => false,
        }
    }
}

fn build(gguf: &Gguf) -> Result<Tokenizer, String> {
    let string = |key| gguf.string(key).map_err(|e| e.what);
    let flag = |key| gguf.boolean(key).map_err(|e| e.what);
    let model = string("tokenizer.ggml.model")?;
    let model = model.ok_or("key `tokenizer.ggml.model` is missing: the file has no tokenizer")?;
    if !["gpt2", "llama", "t5", "gemma4"].contains(&model) {
        let known = "gpt2, llama, t5 and gemma4 are supported";
        return Err(match model {
            "no_vocab" | "none" => {
                format!("the file has no vocabulary (`tokenizer.ggml.model` is `{model}`)")
            }
            _ => format!("the tokenizer `{model}` of key `tokenizer.ggml.model` is not supported; {known}"),
        });
    }
    let tokens = read_tokens(gguf)?;
    let n = tokens.len();
    let id = |name| kinds::id(gguf, name, n);
    let mut kinds = kinds::read(gguf, n)?;
    let (bos, eos, eot, eom) = (id("bos")?, id("eos")?, id("eot")?, id("eom")?);
    let (unknown, _) = (id("unknown")?, id("padding")?);
    // SentencePiece numbers these the same in every model, and old files leave them out.
    let or = |id: Option<u32>, of: &str, default: u32| {
        id.or((model == of && (default as usize) < n).then_some(default))
    };
    let (bos, eos, unknown) = (or(bos, "llama", 1), or(eos, "llama", 2), or(unknown, "llama", 0));
    let (eos, unknown) = (or(eos, "t5", 1), or(unknown, "t5", 2));
    let (encoder, add_bos) = if model == "t5" {
        let spaces = (
            flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(false),
            flag("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(false),
        );
        let unigram =
            Unigram::new(&tokens, &kinds, read_scores(gguf, n)?, unknown, read_charsmap(gguf)?, spaces);
        (Encoder::Unigram(unigram), false)
    } else if model == "llama" {
        let space_prefix = flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        (Encoder::Spm(Spm::new(&tokens, read_scores(gguf, n)?, unknown, space_prefix)), true)
    } else {
        let pre = if model == "gemma4" { Some("gemma4") } else { string("tokenizer.ggml.pre")? };
        let pre = pre.unwrap_or("default");
        let row = Bpe::row(pre)?;
        let merges = gguf.array("tokenizer.ggml.merges").map_err(|e| e.what)?;
        let merges = merges.ok_or("key `tokenizer.ggml.merges` is missing")?;
        (Encoder::Bpe(Bpe::new(row, merges)?), row.add_bos)
    };
    let wanted = |key, id: Option<u32>, default: bool, name: &str| match flag(key)? {
        Some(true) if id.is_none() => Err(format!("key `{key}` is set, and the file has no {name} token")),
        flag => Ok(flag.unwrap_or(default)),
    };
    let add_bos = wanted("tokenizer.ggml.add_bos_token", bos, add_bos, "BOS")?;
    // Gemma 4 needs BOS, and many of its files deny it.
    let add_bos = add_bos || model == "gemma4";
    let add_eos = wanted("tokenizer.ggml.add_eos_token", eos, model == "t5", "EOS")?;
    let ends = kinds::ends(gguf, &tokens, &mut kinds, &[eos, eot, eom])?;
    let strips = stripping(gguf, &tokens, &kinds)?;
    let specials = Specials::new(&tokens, &kinds, strips);
    Ok(Tokenizer { tokens, kinds, encoder, specials, bos, eos, unknown, add_bos, add_eos, ends })
}

fn read_tokens(gguf: &Gguf) -> Result<Table, String> {
    let key = "tokenizer.ggml.tokens";
    let tokens = gguf.array(key).map_err(|e| e.what)?.ok_or_else(|| format!("key `{key}` is missing"))?;
    if tokens.kind != Kind::Str {
        return Err(format!("key `{key}` is not an array of strings"));
    }
    if tokens.len == 0 {
        return Err(format!("key `{key}` is empty"));
    }
    Table::new(tokens.len, tokens.strings()).map_err(|e| format!("key `{key}` {e}"))
}

/// The scores of all `n` tokens; all zero where the file has none.
fn read_scores(gguf: &Gguf, n: usize) -> Result<Vec<f32>, String> {
    let key = "tokenizer.ggml.scores";
    let Some(scores) = gguf.array(key).map_err(|e| e.what)? else { return Ok(vec![0.0; n]) };
    if scores.len != n {
        return Err(format!("key `{key}` has {} entries for {n} tokens", scores.len));
    }
    let numbers = scores.bytes().as_chunks().0.iter();
    match scores.kind {
        Kind::F32 => Ok(numbers.map(|b| f32::from_le_bytes(*b)).collect()),
        Kind::I32 => Ok(numbers.map(|b| i32::from_le_bytes(*b) as f32).collect()),
        _ => Err(format!("key `{key}` is not an array of 32-bit numbers")),
    }
}

/// The map that normalizes characters, if the file has one.
fn read_charsmap(gguf: &Gguf) -> Result<Option<Charsmap>, String> {
    let key = "tokenizer.ggml.precompiled_charsmap";
    let Some(map) = gguf.array(key).map_err(|e| e.what)? else { return Ok(None) };
    if !matches!(map.kind, Kind::U8 | Kind::I8) {
        return Err(format!("key `{key}` is not an array of bytes"));
    }
    Charsmap::new(map.bytes()).map(Some).map_err(|e| format!("key `{key}` {e}"))
}

/// Special tokens after which white space is dropped, ascending. No key tells; Phi-3 is known to.
fn stripping(gguf: &Gguf, tokens: &Table, kinds: &[u8]) -> Result<Vec<u32>, String> {
    let name = gguf.string("general.name").map_err(|e| e.what)?.unwrap_or("").to_lowercase();
    if !name.contains("phi-3") && !name.contains("phi3") {
        return Ok(Vec::new());
    }
    let keep = ["<unk>", "<s>", "<|endoftext|>"];
    let special = |id: u32, kind: u8| {
        kind & (CONTROL | USER_DEFINED | UNKNOWN) != 0
            && !tokens.get(id).is_some_and(|t| keep.iter().any(|k| k.as_bytes() == t))
    };
    Ok((0u32..).zip(kinds).filter(|(id, kind)| special(*id, **kind)).map(|(id, _)| id).collect())
}

/// Parts that positions of 32 bits can address.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut left = text;
    std::iter::from_fn(move || {
        let cut = left.floor_char_boundary(Merger::MAX_TEXT);
        let (part, rest) = left.split_at_checked(cut).unwrap_or((left, ""));
        left = rest;
        (!part.is_empty()).then_some(part)
    })
}

/// Appends a token of SentencePiece's spelling, U+2581 become a space.
fn push_with_spaces(text: &[u8], out: &mut Vec<u8>) {
    let mut left = text;
    while let [first, rest @ ..] = left {
        if let Some(rest) = left.strip_prefix(spm::SPACE.as_bytes()) {
            out.push(b' ');
            left = rest;
        } else {
            out.push(*first);
            left = rest;
        }
    }
}
