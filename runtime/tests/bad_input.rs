//! Files that are no model that runs: one clear error each, and never a panic, in the library and in the program.

mod common;
mod support;

use common::{Builder, Meta, Rng, Sizes, TINY, TOKENS, talker};
use kinglet::chat::Template;
use kinglet::decoder::{Session, SessionOptions};
use kinglet::gguf::Gguf;
use kinglet::model::Model;
use kinglet::team::Team;
use kinglet::tokenizer::Tokenizer;
use kinglet_kernels::{Format, Kernels};
use support::{Folder, emulated, own_program};

/// Why the model cannot be used.
fn error(b: &Builder) -> String {
    let gguf = match Gguf::from_bytes(b.bytes()) {
        Ok(gguf) => gguf,
        Err(e) => return e.to_string(),
    };
    match Model::new(&gguf) {
        Ok(_) => panic!("this model should be refused"),
        Err(e) => e.to_string(),
    }
}

#[track_caller]
fn assert_names(b: &Builder, words: &[&str]) {
    let said = error(b);
    assert!(said.lines().count() == 1, "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

fn gemma3() -> Builder {
    common::gemma3(Sizes { vocab: 64, ..TINY }, 16, &[Format::Q8_0])
}

#[test]
fn every_required_key_is_missed() {
    for model in [talker, gemma3] {
        let arch = if model().names().0.iter().any(|k| k.starts_with("gemma3")) { "gemma3" } else { "llama" };
        for key in [
            "context_length",
            "embedding_length",
            "block_count",
            "feed_forward_length",
            "attention.head_count",
            "attention.layer_norm_rms_epsilon",
        ] {
            let key = format!("{arch}.{key}");
            assert_names(model().set(&key, None), &[&format!("`{key}` is missing")]);
        }
        assert_names(model().set("general.architecture", None), &["`general.architecture` is missing"]);
    }
}

#[test]
fn every_tensor_is_missed_and_no_other_is_ignored() {
    for model in [talker, gemma3] {
        for name in model().names().1 {
            // Without an output of its own the model is tied, which is another model.
            if name != "output.weight" {
                assert_names(model().remove_tensor(&name), &[&format!("`{name}` is missing")]);
            }
        }
    }
    assert_names(
        talker().vector("blk.0.ffn_gate_inp.weight", 8, 0.0),
        &["blk.0.ffn_gate_inp.weight", "not part of"],
    );
    assert_names(talker().vector("blk.7.attn_norm.weight", 8, 0.0), &["blk.7.attn_norm.weight"]);
}

#[test]
fn wrong_shapes_are_named() {
    for name in talker().names().1 {
        let mut b = talker();
        b.remove_tensor(&name);
        let words: &[&str] = if name.ends_with("norm.weight") {
            b.vector(&name, 32, 1.0);
            &["has shape [32] where [64] is expected"]
        } else if name == "token_embd.weight" {
            b.vector(&name, 64, 1.0);
            &["not a matrix"]
        } else {
            b.matrix(&name, 32, 32, Format::Q8_0);
            &["has shape [32, 32] where"]
        };
        assert_names(&b, &[&[name.as_str()], words].concat());
    }
    assert_names(
        talker().remove_tensor("output_norm.weight").matrix("output_norm.weight", 1, 64, Format::Q8_0),
        &["output_norm.weight"],
    );
}

#[test]
fn absurd_sizes_are_named() {
    let with = |key: &str, value: Meta| error(talker().set(key, Some(value)));
    for (key, value, words) in [
        ("llama.attention.head_count", 0, "not a size"),
        ("llama.attention.head_count", 3, "not a multiple"),
        ("llama.attention.head_count_kv", 3, "not a multiple"),
        ("llama.attention.head_count_kv", 8, "not a multiple"),
        ("llama.attention.key_length", 0, "not a size"),
        ("llama.attention.key_length", 100_000, "is not supported"),
        ("llama.block_count", 0, "not a size"),
        ("llama.block_count", u32::MAX, "not a size"),
        ("llama.block_count", 5000, "at most"),
        ("llama.block_count", 3, "blk.2."),
        ("llama.embedding_length", 1 << 28, "is expected"),
        ("llama.feed_forward_length", 1 << 28, "is expected"),
        ("llama.context_length", 0, "not a size"),
        ("llama.context_length", u32::MAX, "not a size"),
        ("llama.rope.dimension_count", 15, "even number"),
        ("llama.rope.dimension_count", 64, "even number"),
        ("llama.expert_count", 8, "`llama.expert_used_count` is missing"),
        ("gemma3.expert_count", 8, "mixture-of-experts"),
        ("gemma3.attention.sliding_window_pattern", u32::MAX, "at most 4096"),
    ] {
        let said = if key.starts_with("gemma3") {
            error(gemma3().set(key, Some(Meta::U32(value))))
        } else {
            with(key, Meta::U32(value))
        };
        assert!(said.contains(words), "{key} = {value}: {said}");
    }
    for bad in [f32::NAN, f32::INFINITY, -1.0, 0.0] {
        for key in ["llama.attention.layer_norm_rms_epsilon", "llama.rope.freq_base"] {
            assert!(with(key, Meta::F32(bad)).contains(key), "{key} = {bad}");
        }
    }
    assert!(with("llama.block_count", Meta::Str("two")).contains("`llama.block_count`"));
    assert!(with("llama.rope.scaling.type", Meta::Str("magic")).contains("`magic`"));
    assert!(
        with("general.architecture", Meta::Str("elephant"))
            .contains("`elephant` is not supported; supported are")
    );
}

/// What is as many as a key says is not made before the tensors have been seen: these took a minute, and all memory.
#[test]
fn absurd_numbers_of_heads_and_experts_are_named() {
    let fixture = |name: &str| {
        let file = common::fixtures().into_iter().find(|f| f.ends_with(name)).unwrap().join("model.gguf");
        Builder::from_gguf(&Gguf::open(&file).unwrap())
    };
    for (name, arch) in [("tiny-llama-moe", "llama"), ("tiny-qwen3moe", "qwen3moe")] {
        let key = format!("{arch}.expert_count");
        assert_names(fixture(name).set(&key, Some(Meta::U32(1 << 28))), &[&key, "at most 65536"]);
    }
    for (name, arch) in [("tiny-bloom", "bloom"), ("tiny-mpt", "mpt")] {
        let mut b = fixture(name);
        b.set(&format!("{arch}.attention.key_length"), Some(Meta::U32(1)));
        b.set(&format!("{arch}.attention.head_count_kv"), None);
        b.set(&format!("{arch}.attention.head_count"), Some(Meta::U32(1 << 28)));
        assert_names(&b, &["268435456 query heads", "at most 4096"]);
    }
}

/// The program on a file, and what it must say.
fn kinglet(args: &[&str], stdin: &str) -> (Option<i32>, String, String) {
    use std::io::Write;
    use std::process::Stdio;
    let mut command = own_program(env!("CARGO_BIN_EXE_kinglet").as_ref());
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("KINGLET_PYTHON", "/nonexistent/python3").env_remove("KINGLET_TIER");
    let mut child = command.spawn().unwrap();
    // A program that fails early does not read it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let out = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

#[track_caller]
fn assert_fails(args: &[&str], code: i32, words: &[&str]) {
    let (status, stdout, stderr) = kinglet(args, "");
    assert_eq!((status, stdout.as_str()), (Some(code), ""), "{args:?}: {stderr}");
    assert!(stderr.starts_with("kinglet: ") && stderr.lines().count() == 1, "{args:?}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{args:?}: `{word}` is not in: {stderr}");
    }
}

#[test]
fn a_tier_of_the_environment_that_does_not_exist_is_named() {
    for verb in [&["cpu"][..], &["run", "../reference/fixtures/tiny-gemma2/model.gguf", "x"]] {
        let mut command = own_program(env!("CARGO_BIN_EXE_kinglet").as_ref());
        let out = command.args(verb).env("KINGLET_TIER", "sse9").output().unwrap();
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert_eq!((out.status.code(), out.stdout.len()), (Some(2), 0), "{stderr}");
        assert!(
            stderr.starts_with("kinglet: KINGLET_TIER: unknown tier `sse9`; usable here: scalar"),
            "{stderr}"
        );
    }
}

#[test]
fn the_program_says_what_is_wrong() {
    let folder = Folder::new("bad-input");
    let path = |name: &str, b: &Builder| folder.write(name, &b.bytes()).to_str().unwrap().to_owned();
    let good = path("good.gguf", &talker());
    let ids = |name: &str, text: &str| folder.write(name, text.as_bytes()).to_str().unwrap().to_owned();
    let out = folder.join("out.f32").to_str().unwrap().to_owned();

    let long = "word ".repeat(600);
    assert_fails(&["run", &good, &long], 3, &["do not fit a context of 512", "--ctx"]);
    assert_fails(&["run", &good, "--raw", "--ctx", "1", "hi"], 3, &["do not fit a context of 1"]);
    assert_fails(&["run", &good, "x", "--ctx", "513"], 2, &["513", "1 to 512"]);
    assert_fails(&["run", &good, "x", "-t", "0"], 2, &["--threads"]);
    assert_fails(&["run", &good, "x", "--batch", "0"], 2, &["--batch"]);
    assert_fails(&["run", &good, "x", "--tier", "sse9"], 2, &["unknown tier `sse9`", "usable here: scalar"]);
    assert_fails(&["run", &good, "x", "--template", "nope"], 2, &["nope", "chatml"]);
    assert_fails(
        &["run", &good, "x", "--template", "no/such.jinja"],
        2,
        &["--template no/such.jinja", "No such file"],
    );
    assert_fails(&["run", &good, "x", "--template", &good], 2, &["--template ", "UTF-8"]);
    let broken = ids("broken.jinja", "a\n{% if %}");
    assert_fails(&["run", &good, "x", "--template", &broken], 2, &["broken.jinja", "line 2"]);
    let template = ids("short.jinja", "{{ messages[0].content }}");
    assert_fails(&["run", &good, &long, "--template", &template], 3, &["do not fit a context of 512"]);

    for (name, text, words) in [
        ("range.json", "[1, 288]", "token 288 is out of range"),
        ("negative.json", "[-1]", "not a JSON array of token ids"),
        ("float.json", "[1.5]", "not a JSON array of token ids"),
        ("object.json", "{\"a\": 1}", "not a JSON array of token ids"),
        ("empty.json", "[]", "no tokens"),
        ("nothing.json", "", "not a JSON array of token ids"),
    ] {
        assert_fails(&["logits", &good, "--tokens", &ids(name, text), "--out", &out], 3, &[words]);
    }
    let many = ids("many.json", &format!("[{}1]", "1,".repeat(600)));
    assert_fails(&["logits", &good, "--tokens", &many, "--out", &out], 3, &["do not fit"]);
    assert_fails(&["logits", &good, "--tokens", "/nonexistent", "--out", &out], 3, &["/nonexistent"]);
    let one = ids("one.json", "[1]");
    assert_fails(
        &["logits", &good, "--tokens", &one, "--out", "/nonexistent/x"],
        1,
        &["cannot write /nonexistent/x"],
    );
    // A folder that is not there is said before the work, not when the file is to get its name.
    let no_folder = format!("{}/", folder.join("new").display());
    assert_fails(
        &["logits", &good, "--tokens", &one, "--out", &no_folder],
        1,
        &["names a folder", "add the name of a file"],
    );
    assert_fails(&["perplexity", &good, "--file", &one], 3, &["a chunk needs"]);
    for ctx in ["1", "3"] {
        let args = ["perplexity", &good, "--file", &ids("long.txt", &long), "--ctx", ctx];
        assert_fails(&args, 2, &["too short", "--ctx 4 is the least"]);
    }
    assert_fails(&["tokenize", &good, "--decode", "[999]"], 3, &["token 999 is out of range"]);

    let fewer = path("fewer.gguf", common::with_tokenizer(&mut common::llama(TINY, &[Format::Q8_0])));
    assert_fails(&["run", &fewer, "x"], 3, &["288 tokens", "96 rows"]);
    let unknown = path("unknown.gguf", talker().set("tokenizer.ggml.model", Some(Meta::Str("runes"))));
    assert_fails(&["run", &unknown, "x"], 3, &["runes"]);
    let template =
        |text| path("template.gguf", talker().set("tokenizer.chat_template", Some(Meta::Str(text))));
    assert_fails(&["run", &template("{% for %}"), "x"], 3, &["chat_template"]);
    assert_fails(&["run", &template("{{ raise_exception('no') }}"), "x"], 3, &["no"]);
    assert_fails(
        &[
            "run",
            &template("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"),
            "x",
        ],
        3,
        &["chat_template"],
    );
    let left: Vec<String> = support::files(&folder.join(""))
        .into_iter()
        .filter(|f| f.contains("out") || f.contains("part"))
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn more_rows_than_tokens_are_never_chosen() {
    let mut b = common::llama(Sizes { vocab: TOKENS + 64, context: 256, ..TINY }, &[Format::Q8_0]);
    let folder = Folder::new("padded");
    let model = folder.write("padded.gguf", &common::with_tokenizer(&mut b).bytes());
    let args = [
        "run",
        model.to_str().unwrap(),
        "--raw",
        "-n",
        "100",
        "--temp",
        "5",
        "--top-k",
        "0",
        "--top-p",
        "1",
        "--min-p",
        "0",
        "--seed",
        "1",
        "hi",
    ];
    let (status, stdout, stderr) = kinglet(&args, "");
    assert_eq!(status, Some(0), "{stderr}");
    assert!(!stdout.is_empty());
}

/// Whole models with mutated headers: what opens must also build and decode, or say why not.
#[test]
fn mutated_models_never_panic() {
    let good = talker().bytes();
    let header = good.len() - 90_000.min(good.len() / 2);
    let mut rng = Rng(7);
    let (mut opened, mut decoded) = (0, 0);
    let rounds = if emulated() { 300 } else { 6_000 };
    for _ in 0..rounds {
        let mut bytes = good.clone();
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(header);
            bytes[at] = [0, 1, 2, 0x7f, 0x80, 0xff, rng.next() as u8][rng.below(7)];
        }
        let Ok(gguf) = Gguf::from_bytes(bytes) else { continue };
        opened += 1;
        let tokenizer = Tokenizer::from_gguf(&gguf);
        if let Ok(tokenizer) = &tokenizer {
            let ids = tokenizer.encode("a b\u{e9} <|im_end|>", true, true);
            tokenizer.decode(&ids, true);
            let _ = Template::from_gguf(&gguf, tokenizer);
        }
        let Ok(model) = Model::new(&gguf) else { continue };
        let options =
            SessionOptions { n_ctx: model.spec.context_length.min(16), ..SessionOptions::for_model(&model) };
        let mut session = Session::new(&model, Kernels::detect().unwrap(), options).unwrap();
        let last = model.spec.vocab_size as u32 - 1;
        session.eval(&Team::new(1).unwrap(), &[0, last, 0]).unwrap();
        decoded += 1;
    }
    assert!(
        opened > rounds / 20 && decoded > rounds / 50,
        "mutations too harsh to prove anything: {opened} {decoded}"
    );
}
