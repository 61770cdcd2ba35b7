//! The tokenizer against llama.cpp's answers, on real vocabularies.
//!
//! - `KINGLET_MODELS=DIR`: a directory with `smollm2.gguf`, `gemma3.gguf` and `qwen2.5.gguf`, held against the answers in
//!   `tests/data/tokenizer` (made by `generate.py` there).
//! - `KINGLET_TOKENIZER_DATA=DIR`: every `NAME.gguf` in it is held against `NAME.gguf.inp` and `NAME.gguf.out` (llama.cpp's
//!   own test pairs) and `NAME.gguf.jsonl` (more answers of that script), whichever exist.

use kinglet::gguf::Gguf;
use kinglet::tokenizer::Tokenizer;
use std::path::{Path, PathBuf};

fn open(path: &Path) -> Tokenizer {
    let gguf = Gguf::open(path).unwrap_or_else(|e| panic!("{e}"));
    Tokenizer::from_gguf(&gguf).unwrap_or_else(|e| panic!("{e}"))
}

/// Lines of `[text, ids, ids with special tokens parsed, ids with BOS and EOS too]`.
fn check_cases(tokenizer: &Tokenizer, cases: &Path) -> usize {
    let name = cases.display();
    let cases = std::fs::read_to_string(cases).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut n = 0;
    for line in cases.lines() {
        let case: (String, Vec<u32>, Vec<u32>, Vec<u32>) =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (text, plain, special, whole) = case;
        assert_eq!(tokenizer.encode(&text, false, false), plain, "{name}: {text:?}");
        assert_eq!(tokenizer.encode(&text, false, true), special, "{name}: {text:?}, special tokens parsed");
        assert_eq!(tokenizer.encode(&text, true, true), whole, "{name}: {text:?}, BOS and EOS added");
        n += 1;
    }
    n
}

fn check_pairs(tokenizer: &Tokenizer, inp: &Path, out: &Path) -> usize {
    let inp = std::fs::read_to_string(inp).unwrap();
    let out = std::fs::read_to_string(out).unwrap();
    let texts: Vec<&str> = inp.split("\n__ggml_vocab_test__\n").filter(|t| !t.is_empty()).collect();
    let answers: Vec<Vec<u32>> =
        out.lines().map(|l| l.split_whitespace().map(|id| id.parse().unwrap()).collect()).collect();
    let answers: Vec<Vec<u32>> = answers.into_iter().filter(|a| !a.is_empty()).collect();
    assert_eq!(texts.len(), answers.len());
    for (text, ids) in texts.iter().zip(&answers) {
        assert_eq!(&tokenizer.encode(text, false, false), ids, "{text:?}");
    }
    texts.len()
}

/// Two small vocabularies cut from SmolLM2's, so that a clone tests itself.
#[test]
fn small_vocabularies_equal_llama_cpp() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tokenizer");
    for name in ["bpe", "spm"] {
        let tokenizer = open(&data.join(format!("{name}.gguf")));
        assert_eq!(check_cases(&tokenizer, &data.join(format!("{name}.jsonl"))), 150);
    }
}

#[test]
fn real_models_equal_llama_cpp() {
    let Some(dir) = std::env::var_os("KINGLET_MODELS").map(PathBuf::from) else {
        println!("NOT RUN: KINGLET_MODELS names no directory with the three models");
        return;
    };
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tokenizer");
    for name in ["smollm2", "gemma3", "qwen2.5"] {
        let tokenizer = open(&dir.join(format!("{name}.gguf")));
        let n = check_cases(&tokenizer, &data.join(format!("{name}.jsonl")));
        assert!(n >= 200, "{name}: only {n} cases");
        println!("{name}: {n} texts equal");
    }
}

#[test]
fn vocabularies_equal_llama_cpp() {
    let Some(dir) = std::env::var_os("KINGLET_TOKENIZER_DATA").map(PathBuf::from) else {
        println!("NOT RUN: KINGLET_TOKENIZER_DATA names no directory with vocabularies");
        return;
    };
    let mut total = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "gguf") {
            continue;
        }
        let beside = |end: &str| PathBuf::from(format!("{}.{end}", path.display()));
        let (inp, out, cases) = (beside("inp"), beside("out"), beside("jsonl"));
        let tokenizer = open(&path);
        let pairs = if inp.exists() && out.exists() { check_pairs(&tokenizer, &inp, &out) } else { 0 };
        let cases = if cases.exists() { check_cases(&tokenizer, &cases) } else { 0 };
        println!("{}: {pairs} pairs and {cases} texts equal", path.display());
        total += pairs + cases;
    }
    assert!(total > 0, "{} has no vocabulary with answers", dir.display());
}
