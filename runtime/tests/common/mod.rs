//! Synthetic models for tests: GGUF files with random weights, the same on every machine.
#![allow(dead_code, reason = "each test uses its part")]

use kinglet::gguf::{Gguf, Value};
use kinglet_kernels::Format;
use std::path::PathBuf;

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// In [-1, 1), a multiple of 2^-15.
    pub fn float(&mut self) -> f32 {
        (self.next() >> 48) as f32 / 32768.0 - 1.0
    }
}

/// A metadata value.
#[derive(Clone)]
pub enum Meta {
    U32(u32),
    F32(f32),
    Str(&'static str),
    Strings(Vec<String>),
    F32s(Vec<f32>),
    I32s(Vec<i32>),
    Bool(bool),
    Text(String),
}

struct Tensor {
    name: String,
    shape: Vec<u64>,
    format: Format,
    data: Vec<u8>,
}

/// A GGUF v3 file in the making.
pub struct Builder {
    keys: Vec<(String, Meta)>,
    tensors: Vec<Tensor>,
    rng: Rng,
}

fn string(out: &mut Vec<u8>, s: &str) {
    out.extend((s.len() as u64).to_le_bytes());
    out.extend(s.as_bytes());
}

impl Builder {
    pub fn new(seed: u64) -> Builder {
        Builder { keys: Vec::new(), tensors: Vec::new(), rng: Rng(seed) }
    }

    /// A file as it is, to be changed.
    pub fn from_gguf(gguf: &Gguf) -> Builder {
        let mut b = Builder::new(0);
        for (key, value) in gguf.metadata() {
            let value = match value {
                Value::Uint(n) => Meta::U32(n.try_into().unwrap()),
                Value::Float(x) => Meta::F32(x as f32),
                Value::Bool(x) => Meta::Bool(x),
                Value::Str(s) => Meta::Text(s.to_owned()),
                Value::Array(_) => {
                    let all = gguf.uints(key).unwrap().unwrap();
                    Meta::I32s(all.into_iter().map(|n| n.try_into().unwrap()).collect())
                }
                Value::Int(n) => panic!("{key} is {n}"),
            };
            b.key(key, value);
        }
        for t in gguf.tensors() {
            let (name, format, shape) = (t.name.clone(), t.format.unwrap(), t.shape.clone());
            b.tensors.push(Tensor { name, shape, format, data: gguf.data(t).to_vec() });
        }
        b
    }

    /// Makes Q8_0 of the F32 matrices whose rows allow it, but for every third, so that both kinds meet.
    pub fn quantize(&mut self) -> &mut Self {
        let float = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
        let matrix = |t: &&mut Tensor| {
            t.format == Format::F32
                && t.shape.len() > 1
                && t.shape[0].is_multiple_of(32)
                && !t.name.contains("norm")
        };
        for (_, t) in self.tensors.iter_mut().filter(matrix).enumerate().filter(|(i, _)| i % 3 != 0) {
            let values: Vec<f32> = t.data.chunks(4).map(float).collect();
            t.data.clear();
            for block in values.chunks(32) {
                let d = half::f16::from_f32(block.iter().fold(0.0, |m: f32, x| m.max(x.abs())) / 127.0);
                t.data.extend(d.to_le_bytes());
                t.data.extend(block.iter().map(|x| (x / d.to_f32()).round() as i8 as u8));
            }
            t.format = Format::Q8_0;
        }
        self
    }

    /// Makes NaN of everything in the matrices of one of `n` experts.
    pub fn poison_expert(&mut self, layer: usize, expert: usize, n: usize) -> &mut Self {
        let mut found = 0;
        for part in ["gate", "up", "down", "gate_up"] {
            let (all, each) = (
                format!("blk.{layer}.ffn_{part}_exps.weight"),
                format!("blk.{layer}.ffn_{part}.{expert}.weight"),
            );
            for t in &mut self.tensors {
                // Bytes of ones are NaN in every float, also that of a scale.
                if t.name == all {
                    let size = t.data.len() / n;
                    t.data[expert * size..(expert + 1) * size].fill(0xff);
                    found += 1;
                } else if t.name == each {
                    t.data.fill(0xff);
                    found += 1;
                }
            }
        }
        assert!(found == 2 || found == 3, "{found} matrices of expert {expert} of layer {layer}");
        self
    }

    /// Gives a tensor another name.
    pub fn rename_tensor(&mut self, from: &str, to: &str) -> &mut Self {
        self.tensors.iter_mut().filter(|t| t.name == from).for_each(|t| t.name = to.to_owned());
        self
    }

    pub fn key(&mut self, name: impl Into<String>, value: Meta) -> &mut Self {
        self.keys.push((name.into(), value));
        self
    }

    /// Replaces or removes a key.
    pub fn set(&mut self, name: &str, value: Option<Meta>) -> &mut Self {
        self.keys.retain(|(k, _)| k != name);
        if let Some(value) = value {
            self.keys.push((name.to_owned(), value));
        }
        self
    }

    pub fn remove_tensor(&mut self, name: &str) -> &mut Self {
        self.tensors.retain(|t| t.name != name);
        self
    }

    /// F32 values around `middle`.
    pub fn vector(&mut self, name: &str, n: usize, middle: f32) -> &mut Self {
        let data = (0..n).flat_map(|_| (middle + 0.25 * self.rng.float()).to_le_bytes()).collect();
        self.tensors.push(Tensor { name: name.to_owned(), shape: vec![n as u64], format: Format::F32, data });
        self
    }

    /// A matrix of random codes, its scales such that a product with unit activations has about unit size.
    pub fn matrix(&mut self, name: &str, rows: usize, cols: usize, format: Format) -> &mut Self {
        let size = 1.0 / (cols as f32).sqrt();
        let blocks = rows * cols / format.block_len();
        let mut data = Vec::new();
        for _ in 0..blocks {
            let mut block: Vec<u8> = (0..format.block_bytes()).map(|_| self.rng.next() as u8).collect();
            // Scales are the f16 fields of the block, at these bytes, for codes of about this size.
            let (fields, codes): (&[usize], f32) = match format {
                Format::Q4_0 => (&[0], 5.0),
                Format::Q4_1 | Format::Q5_1 => (&[0, 2], 12.0),
                Format::Q5_0 => (&[0], 10.0),
                Format::Q8_0 => (&[0], 75.0),
                Format::Q4_K | Format::Q5_K => (&[0, 2], 12.0 * 32.0),
                Format::Q2_K => (&[80, 82], 2.0 * 8.0),
                Format::Q3_K => (&[108], 2.0 * 16.0),
                Format::Q6_K => (&[208], 20.0 * 64.0),
                Format::F32 => {
                    block = (self.rng.float() * size * 1.7).to_le_bytes().to_vec();
                    (&[], 1.0)
                }
                Format::F16 => {
                    block = half::f16::from_f32(self.rng.float() * size * 1.7).to_le_bytes().to_vec();
                    (&[], 1.0)
                }
                other => panic!("no scales known for {other}"),
            };
            for at in fields {
                let scale = half::f16::from_f32(size / codes * (1.0 + 0.5 * self.rng.float()));
                block[*at..*at + 2].copy_from_slice(&scale.to_le_bytes());
            }
            data.extend(block);
        }
        self.tensors.push(Tensor {
            name: name.to_owned(),
            shape: vec![cols as u64, rows as u64],
            format,
            data,
        });
        self
    }

    /// Names of all keys and tensors.
    pub fn names(&self) -> (Vec<String>, Vec<String>) {
        (
            self.keys.iter().map(|k| k.0.clone()).collect(),
            self.tensors.iter().map(|t| t.name.clone()).collect(),
        )
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        for (name, value) in &self.keys {
            string(&mut out, name);
            let (kind, array) = match value {
                Meta::U32(_) => (4u32, None),
                Meta::F32(_) => (6, None),
                Meta::Bool(_) => (7, None),
                Meta::Str(_) | Meta::Text(_) => (8, None),
                Meta::Strings(v) => (9, Some((8u32, v.len()))),
                Meta::F32s(v) => (9, Some((6, v.len()))),
                Meta::I32s(v) => (9, Some((5, v.len()))),
            };
            out.extend(kind.to_le_bytes());
            if let Some((of, len)) = array {
                out.extend(of.to_le_bytes());
                out.extend((len as u64).to_le_bytes());
            }
            match value {
                Meta::U32(x) => out.extend(x.to_le_bytes()),
                Meta::F32(x) => out.extend(x.to_le_bytes()),
                Meta::Bool(x) => out.push(u8::from(*x)),
                Meta::Str(s) => string(&mut out, s),
                Meta::Text(s) => string(&mut out, s),
                Meta::Strings(v) => v.iter().for_each(|s| string(&mut out, s)),
                Meta::F32s(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
                Meta::I32s(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
            }
        }
        let mut offset = 0usize;
        for t in &self.tensors {
            string(&mut out, &t.name);
            out.extend((t.shape.len() as u32).to_le_bytes());
            t.shape.iter().for_each(|d| out.extend(d.to_le_bytes()));
            out.extend((t.format as u32).to_le_bytes());
            out.extend((offset as u64).to_le_bytes());
            offset += t.data.len().next_multiple_of(32);
        }
        for t in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(&t.data);
        }
        out
    }
}

/// The models in `reference/fixtures`, in order.
pub fn fixtures() -> Vec<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../reference/fixtures");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    folders.retain(|f| f.join("model.gguf").exists());
    folders.sort();
    folders
}

/// The small models of every family among them.
pub fn families() -> Vec<PathBuf> {
    let mut folders = fixtures();
    folders.retain(|f| f.file_name().unwrap().to_str().unwrap().starts_with("tiny-"));
    assert!(folders.len() >= 30, "{folders:?}");
    folders
}

/// Sizes of a synthetic model.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub context: u32,
    pub vocab: usize,
    pub dim: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub ffn: usize,
    pub layers: usize,
}

pub const TINY: Sizes =
    Sizes { context: 4096, vocab: 96, dim: 64, heads: 4, kv_heads: 2, head_dim: 16, ffn: 96, layers: 2 };

fn common(arch: &'static str, s: Sizes, seed: u64) -> Builder {
    let mut b = Builder::new(seed);
    let key = |k: &str| format!("{arch}.{k}");
    b.key("general.architecture", Meta::Str(arch));
    b.key(key("context_length"), Meta::U32(s.context)).key(key("embedding_length"), Meta::U32(s.dim as u32));
    b.key(key("block_count"), Meta::U32(s.layers as u32))
        .key(key("feed_forward_length"), Meta::U32(s.ffn as u32));
    b.key(key("attention.head_count"), Meta::U32(s.heads as u32));
    b.key(key("attention.head_count_kv"), Meta::U32(s.kv_heads as u32));
    b.key(key("attention.key_length"), Meta::U32(s.head_dim as u32));
    b.key(key("attention.value_length"), Meta::U32(s.head_dim as u32));
    b.key(key("attention.layer_norm_rms_epsilon"), Meta::F32(1e-5));
    b
}

/// A llama model whose tensors take the `formats` in turn.
pub fn llama(s: Sizes, formats: &[Format]) -> Builder {
    let mut b = common("llama", s, 1);
    layers(&mut b, s, formats, false);
    b.matrix("output.weight", s.vocab, s.dim, formats[0]);
    b
}

/// A Gemma 3 model: windows, two rotary embeddings, normed queries and keys, norms after each half; tied.
pub fn gemma3(s: Sizes, window: u32, formats: &[Format]) -> Builder {
    let mut b = common("gemma3", s, 2);
    b.key("gemma3.attention.sliding_window", Meta::U32(window));
    b.key("gemma3.final_logit_softcapping", Meta::F32(30.0));
    layers(&mut b, s, formats, true);
    b
}

fn layers(b: &mut Builder, s: Sizes, formats: &[Format], gemma: bool) {
    let mut turn = formats.iter().copied().cycle();
    let mut next = || turn.next().unwrap();
    b.matrix("token_embd.weight", s.vocab, s.dim, next()).vector("output_norm.weight", s.dim, 1.0);
    for i in 0..s.layers {
        let name = |part: &str| format!("blk.{i}.{part}.weight");
        b.vector(&name("attn_norm"), s.dim, 1.0).vector(&name("ffn_norm"), s.dim, 1.0);
        if gemma {
            b.vector(&name("attn_q_norm"), s.head_dim, 1.0).vector(&name("attn_k_norm"), s.head_dim, 1.0);
            b.vector(&name("post_attention_norm"), s.dim, 1.0).vector(&name("post_ffw_norm"), s.dim, 1.0);
        }
        b.matrix(&name("attn_q"), s.heads * s.head_dim, s.dim, next());
        b.matrix(&name("attn_k"), s.kv_heads * s.head_dim, s.dim, next());
        b.matrix(&name("attn_v"), s.kv_heads * s.head_dim, s.dim, next());
        b.matrix(&name("attn_output"), s.dim, s.heads * s.head_dim, next());
        b.matrix(&name("ffn_gate"), s.ffn, s.dim, next());
        b.matrix(&name("ffn_up"), s.ffn, s.dim, next());
        b.matrix(&name("ffn_down"), s.dim, s.ffn, next());
    }
}

/// Adds a byte-fallback vocabulary: unknown, begin, end, two chat tokens, 256 bytes, a space and the letters; `TOKENS` in all.
pub fn with_tokenizer(b: &mut Builder) -> &mut Builder {
    let mut tokens: Vec<String> =
        ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"].map(str::to_owned).to_vec();
    tokens.extend((0..256).map(|b| format!("<0x{b:02X}>")));
    tokens.push("\u{2581}".to_owned());
    tokens.extend(('a'..='z').map(String::from));
    assert_eq!(tokens.len(), TOKENS);
    // Unknown 2, control 3, byte 6, normal 1.
    let kind = |i: usize| match i {
        0 => 2,
        1..=4 => 3,
        5..=260 => 6,
        _ => 1,
    };
    let types = (0..TOKENS).map(kind).collect();
    b.key("tokenizer.ggml.model", Meta::Str("llama"));
    b.key("tokenizer.ggml.tokens", Meta::Strings(tokens));
    b.key("tokenizer.ggml.scores", Meta::F32s((0..TOKENS).map(|i| -(i as f32)).collect()));
    b.key("tokenizer.ggml.token_type", Meta::I32s(types));
    b.key("tokenizer.ggml.bos_token_id", Meta::U32(1)).key("tokenizer.ggml.eos_token_id", Meta::U32(2));
    b.key("tokenizer.ggml.unknown_token_id", Meta::U32(0))
        .key("tokenizer.ggml.add_bos_token", Meta::Bool(true))
}

/// Tokens of [`with_tokenizer`].
pub const TOKENS: usize = 5 + 256 + 27;

/// A ChatML template.
pub const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n\
    {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// A model that can be talked with.
pub fn talker() -> Builder {
    let mut b = llama(Sizes { vocab: TOKENS, context: 512, ..TINY }, &[Format::Q8_0, Format::Q4_0]);
    with_tokenizer(&mut b).key("tokenizer.chat_template", Meta::Str(TEMPLATE));
    b
}
