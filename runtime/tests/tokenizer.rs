//! The tokenizer on made-up vocabularies: decoding, special tokens, ends of answers, and everything a bad file can hold.

use kinglet::gguf::Gguf;
use kinglet::tokenizer::{StreamDecoder, Tokenizer};
use std::path::Path;

/// A GGUF file without tensors.
#[derive(Clone, Default)]
struct File {
    body: Vec<u8>,
    keys: u64,
}

impl File {
    fn key(mut self, key: &str, kind: u32) -> Self {
        self.keys += 1;
        self.text(key.as_bytes());
        self.body.extend(kind.to_le_bytes());
        self
    }
    fn text(&mut self, s: &[u8]) {
        self.body.extend((s.len() as u64).to_le_bytes());
        self.body.extend(s);
    }
    fn string(self, key: &str, value: &str) -> Self {
        let mut file = self.key(key, 8);
        file.text(value.as_bytes());
        file
    }
    fn int(self, key: &str, value: u32) -> Self {
        let mut file = self.key(key, 4);
        file.body.extend(value.to_le_bytes());
        file
    }
    fn flag(self, key: &str, value: bool) -> Self {
        let mut file = self.key(key, 7);
        file.body.push(u8::from(value));
        file
    }
    fn array(self, key: &str, kind: u32, len: usize) -> Self {
        let mut file = self.key(key, 9);
        file.body.extend(kind.to_le_bytes());
        file.body.extend((len as u64).to_le_bytes());
        file
    }
    fn strings(self, key: &str, values: &[&[u8]]) -> Self {
        let mut file = self.array(key, 8, values.len());
        values.iter().for_each(|v| file.text(v));
        file
    }
    fn ints(self, key: &str, values: &[i32]) -> Self {
        let mut file = self.array(key, 5, values.len());
        values.iter().for_each(|v| file.body.extend(v.to_le_bytes()));
        file
    }
    fn floats(self, key: &str, values: &[f32]) -> Self {
        let mut file = self.array(key, 6, values.len());
        values.iter().for_each(|v| file.body.extend(v.to_le_bytes()));
        file
    }
    fn open(&self) -> Result<Tokenizer, String> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(0u64.to_le_bytes());
        bytes.extend(self.keys.to_le_bytes());
        bytes.extend(&self.body);
        Tokenizer::from_gguf(&Gguf::from_bytes(bytes).unwrap()).map_err(|e| e.to_string())
    }
}

const TOKENS: &str = "tokenizer.ggml.tokens";
const MERGES: &str = "tokenizer.ggml.merges";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";

/// Bytes in the byte-level alphabet, then merges, then special tokens.
fn gpt2() -> File {
    File::default()
        .string(MODEL, "gpt2")
        .string(PRE, "gpt-2")
        .strings(MERGES, &[b"a b", b"ab c", "Ġ a".as_bytes()])
}

fn gpt2_tokens() -> Vec<&'static [u8]> {
    vec![
        b"a",
        b"b",
        b"c",
        "Ġ".as_bytes(),
        "Ċ".as_bytes(),
        "ð".as_bytes(),
        "Ł".as_bytes(),
        "ĺ".as_bytes(),
        "Ģ".as_bytes(),
        b"ab",
        b"abc",
        "Ġa".as_bytes(),
        b"<|im_end|>",
        b"<t>",
        b"<t>x",
    ]
}

fn spm() -> File {
    let mut tokens: Vec<Vec<u8>> = ["<unk>", "<s>", "</s>"].map(|t| t.as_bytes().to_vec()).into();
    tokens.extend((0..=255).map(|b| format!("<0x{b:02X}>").into_bytes()));
    tokens.extend(["▁", "a", "b", "▁a", "ab", "▁ab", "<end_of_turn>", "<u>"].map(|t| t.as_bytes().to_vec()));
    let mut scores = vec![0.0; 259];
    scores.extend([-5.0, -5.0, -5.0, -2.0, -1.0, -3.0, 0.0, 0.0]);
    let mut types = vec![2, 3, 3];
    types.extend([6; 256]);
    types.extend([1, 1, 1, 1, 1, 1, 3, 4]);
    let tokens: Vec<&[u8]> = tokens.iter().map(Vec::as_slice).collect();
    File::default()
        .string(MODEL, "llama")
        .strings(TOKENS, &tokens)
        .floats(SCORES, &scores)
        .ints(TYPES, &types)
}

#[test]
fn byte_level_text_goes_there_and_back() {
    let t = gpt2().strings(TOKENS, &gpt2_tokens()).open().unwrap();
    assert_eq!(t.encode("abcab a\n", true, true), [10, 9, 11, 4]);
    assert_eq!(t.encode("😀", false, false), [5, 6, 7, 8]);
    assert_eq!(t.decode(&[10, 9, 11, 4, 5, 6, 7, 8], false), "abcab a\n😀");
    assert_eq!(t.encode("", true, true), [0u32; 0]);
    // No token for `z`: left out, as llama.cpp does.
    assert_eq!(t.encode("azb", false, false), [0, 1]);
    assert_eq!((t.vocab_size(), t.find("Ġa"), t.find("nothing")), (15, Some(11), None));
    assert_eq!((t.token_text(11).as_deref(), t.token_bytes(11)), (Some("Ġa"), b" a".to_vec()));
    assert_eq!((t.token_text(99), t.token_bytes(99)), (None, vec![]));
}

#[test]
fn sentencepiece_merges_by_score_and_falls_back_to_bytes() {
    let t = spm().open().unwrap();
    // `ab` (-1) beats `▁a` (-2), and then `▁ab` can be made.
    assert_eq!(t.encode("ab", true, false), [1, 264]);
    assert_eq!(t.encode("a b", false, false), [262, 259, 261]);
    assert_eq!(t.encode("é", false, false), [259, 3 + 0xc3, 3 + 0xa9]);
    assert_eq!(t.decode(&[1, 264, 262, 3 + 0xc3, 3 + 0xa9], false), "ab aé");
    assert_eq!(t.decode(&[1, 264], true), "<s>ab");
    // A space also goes before a text that follows a special token, and to none but the first otherwise.
    assert_eq!(t.encode("a<end_of_turn>a", false, true), [262, 265, 262]);
    assert_eq!(t.encode("a<u>a", false, false), [262, 266, 262]);
    let bare =
        spm().flag("tokenizer.ggml.add_space_prefix", false).flag("tokenizer.ggml.add_eos_token", true);
    let bare = bare.open().unwrap();
    assert_eq!(bare.encode("ab", true, false), [1, 263, 2]);
    assert_eq!(bare.decode(&[262], false), " a");
    assert!(bare.adds_bos() && bare.adds_eos());
}

#[test]
fn a_vocabulary_without_bytes_uses_its_unknown_token() {
    let file = File::default().string(MODEL, "llama").strings(TOKENS, &[b"<unk>", b"<s>", b"</s>", b"a"]);
    let t = file.flag("tokenizer.ggml.add_space_prefix", false).open().unwrap();
    assert_eq!(t.encode("aéa", false, false), [3, 0, 3]);
}

#[test]
fn special_tokens_are_cut_out_first_and_the_longest_wins() {
    let types = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 4];
    let t = gpt2().strings(TOKENS, &gpt2_tokens()).ints(TYPES, &types).open().unwrap();
    assert_eq!(t.encode("a<t>xb<t>c", false, true), [0, 14, 1, 13, 2]);
    // Control tokens are text unless asked for; user-defined ones are always seen. `<`, `t`, `>` are no tokens here.
    assert_eq!(t.encode("a<t>xb<t>c", false, false), [0, 14, 1, 2]);
    // The file calls `<|im_end|>` normal, but it is known to be a control token that ends an answer.
    assert_eq!(t.encode("a<|im_end|>", false, true), [0, 12]);
    assert!(t.is_control(12) && t.is_end_of_generation(12) && !t.is_end_of_generation(0));
    assert_eq!(t.decode(&[0, 12, 13, 1], false), "ab");
    assert_eq!(t.decode(&[0, 12, 13, 1], true), "a<|im_end|><t>b");
}

#[test]
fn white_space_after_the_tokens_of_phi_3_is_dropped() {
    let phi = |name| spm().string("general.name", name).open().unwrap();
    assert_eq!(phi("Phi-3 mini").encode("a<end_of_turn> \n a", false, true), [262, 265, 262]);
    assert_eq!(phi("Phi-3 mini").encode("<s> a", false, true), [1, 259, 262]);
    assert_eq!(phi("other").encode("a<end_of_turn> a", false, true), [262, 265, 259, 262]);
}

#[test]
fn every_token_that_ends_an_answer_is_known() {
    let t = spm().int("tokenizer.ggml.eot_token_id", 260).open().unwrap();
    assert_eq!(t.end_of_generation(), [2, 260, 265]);
    assert_eq!((t.bos(), t.eos(), t.unknown()), (Some(1), Some(2), Some(0)));
    let mut tokens = gpt2_tokens();
    tokens.extend([&b"<|end|>"[..], b"<|return|>", b"<|call|>"]);
    let t = gpt2().strings(TOKENS, &tokens).int("tokenizer.ggml.eos_token_id", 3).open().unwrap();
    // Where messages end with `<|end|>`, only the others end an answer.
    assert_eq!(t.end_of_generation(), [3, 12, 16, 17]);
    assert_eq!((t.bos(), t.adds_bos()), (None, false));
}

#[test]
fn a_stream_never_holds_half_a_character() {
    let t = gpt2().strings(TOKENS, &gpt2_tokens()).open().unwrap();
    let mut stream = StreamDecoder::new(&t);
    let pieces: Vec<String> = [0, 5, 6, 7, 8, 1].map(|id| stream.push(id)).into();
    assert_eq!(pieces, ["a", "", "", "", "😀", "b"]);
    assert_eq!(stream.finish(), "");
    let mut stream = StreamDecoder::new(&t);
    let pieces: Vec<String> = [5, 6, 0, 7, 5].map(|id| stream.push(id)).into();
    assert_eq!(pieces, ["", "", "\u{fffd}a", "\u{fffd}", ""]);
    assert_eq!(stream.finish(), "\u{fffd}");
    // The decoder of an answer keeps the space that it begins with; that of a whole text drops the tokenizer's own.
    let t = spm().open().unwrap();
    assert_eq!(StreamDecoder::new(&t).push(262), " a");
    let mut whole = StreamDecoder::from_start(&t, false);
    assert_eq!([1, 262, 262, 4_000_000_000].map(|id| whole.push(id)), ["", "a", " a", ""]);
}

#[test]
fn bytes_of_every_split_give_the_same_text() {
    let t = spm().open().unwrap();
    let text = "añ漢😀b\u{301}";
    let ids = t.encode(text, true, false);
    let mut stream = StreamDecoder::from_start(&t, false);
    let joined: String = ids.iter().map(|id| stream.push(*id)).collect();
    assert_eq!(joined + &stream.finish(), text);
    assert_eq!(t.decode(&ids, false), text);
}

/// Quadratic work would take hours here.
#[test]
fn long_runs_of_one_character_are_no_trouble() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tokenizer");
    for name in ["bpe.gguf", "spm.gguf"] {
        let t = Tokenizer::from_gguf(&Gguf::open(&data.join(name)).unwrap()).unwrap();
        for c in ["a", " ", "\n", "é", "<", "1"] {
            let text = c.repeat(500_000);
            assert_eq!(t.decode(&t.encode(&text, false, true), true), text);
        }
    }
}

#[test]
fn bad_files_are_named() {
    let fails = |file: File, named: &[&str]| {
        let error = file.open().unwrap_err();
        assert!(named.iter().all(|n| error.contains(n)) && !error.contains('\n'), "{error}");
    };
    let tokens = gpt2_tokens();
    fails(File::default(), &["`tokenizer.ggml.model` is missing"]);
    fails(File::default().int(MODEL, 1), &["`tokenizer.ggml.model` is not a string"]);
    fails(File::default().string(MODEL, "no_vocab"), &["no vocabulary"]);
    fails(File::default().string(MODEL, "bert"), &["tokenizer `bert`", "gpt2, llama"]);
    fails(gpt2(), &["`tokenizer.ggml.tokens` is missing"]);
    fails(gpt2().strings(TOKENS, &[]), &["`tokenizer.ggml.tokens` is empty"]);
    fails(gpt2().ints(TOKENS, &[1]), &["`tokenizer.ggml.tokens` is not an array of strings"]);
    fails(gpt2().int(TOKENS, 1), &["`tokenizer.ggml.tokens` is not an array"]);
    let good = || gpt2().strings(TOKENS, &tokens);
    fails(good().ints(TYPES, &[1, 2]), &["`tokenizer.ggml.token_type` has 2 entries for 15 tokens"]);
    fails(good().floats(TYPES, &[1.0; 15]), &["`tokenizer.ggml.token_type` is not"]);
    fails(
        good().int("tokenizer.ggml.eos_token_id", 15),
        &["`tokenizer.ggml.eos_token_id` is 15", "15 tokens"],
    );
    fails(good().string("tokenizer.ggml.bos_token_id", "1"), &["`tokenizer.ggml.bos_token_id`"]);
    fails(
        good().flag("tokenizer.ggml.add_bos_token", true),
        &["`tokenizer.ggml.add_bos_token`", "no BOS token"],
    );
    fails(
        good().int("tokenizer.ggml.add_eos_token", 1),
        &["`tokenizer.ggml.add_eos_token` is not a boolean"],
    );
    let bare = || File::default().string(MODEL, "gpt2").strings(TOKENS, &tokens);
    fails(
        bare().string(PRE, "made-up"),
        &["pre-tokenizer `made-up`", "`tokenizer.ggml.pre`", "llama-bpe", "qwen2"],
    );
    fails(bare(), &["`tokenizer.ggml.merges` is missing"]);
    fails(bare().ints(MERGES, &[1]), &["`tokenizer.ggml.merges` is not an array of strings"]);
    for bad in [&b"ab"[..], b" b", b"a ", b""] {
        fails(bare().strings(MERGES, &[b"a b", bad]), &["`tokenizer.ggml.merges`: entry 1"]);
    }
    let bare = || File::default().string(MODEL, "llama").strings(TOKENS, &tokens);
    fails(bare().floats(SCORES, &[1.0]), &["`tokenizer.ggml.scores` has 1 entries for 15 tokens"]);
    fails(bare().strings(SCORES, &tokens), &["`tokenizer.ggml.scores` is not an array of 32-bit numbers"]);
    // -1 is how converters write "none", and a missing pre-tokenizer is the default one.
    assert!(good().int("tokenizer.ggml.padding_token_id", u32::MAX).open().is_ok());
    let default = File::default().string(MODEL, "gpt2").strings(TOKENS, &tokens).strings(MERGES, &[b"a b"]);
    assert_eq!(default.open().unwrap().encode("ab c", false, false), [9, 3, 2]);
}

#[test]
fn odd_vocabularies_do_not_break_anything() {
    let tokens: [&[u8]; 6] = [b"", b"a", b"a", &[0xff, 0xfe], b"<0xZZ>", b"<end_of_turn>"];
    for model in ["gpt2", "llama"] {
        let file = File::default().string(MODEL, model).strings(TOKENS, &tokens).strings(MERGES, &[b"a a"]);
        let file = file.ints(TYPES, &[3, 1, 4, 4, 6, -7]).floats(SCORES, &[f32::NAN; 6]);
        let t = file.open().unwrap();
        for text in ["aaa\u{fffd}", "a<end_of_turn>", "\0", "<0xZZ>"] {
            let ids = t.encode(text, true, true);
            assert!(ids.iter().all(|id| (*id as usize) < t.vocab_size()));
            t.decode(&ids, true);
        }
        assert_eq!(t.token_text(3).as_deref(), Some("\u{fffd}\u{fffd}"));
        assert_eq!((t.token_bytes(3), t.token_bytes(4)), (vec![0xff, 0xfe], vec![]));
        assert!(t.is_end_of_generation(5));
    }
}

#[test]
fn mutated_files_never_panic() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tokenizer");
    let mut state = 3u64;
    let mut next = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let (mut built, mut refused) = (0, 0);
    for name in ["bpe.gguf", "spm.gguf"] {
        let good = std::fs::read(data.join(name)).unwrap();
        for round in 0..300 {
            let mut bytes = good.clone();
            // Anywhere, and often within the keys, which lie at both ends.
            let reach = if round % 3 == 0 { 400 } else { bytes.len() };
            for _ in 0..1 + next(4) {
                let at = if next(2) == 0 { next(reach) } else { bytes.len() - 1 - next(reach) };
                bytes[at] = [0, 1, 0x20, 0x7f, 0xff, next(256) as u8][next(6)];
            }
            match Gguf::from_bytes(bytes).and_then(|g| Tokenizer::from_gguf(&g)) {
                Err(_) => refused += 1,
                Ok(t) => {
                    built += 1;
                    let ids = t.encode("It's <|im_end|> 12 <tool_call>é\n😀", true, true);
                    assert!(ids.iter().all(|id| (*id as usize) < t.vocab_size()));
                    t.decode(&ids, true);
                }
            }
        }
    }
    assert!(built > 50 && refused > 50, "{built} built, {refused} refused");
}
