//! The program as a person or a script sees it: exit codes, one-line errors, help, pipes.

mod support;
use clap::Args as _;
use kinglet::cli;
use std::process::{Command, Output, Stdio};
use support::{Folder, Writer, own_program, small_model};

fn kinglet(home: &Folder) -> Command {
    let mut command = own_program(env!("CARGO_BIN_EXE_kinglet").as_ref());
    command.env("KINGLET_HOME", home.join("home")).env_remove("HF_TOKEN").env_remove("HF_ENDPOINT");
    command.env("KINGLET_PYTHON", "/nonexistent/python3");
    command
}

fn run(home: &Folder, args: &[&str]) -> Output {
    kinglet(home).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// One line on stderr, nothing on stdout.
#[track_caller]
fn assert_fails(home: &Folder, args: &[&str], code: i32, words: &[&str]) {
    let out = run(home, args);
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{args:?}: {said}");
    assert!(
        said.starts_with("kinglet: ") && said.ends_with('\n') && said.lines().count() == 1,
        "{args:?}: {said}"
    );
    assert!(out.stdout.is_empty());
    for word in words {
        assert!(said.contains(word), "{args:?}: `{word}` is not in: {said}");
    }
}

#[test]
fn wrong_command_lines_are_one_line_and_code_2() {
    let home = Folder::new("cli-usage");
    assert_fails(&home, &["inspec"], 2, &["'inspec'", "similar", "'inspect'"]);
    assert_fails(&home, &["inspect"], 2, &["<MODEL>"]);
    assert_fails(&home, &["inspect", "a", "b"], 2, &["'b'"]);
    assert_fails(&home, &["inspect", "a", "--jsn"], 2, &["'--jsn'", "'--json'", "--help"]);
    assert_fails(&home, &["list", "-q", "-v"], 2, &["--quiet", "--verbose"]);
    let bare = run(&home, &[]);
    assert_eq!(bare.status.code(), Some(2));
    assert!(text(&bare.stderr).contains("Usage: kinglet"));
}

#[test]
fn bad_models_are_code_3_and_failed_pulls_code_4() {
    let home = Folder::new("cli-input");
    assert_fails(&home, &["inspect", "absent.gguf"], 3, &["`absent.gguf`: no such file"]);
    assert_fails(&home, &["inspect", "smollm3"], 3, &["unknown model", "did you mean smollm2:135m?"]);
    let page = home.write("page.gguf", b"<html>");
    assert_fails(&home, &["inspect", page.to_str().unwrap()], 3, &["page.gguf: not a GGUF file"]);
    assert_fails(&home, &["inspect", home.join("").to_str().unwrap()], 3, &["it is a folder"]);
    assert_fails(&home, &["inspect", "bad\u{1b}[31m\nname.gguf"], 3, &["\\u{1b}[31m\\nname.gguf"]);
    assert_fails(&home, &["rm", "gemma3:270m"], 3, &["not in the cache"]);
    assert_fails(&home, &["-q", "pull", "smollm2:135m"], 4, &["/nonexistent/python3", "KINGLET_PYTHON"]);
}

#[test]
fn inspect_shows_what_there_is() {
    let home = Folder::new("cli-inspect");
    let model = home.write("small.gguf", &small_model());
    let out = run(&home, &["inspect", model.to_str().unwrap()]);
    let shown = text(&out.stdout);
    assert_eq!((out.status.code(), out.stderr.len()), (Some(0), 0));
    for line in [
        "256 parameters in 2 tensors",
        "key `llama.embedding_length` is missing",
        "llama.block_count",
        "2 × str [\"a\", \"b\"]",
        "b.weight",
        "64 x 2",
        "Q4_0",
    ] {
        assert!(shown.contains(line), "`{line}` is not in:\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "no colours into a pipe");

    let mut w = Writer::header(3, 3, 2);
    w.string("general.architecture").u32(8).string("ele\u{1b}phant");
    w.string("long").u32(9).u32(4).u64(1000).0.extend([1; 4000]);
    w.tensor("a", &[64], 777, 0).tensor("b", &[64], 777, 32).tensor("c", &[u64::MAX, u64::MAX], 9, 64);
    let odd = home.write("odd.gguf", &w.finish(96, 0));
    let shown = text(&run(&home, &["inspect", odd.to_str().unwrap()]).stdout);
    for line in [
        "architecture `ele\\u{1b}phant` is not known",
        "type 777 of `a` and 1 more",
        "type 9 (Q8_1) of `c`",
        "1000 × u32 [16843009, ",
    ] {
        assert!(shown.contains(line), "`{line}` is not in:\n{shown}");
    }

    let out = run(&home, &["inspect", odd.to_str().unwrap(), "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(json["metadata"]["general.architecture"], "ele\u{1b}phant");
    assert_eq!(json["metadata"]["long"]["length"], 1000);
    assert_eq!(json["unsupported"].as_array().unwrap().len(), 3);
    assert_eq!(json["tensors"][0]["format"], serde_json::Value::Null);
    let out = run(&home, &["inspect", model.to_str().unwrap(), "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(json["tensors"][1]["format"], "Q4_0");
    assert_eq!(json["metadata"]["tokenizer.ggml.tokens"], serde_json::json!(["a", "b"]));
    assert_eq!(json["parameters"], 256);
    assert!(json["unsupported"][0].as_str().unwrap().contains("`llama.embedding_length` is missing"));
}

/// More output than a pipe holds, and a reader that has gone: a quiet success.
#[test]
#[cfg(unix)]
fn a_closed_pipe_ends_quietly() {
    let home = Folder::new("cli-pipe");
    let mut w = Writer::header(3, 20_000, 0);
    for i in 0..20_000 {
        w.tensor(&format!("blk.{i}.weight"), &[16], 0, 64 * i);
    }
    let model = home.write("many.gguf", &w.finish(64 * 20_000, 0));
    for json in [&["--json"][..], &[]] {
        let mut child = kinglet(&home);
        child.arg("inspect").arg(&model).args(json).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        drop(child.stdout.take());
        let out = child.wait_with_output().unwrap();
        assert_eq!((out.status.code(), text(&out.stderr).as_str()), (Some(0), ""));
    }
    if let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") {
        let mut child = kinglet(&home);
        let out = child.arg("inspect").arg(&model).stdout(full).output().unwrap();
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{said}");
        assert!(said.starts_with("kinglet: cannot write the output: "), "{said}");
    }
    for args in [&["--help"][..], &["--version"], &["run", "--help"]] {
        let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else { continue };
        let out = kinglet(&home).args(args).stdout(full).output().unwrap();
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.starts_with("kinglet: cannot write the output: "), "{args:?}: {said}");
    }
}

#[test]
fn list_names_the_catalogue() {
    let home = Folder::new("cli-list");
    let shown = text(&run(&home, &["list"]).stdout);
    let json: serde_json::Value = serde_json::from_slice(&run(&home, &["list", "--json"]).stdout).unwrap();
    for (i, name) in ["smollm2:135m", "gemma3:270m", "qwen2.5-coder:0.5b"].iter().enumerate() {
        assert!(shown.contains(name) && shown.contains("not fetched"));
        assert_eq!((&json[i]["name"], &json[i]["fetched"]), (&(*name).into(), &false.into()));
    }
}

#[test]
fn help_teaches() {
    let home = Folder::new("cli-help");
    let help = text(&run(&home, &["--help"]).stdout);
    for part in ["Examples:", "Exit codes:", "KINGLET_HOME", "HF_TOKEN", "130"] {
        assert!(help.contains(part), "{part}");
    }
    assert!(!help.contains('\u{1b}'), "no colours into a pipe");
    for verb in ["inspect", "pull", "list", "rm"] {
        let out = run(&home, &[verb, "--help"]);
        assert!(out.status.success() && text(&out.stdout).contains("Examples:\n  kinglet "), "{verb}");
    }
    assert!(text(&run(&home, &["--version"]).stdout).starts_with("kinglet 0."));
}

/// What a shell would make of an example: words, quotes, and nothing of pipes, redirections and comments.
fn words(example: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut started) = (Vec::new(), String::new(), false, false);
    for c in example.chars() {
        match c {
            '"' => (quoted, started) = (!quoted, true),
            ' ' if !quoted => {
                if started {
                    words.push(std::mem::take(&mut word));
                }
                started = false;
            }
            '|' | '<' | '>' | '#' if !quoted => break,
            c => {
                word.push(c);
                started = true;
            }
        }
    }
    if started {
        words.push(word);
    }
    words
}

/// Every example that `--help` shows is a command line that parses.
#[test]
fn examples_parse() {
    let mut verbs = Vec::new();
    macro_rules! verbs {
        ($($verb:ident),*) => {$(
            let command = cli::$verb::Args::augment_args(clap::Command::new(stringify!($verb)));
            verbs.push((stringify!($verb), cli::$verb::EXAMPLES, command));
        )*};
    }
    verbs!(
        run, chat, inspect, tokenize, logits, perplexity, bench, convert, tune, pull, list, rm, cpu, verify
    );
    let mut checked = 0;
    for (verb, examples, command) in &verbs {
        command.clone().debug_assert();
        let mut about_itself = false;
        for line in examples.lines() {
            let words = words(&line[line.find("kinglet ").unwrap()..]);
            let (_, _, command) = verbs.iter().find(|(name, _, _)| *name == words[1]).unwrap();
            about_itself |= words[1] == *verb;
            if let Err(e) = command.clone().try_get_matches_from(&words[1..]) {
                panic!("{line}: {e}");
            }
            checked += 1;
        }
        assert!(about_itself, "{verb}");
    }
    assert!(checked > 25, "{checked}");
}

/// Nonsense values are refused, and the message names the flag.
#[test]
fn nonsense_values_name_their_flag() {
    let command = cli::run::Args::augment_args(clap::Command::new("run"));
    let parse = |args: &[&str]| command.clone().try_get_matches_from([&["run", "m", "p"], args].concat());
    for [flag, value] in [
        ["--threads", "0"],
        ["-t", "0"],
        ["--threads", "-1"],
        ["--threads", "many"],
        ["--threads", "99999"],
        ["--ctx", "0"],
        ["--ctx", "99999999999"],
        ["--batch", "0"],
        ["--kv", "q4_0"],
        ["--tier", "sse9"],
        ["--seed", "-1"],
        ["--seed", "x"],
        ["--temp", "-1"],
        ["--temp", "nan"],
        ["--temp", "inf"],
        ["--top-p", "1.5"],
        ["--top-p", "-0.1"],
        ["--min-p", "2"],
        ["--top-k", "-1"],
        ["--repeat-penalty", "0"],
        ["--repeat-penalty", "-2"],
        ["-n", "0"],
        ["--stop", ""],
    ] {
        let e = parse(&[flag, value]).expect_err(&format!("{flag} {value}")).to_string();
        let named = if flag == "-t" { "--threads" } else { flag };
        assert!(e.contains(named), "{flag} {value}: {e}");
    }
    assert!(parse(&["--tier", "sse9"]).unwrap_err().to_string().contains("usable here: scalar"));
    assert!(parse(&["--raw", "--system", "x"]).is_err());
    assert!(
        parse(&["-t", "3", "--temp", "0", "--kv", "q8_0", "--tier", "scalar", "-n", "9", "--stop", "x"])
            .is_ok()
    );
}
