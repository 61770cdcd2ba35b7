//! Every name of a pre-tokenizer, and the unigram model, against the answers of llama.cpp or, where that approximates, of the
//! expressions that the models were trained with (`tests/data/tokenizer/pre.py` and `unigram.py` say which).

use kinglet::gguf::Gguf;
use kinglet::tokenizer::Tokenizer;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

fn data(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tokenizer").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The tokenizer of a vocabulary file whose `tokenizer.ggml.pre` is changed to `name`.
fn renamed(file: &[u8], name: &str) -> Result<Tokenizer, String> {
    let key = b"tokenizer.ggml.pre";
    let at = file.windows(key.len()).position(|w| w == key).unwrap() + key.len() + 4;
    let old = usize::from(file[at]);
    let mut bytes = file[..at].to_vec();
    bytes.extend((name.len() as u64).to_le_bytes());
    bytes.extend(name.as_bytes());
    bytes.extend(&file[at + 8 + old..]);
    Tokenizer::from_gguf(&Gguf::from_bytes(bytes).unwrap()).map_err(|e| e.to_string())
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn every_name_cuts_as_its_models_were_trained() {
    let (level, plain) = (data("pre.gguf"), data("pre-plain.gguf"));
    let cases: Value = serde_json::from_slice(&data("pre.json")).unwrap();
    let texts: Vec<&str> = cases["texts"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    let groups = cases["groups"].as_array().unwrap();
    // A number in place of an answer is the group that has the same one.
    let answer = |group: usize, text: usize| {
        let ids_of = |group: usize| &groups[group]["ids"][text];
        ids(ids_of(group).as_u64().map_or_else(|| ids_of(group), |same| ids_of(same as usize)))
    };
    let mut seen = BTreeSet::new();
    for (g, group) in groups.iter().enumerate() {
        for name in group["names"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()) {
            let file = if group["plain"] == true { &plain } else { &level };
            let tokenizer = renamed(file, name).unwrap();
            for (i, text) in texts.iter().enumerate() {
                assert_eq!(tokenizer.encode(text, false, false), answer(g, i), "{name}: {text:?}");
                assert_eq!(tokenizer.decode(&tokenizer.encode(text, false, false), false), *text, "{name}");
            }
            assert_eq!(tokenizer.adds_bos(), group["bos"] == true, "{name}");
            seen.insert(name);
        }
    }
    // The error of a name that does not exist lists those that do, and every one of them was held against an answer.
    let error = renamed(&level, "made-up").unwrap_err();
    assert!(error.contains("`made-up`") && error.contains("`tokenizer.ggml.pre`"), "{error}");
    let known: BTreeSet<&str> = error.split("known are: ").nth(1).unwrap().split(", ").collect();
    assert_eq!(known, seen);
    assert!(known.len() >= 90 && groups.len() >= 30 && texts.len() >= 90);
}

#[test]
fn the_unigram_model_equals_llama_cpp() {
    let cases: Value = serde_json::from_slice(&data("unigram.json")).unwrap();
    let mut n = 0;
    for variant in cases.as_array().unwrap() {
        let mut bytes = data("unigram.gguf");
        for key in ["add_space_prefix", "remove_extra_whitespaces"] {
            let name = format!("tokenizer.ggml.{key}");
            let at = bytes.windows(name.len()).position(|w| w == name.as_bytes()).unwrap() + name.len() + 4;
            bytes[at] = u8::from(variant[key] == true);
        }
        let tokenizer = Tokenizer::from_gguf(&Gguf::from_bytes(bytes).unwrap()).unwrap();
        for case in variant["cases"].as_array().unwrap() {
            let text = case[0].as_str().unwrap();
            assert_eq!(tokenizer.encode(text, false, false), ids(&case[1]), "{text:?}");
            assert_eq!(tokenizer.encode(text, true, true), ids(&case[2]), "{text:?}, special tokens parsed");
            n += 1;
        }
    }
    assert!(n >= 200, "only {n} cases");
}
