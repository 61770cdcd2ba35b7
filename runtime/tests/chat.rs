//! Chat templates against Python's jinja2 (`tests/data/chat`, made by `generate.py` there), the built-in ones, and bad ones.

use kinglet::chat::{Message, Template};
use kinglet::gguf::Gguf;
use kinglet::tokenizer::Tokenizer;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// BOS is `<s>`, EOS is `</s>`.
fn tokenizer() -> Tokenizer {
    Tokenizer::from_gguf(&Gguf::open(&data("tokenizer/spm.gguf")).unwrap()).unwrap()
}

fn say(turns: &[(&str, &str)]) -> Vec<Message> {
    turns.iter().map(|(role, content)| Message::new(*role, *content)).collect()
}

#[test]
fn renderings_equal_pythons() {
    let tokenizer = tokenizer();
    let cases: Value =
        serde_json::from_str(&std::fs::read_to_string(data("chat/cases.json")).unwrap()).unwrap();
    let mut n = 0;
    for case in cases.as_array().unwrap() {
        let name = case["template"].as_str().unwrap();
        let template = match (case["source"].as_str(), name) {
            (Some(source), _) => Template::from_source(source, &tokenizer),
            (None, "gemma") => Template::builtin("gemma", &tokenizer),
            (None, name) => {
                let source = std::fs::read_to_string(data(&format!("chat/{name}.jinja"))).unwrap();
                Template::from_source(&source, &tokenizer)
            }
        };
        let turn = |m: &Value| Message::new(m["role"].as_str().unwrap(), m["content"].as_str().unwrap());
        let messages: Vec<Message> = case["messages"].as_array().unwrap().iter().map(turn).collect();
        let ours = template.unwrap().at(1_700_000_000).render(&messages, case["prompt"].as_bool().unwrap());
        match case["text"].as_str() {
            Some(text) => assert_eq!(ours.as_deref(), Ok(text), "{name}: {messages:?}"),
            None => {
                let error = ours.unwrap_err().to_string();
                assert!(error.ends_with(case["error"].as_str().unwrap()), "{name}: {error}");
            }
        }
        n += 1;
    }
    assert!(n > 100, "only {n} cases");
}

/// llama.cpp's renderings of the formats that it knows by name (`tests/data/chat/builtin.py`).
fn llama_cpp() -> Vec<Value> {
    let cases = std::fs::read_to_string(data("chat/builtin.json")).unwrap();
    serde_json::from_str::<Value>(&cases).unwrap().as_array().unwrap().clone()
}

#[test]
fn built_in_templates_equal_llama_cpp() {
    let tokenizer = tokenizer();
    for case in llama_cpp() {
        let name = case["name"].as_str().unwrap();
        let turns: Vec<(&str, &str)> = case["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| (m[0].as_str().unwrap(), m[1].as_str().unwrap()))
            .collect();
        let template = Template::builtin(name, &tokenizer).unwrap();
        let ours = template.render(&say(&turns), case["prompt"].as_bool().unwrap()).unwrap();
        assert_eq!(ours.strip_prefix("<s>").unwrap_or(&ours), case["text"].as_str().unwrap(), "{name}");
    }
}

#[test]
fn formats_are_known_by_other_names_and_guessed_from_a_model() {
    let tokenizer = tokenizer();
    let turns = say(&[("user", "U")]);
    let render = |name| Template::builtin(name, &tokenizer).unwrap().render(&turns, true).unwrap();
    for (alias, name) in [
        ("llama3", "llama-3"),
        ("Phi_3.5", "phi-3"),
        ("LaMini", "alpaca"),
        ("tinyllama", "zephyr"),
        ("mistral", "mistral-v3"),
    ] {
        assert_eq!(render(alias), render(name), "{alias}");
    }
    assert!(render("vicuna").starts_with("A chat between a curious user"));
    assert_eq!(
        render("lamini"),
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nU\n\n### Response:"
    );
    let guess = |model: &str| {
        let gguf = model_with("general.name", model, "tokenizer/spm.gguf");
        Template::guess(&gguf, &Tokenizer::from_gguf(&gguf).unwrap()).unwrap()
    };
    assert_eq!(guess("StableLM Zephyr 3B"), Some("zephyr"));
    assert_eq!(guess("TinyLlama-1.1B-Chat-v1.0"), Some("zephyr"));
    assert_eq!(guess("LaMini-GPT-774M"), Some("alpaca"));
    assert_eq!(guess("Mistral-Nemo-Instruct-2407"), Some("mistral-v3-tekken"));
    assert_eq!(guess("Pythia 160M"), None);
}

#[test]
fn built_in_templates_render_a_conversation() {
    let tokenizer = tokenizer();
    let turns = say(&[("system", "S"), ("user", "U"), ("assistant", "A"), ("user", "V")]);
    let expected = [
        (
            "chatml",
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n",
        ),
        ("llama-2", "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST] A </s><s>[INST] V [/INST]"),
        (
            "llama-3",
            "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nV<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (
            "zephyr",
            "<|system|>\nS</s>\n<|user|>\nU</s>\n<|assistant|>\nA</s>\n<|user|>\nV</s>\n<|assistant|>\n",
        ),
        (
            "phi-3",
            "<|system|>\nS<|end|>\n<|user|>\nU<|end|>\n<|assistant|>\nA<|end|>\n<|user|>\nV<|end|>\n<|assistant|>\n",
        ),
        (
            "gemma",
            "<s><start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n<start_of_turn>user\nV<end_of_turn>\n<start_of_turn>model\n",
        ),
        ("vicuna", "S USER: U ASSISTANT: A</s>USER: V ASSISTANT:"),
        ("alpaca", "S\n\n### Instruction:\nU\n\n### Response:A</s>\n\n### Instruction:\nV\n\n### Response:"),
        ("phi-2", "S\nInstruct: U\nOutput: A\nInstruct: V\nOutput:"),
        (
            "phi-4-mini",
            "<|system|>S<|end|><|user|>U<|end|><|assistant|>A<|end|><|user|>V<|end|><|assistant|>",
        ),
        ("falcon", "S\n\nUser: U\n\nAssistant: A\n\nUser: V\n\nAssistant:"),
        ("olmo", "<s><|system|>\nS\n<|user|>\nU\n<|assistant|>\nA</s>\n<|user|>\nV\n<|assistant|>\n"),
        (
            "bitnet",
            "<s>System: S<|eot_id|>User: U<|eot_id|>Assistant: A<|eot_id|>User: V<|eot_id|>Assistant: ",
        ),
    ];
    for (name, text) in expected {
        let template = Template::builtin(name, &tokenizer).unwrap();
        assert_eq!(template.render(&turns, true).as_deref(), Ok(text), "{name}");
        assert!(text.starts_with(&template.render(&turns, false).unwrap()), "{name}");
    }
    let checked = |name: &str| {
        expected.iter().any(|(n, _)| *n == name) || llama_cpp().iter().any(|c| c["name"] == name)
    };
    let names: Vec<&str> = Template::builtin_names().collect();
    assert_eq!(names.iter().find(|name| !checked(name)), None);
    assert_eq!(names.len(), 30);
    let error = Template::builtin("made-up", &tokenizer).unwrap_err().to_string();
    assert!(
        error.contains("`made-up`") && error.contains("chatml, llama-2") && error.contains("alpaca"),
        "{error}"
    );
    let smollm2 = Tokenizer::from_gguf(&Gguf::open(&data("tokenizer/bpe.gguf")).unwrap()).unwrap();
    assert_eq!((Template::builtin_for(&tokenizer), Template::builtin_for(&smollm2)), (None, Some("chatml")));
}

/// The file `base` with a key more.
fn model_with(key: &str, value: &str, base: &str) -> Gguf {
    let mut bytes = std::fs::read(data(base)).unwrap();
    // The file has no tensors, so a key can be appended; their number stands at byte 16.
    bytes[16] += 1;
    for text in [key, value] {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
        if text != value {
            bytes.extend(8u32.to_le_bytes());
        }
    }
    Gguf::from_bytes(bytes).unwrap()
}

#[test]
fn the_template_of_a_file_is_used() {
    let model_with = |source| model_with("tokenizer.chat_template", source, "tokenizer/bpe.gguf");
    let gguf = model_with("{{ bos_token }}[{{ messages[0].content }}]{{ eos_token }}");
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let template = Template::from_gguf(&gguf, &tokenizer).unwrap().unwrap();
    let text = template.render(&say(&[("user", "U")]), true).unwrap();
    assert_eq!(text, "<|im_start|>[U]<|im_end|>");
    let error = Template::from_gguf(&model_with("a\n{% if %}"), &tokenizer).unwrap_err().to_string();
    assert!(error.contains("key `tokenizer.chat_template`, line 2"), "{error}");
    let error = Template::from_gguf(&model_with("\n{{ x() }}"), &tokenizer).unwrap().unwrap();
    let error = error.render(&[], true).unwrap_err().to_string();
    assert!(error.contains("key `tokenizer.chat_template`, line 2"), "{error}");
    let none = Gguf::open(&data("tokenizer/bpe.gguf")).unwrap();
    assert!(Template::from_gguf(&none, &tokenizer).unwrap().is_none());
}

#[test]
fn bos_is_not_added_twice() {
    let tokenizer = tokenizer();
    let llama = Template::builtin("llama-2", &tokenizer).unwrap();
    let ids = tokenizer.encode_chat(&llama.render(&say(&[("user", "U")]), true).unwrap());
    assert_eq!((ids[0], ids.iter().filter(|id| **id == 1).count()), (1, 1));
    let vicuna = Template::builtin("vicuna", &tokenizer).unwrap();
    assert_eq!(tokenizer.encode_chat(&vicuna.render(&say(&[("user", "U")]), true).unwrap())[0], 1);
}

#[test]
fn bad_templates_are_named_with_their_line() {
    let tokenizer = tokenizer();
    let error = |source: &str| {
        let rendered =
            Template::from_source(source, &tokenizer).and_then(|t| t.render(&say(&[("user", "U")]), true));
        let error = rendered.unwrap_err().to_string();
        assert!(!error.contains('\n') && error.len() < 400, "{error}");
        error
    };
    assert!(error("a\n{% for m in messages %}").contains("the chat template, line 2: "));
    assert!(error("{{ messages | nothing }}").contains("line 1"));
    assert!(error("a\n\n{{ nothing() }}").contains("line 3"));
    assert!(error("{{ raise_exception('two\nlines') }}").ends_with(": two lines"));
    assert!(error("{{ 1 / 0 }}{{ ''.nothing() }}").contains("line 1"));
    assert!(error(&"a".repeat(2_000_000)).contains("2000000 bytes"));
    error("{% include 'x' %}");
    error("{{ strftime_now('%Q') }}");
    error("{{ messages | tojson(separators=(',', ':')) }}");
}

#[test]
fn hostile_templates_are_stopped() {
    let tokenizer = tokenizer();
    let hostile = [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for a in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
        "{{ 'x' * 100000000000 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for a in range(1000000000) %}{{ messages | tojson }}{% endfor %}",
        "{{ messages | tojson(indent=4000000000) }}",
        "{{ messages | tojson(indent=18446744073709551615) }}",
        "{{ 'phone 4155550100: {:>4000000000}'.format(1) }}",
        "{{ '{:.3000000000f}{}'.format(1.5, 2) }}",
        "{{ '{:,>99999999999999999999999}'.format('a') }}",
    ];
    for source in hostile {
        let template = Template::from_source(source, &tokenizer).unwrap();
        assert!(template.render(&say(&[("user", "U")]), true).is_err(), "{source}");
    }
    for source in ["{{ ((((".repeat(100_000), "{% if a %}".repeat(50_000), "{{ [".repeat(100_000)] {
        assert!(Template::from_source(&source, &tokenizer).is_err());
    }
    let nested = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(Template::from_source(&nested, &tokenizer).is_err());
    // Chains have no depth of their own, and the parser calls itself for each part all the same: as long as can be.
    for (start, part) in [
        ("1", "+1"),
        ("1", "|int"),
        ("a", ".b"),
        ("a", "[1]"),
        ("a", "()"),
        ("1", " and 1"),
        ("1", " is odd"),
    ] {
        let parts = (Template::MAX_SOURCE - 16) / part.len();
        let _ = Template::from_source(&format!("{{{{ {start}{} }}}}", part.repeat(parts)), &tokenizer);
    }
    for sign in ["-", "not "] {
        let signs = (Template::MAX_SOURCE - 16) / sign.len();
        let _ = Template::from_source(&format!("{{{{ {}1 }}}}", sign.repeat(signs)), &tokenizer);
    }
}

#[test]
fn widths_of_a_format_are_charged_and_its_text_is_not() {
    let source = "{{ '4155550100 {:>4}|{:.2f}|{}'.format(7, 1.5, 'x') }}";
    let template = Template::from_source(source, &tokenizer()).unwrap();
    assert_eq!(template.render(&[], false).as_deref(), Ok("4155550100    7|1.50|x"));
}

#[test]
fn long_conversations_are_no_trouble() {
    let tokenizer = tokenizer();
    let template =
        Template::from_source(&std::fs::read_to_string(data("chat/qwen2.5.jinja")).unwrap(), &tokenizer);
    let turns: Vec<Message> =
        (0..5000).map(|i| Message::new(["user", "assistant"][i % 2], "word ".repeat(200))).collect();
    assert!(template.unwrap().render(&turns, true).unwrap().len() > 5_000_000);
}
