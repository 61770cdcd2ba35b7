//! The verbs that run a model, on a tiny one: what they print, where, and that it does not depend on how they are run.

mod common;
mod support;

use common::talker;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::{Folder, own_program};

fn kinglet(args: &[&str]) -> Command {
    let mut command = own_program(env!("CARGO_BIN_EXE_kinglet").as_ref());
    command.args(args).env_remove("KINGLET_TIER").stdin(Stdio::null());
    command
}

#[track_caller]
fn ok(args: &[&str]) -> Vec<u8> {
    let out: Output = kinglet(args).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

#[track_caller]
fn text(args: &[&str]) -> String {
    String::from_utf8(ok(args)).unwrap()
}

/// A folder with a model, and the model's path.
fn model(name: &str) -> (Folder, String) {
    let folder = Folder::new(name);
    let path = folder.write("talker.gguf", &talker().bytes()).to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn the_same_text_however_it_is_run() {
    let (_folder, m) = model("verbs-same");
    let base = text(&["run", &m, "--temp", "0", "-n", "24", "hello world"]);
    assert!(base.ends_with('\n') && !base.contains('\u{1b}'));
    for more in
        [["-t", "1"], ["-t", "3"], ["--batch", "1"], ["--batch", "7"], ["--tier", "scalar"], ["--seed", "9"]]
    {
        let args = [&["run", &m, "--temp", "0", "-n", "24", "hello world"], &more[..]].concat();
        assert_eq!(text(&args), base, "{more:?}");
    }
    let seeded = |seed, threads| {
        text(&["run", &m, "--seed", seed, "-t", threads, "--temp", "1.5", "-n", "24", "hello"])
    };
    assert_eq!(seeded("5", "1"), seeded("5", "2"));
    assert_ne!(seeded("5", "1"), seeded("6", "1"));
}

#[test]
fn a_prompt_comes_from_standard_input_too() {
    use std::io::Write;
    let (_folder, m) = model("verbs-stdin");
    let mut child = kinglet(&["run", &m, "--temp", "0", "-n", "9"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"hello world").unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.stdout, ok(&["run", &m, "--temp", "0", "-n", "9", "hello world"]));
}

#[test]
fn generation_ends_where_it_should() {
    let (_folder, m) = model("verbs-stop");
    let raw = |more: &[&str]| text(&[&["run", &m, "--raw", "--temp", "0", "hello"], more].concat());
    let long = raw(&["-n", "60"]);
    let short = raw(&["-n", "10"]);
    assert!(long.starts_with(short.trim_end_matches('\n')) && long.len() > short.len());
    // Stop at a text that is known to come.
    let body = long.trim_end_matches('\n');
    let (at, stop) =
        body.char_indices().nth(5).map(|(i, c)| (body.find(c).unwrap().min(i), c.to_string())).unwrap();
    assert_eq!(raw(&["-n", "60", "--stop", &stop]).trim_end_matches('\n'), &body[..at]);
    // The context ends it as well.
    let out = kinglet(&["run", &m, "--raw", "--temp", "0", "--ctx", "20", "hello"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    assert!(String::from_utf8(out.stderr).unwrap().contains("the context is full"));
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let (_folder, m) = model("verbs-pipe");
    let mut child = kinglet(&["run", &m, "--raw", "--temp", "0", "x"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert_eq!((out.status.code(), String::from_utf8(out.stderr).unwrap()), (Some(0), String::new()));
}

#[test]
fn logits_are_the_same_bits() {
    let (folder, m) = model("verbs-logits");
    let ids = folder.write(
        "ids.json",
        text(&["tokenize", &m, "some words to look at, more than seven of them"]).as_bytes(),
    );
    let n: Vec<u32> = serde_json::from_slice(&std::fs::read(&ids).unwrap()).unwrap();
    let run = |more: &[&str]| {
        let out = folder.join("out.f32");
        let args = ["logits", &m, "--tokens", ids.to_str().unwrap(), "--out", out.to_str().unwrap()];
        ok(&[&args, more].concat());
        std::fs::read(out).unwrap()
    };
    let base = run(&[]);
    assert_eq!(base.len(), n.len() * common::TOKENS * 4);
    for more in [["--batch", "1"], ["--batch", "7"], ["-t", "3"], ["--tier", "scalar"], ["--ctx", "100"]] {
        assert!(run(&more) == base, "{more:?}");
    }
    assert!(run(&["--kv", "f32"]) != base && run(&["--kv", "q8_0"]) != base);
    assert_eq!(support::files(&folder.join("")), ["ids.json", "out.f32", "talker.gguf"]);
    // A device is written to, not replaced.
    ok(&["logits", &m, "--tokens", ids.to_str().unwrap(), "--out", "/dev/null"]);
    assert!(!Path::new("/dev/null").metadata().unwrap().is_file());
}

/// Ctrl-C, `kill` and a closed terminal leave no part of a file behind.
#[test]
#[cfg(unix)]
fn an_interrupted_file_leaves_nothing_behind() {
    use std::os::unix::process::ExitStatusExt;
    use std::time::{Duration, Instant};
    support::requests_to_end_are_obeyed();
    let folder = Folder::new("verbs-interrupted");
    let endless = talker().set("llama.context_length", Some(common::Meta::U32(1 << 20))).bytes();
    let model = folder.write("endless.gguf", &endless);
    let ids = folder.write("ids.json", format!("[{}1]", "1,".repeat(200_000)).as_bytes());
    let before = support::files(&folder.join(""));
    let out = folder.join("out.f32");
    let args = ["--tokens", ids.to_str().unwrap(), "--ctx", "1000000", "--out", out.to_str().unwrap()];
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let args = [&["logits", model.to_str().unwrap()], &args[..]].concat();
        let mut child = kinglet(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while support::files(&folder.join("")) == before {
            assert!(start.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(2));
        }
        // SAFETY: a process of ours that has not been waited for.
        assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
        assert_eq!(child.wait().unwrap().signal(), Some(signal));
        assert_eq!(support::files(&folder.join("")), before, "signal {signal}");
    }
}

#[test]
fn tokenize_goes_there_and_back() {
    let (folder, m) = model("verbs-tokenize");
    let ids = text(&["tokenize", &m, "hello <|im_end|> é"]);
    let parsed: Vec<u32> = serde_json::from_str(&ids).unwrap();
    assert!(parsed[0] == 1 && parsed.contains(&4));
    // As in llama.cpp, what follows a special token gets the space that begins a text.
    assert_eq!(text(&["tokenize", &m, "--decode", &ids]), "<s>hello <|im_end|>  é\n");
    let round = text(&["tokenize", &m, "one two é"]);
    assert_eq!(text(&["tokenize", &m, "--decode", &round]), "<s>one two é\n");
    let plain: Vec<u32> =
        serde_json::from_str(&text(&["tokenize", &m, "--no-bos", "--no-special", "hello <|im_end|> é"]))
            .unwrap();
    assert!(!plain.contains(&1) && !plain.contains(&4));
    let file = folder.write("text.txt", "hello <|im_end|> é".as_bytes());
    assert_eq!(text(&["tokenize", &m, "--file", file.to_str().unwrap()]), ids);
}

#[test]
fn perplexity_closes_with_its_estimate() {
    let (folder, m) = model("verbs-ppl");
    let file = folder.write("text.txt", "the quick brown fox ".repeat(40).as_bytes());
    let said = text(&["perplexity", &m, "--file", file.to_str().unwrap(), "--ctx", "64", "--chunks", "3"]);
    let last = said.lines().last().unwrap();
    let value = last.strip_prefix("Final estimate: PPL = ").unwrap().split(' ').next().unwrap();
    assert!(value.parse::<f64>().unwrap() > 1.0, "{said}");
    assert!(said.contains("[3]") && !said.contains("[4]"));
    let again = text(&[
        "-q",
        "perplexity",
        &m,
        "--file",
        file.to_str().unwrap(),
        "--ctx",
        "64",
        "--chunks",
        "3",
        "--batch",
        "5",
    ]);
    assert_eq!(again.trim_end(), last);
}

#[test]
fn bench_speaks_llama_benchs_language() {
    let (_folder, m) = model("verbs-bench");
    let json = text(&["bench", &m, "-p", "16", "-n", "4", "-r", "2", "--json"]);
    let records: serde_json::Value = serde_json::from_str(&json).unwrap();
    for (i, (prompt, generate)) in [(16, 0), (0, 4)].into_iter().enumerate() {
        let r = &records[i];
        assert_eq!((r["n_prompt"].as_u64(), r["n_gen"].as_u64()), (Some(prompt), Some(generate)));
        assert_eq!(r["samples_ts"].as_array().unwrap().len(), 2);
        assert!(r["avg_ts"].as_f64().unwrap() > 0.0 && r["model_size"].as_u64().unwrap() > 0);
    }
    let table = text(&["bench", &m, "-p", "16", "-n", "0", "-r", "1"]);
    assert!(table.contains("pp16") && !table.contains("tg"), "{table}");
    assert_eq!(kinglet(&["bench", &m, "-p", "0", "-n", "0"]).output().unwrap().status.code(), Some(2));
    // A context that leaves no room is refused before it is computed: a trace would tell.
    let mut deep = kinglet(&["bench", &m, "-d", "512", "-p", "1", "-n", "0"]);
    let out = deep.env("KINGLET_TRACE", "1").output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.code() == Some(3) && said.contains("513 tokens do not fit"), "{said}");
    assert!(!said.contains("prefill"), "{said}");
}

#[test]
fn inspect_says_whether_it_will_run() {
    let (folder, m) = model("verbs-inspect");
    assert!(text(&["inspect", &m]).contains("nothing: all of it can be used"));
    for (name, model, why) in [
        ("extra", talker().vector("blk.0.ffn_gate_inp.weight", 8, 0.0).bytes(), "blk.0.ffn_gate_inp.weight"),
        ("runes", talker().set("tokenizer.ggml.model", Some(common::Meta::Str("runes"))).bytes(), "runes"),
        ("mute", talker().set("tokenizer.ggml.model", None).bytes(), "no tokenizer"),
    ] {
        let path = folder.write(name, &model);
        let json: serde_json::Value =
            serde_json::from_str(&text(&["inspect", path.to_str().unwrap(), "--json"])).unwrap();
        assert!(json["unsupported"][0].as_str().unwrap().contains(why), "{json}");
    }
}

#[test]
fn cpu_and_verify_know_this_machine() {
    let cpu: serde_json::Value = serde_json::from_str(&text(&["cpu", "--json"])).unwrap();
    let chosen = cpu["chosen"].as_str().unwrap();
    let usable = |t: &serde_json::Value| t["usable"].as_bool().unwrap();
    assert!(cpu["tiers"].as_array().unwrap().iter().any(|t| t["tier"] == chosen && usable(t)));
    assert!(cpu["read_bandwidth"][0]["gb_per_s"].as_f64().unwrap() > 0.0);
    let verified = text(&["verify"]);
    for t in cpu["tiers"].as_array().unwrap() {
        let line = verified.lines().find(|l| l.starts_with(t["tier"].as_str().unwrap())).unwrap();
        assert!(line.contains(if usable(t) { "ok: " } else { "NOT RUN: " }), "{line}");
    }
}

#[test]
fn kernels_and_results_of_verify_can_be_read_by_programs() {
    let list: serde_json::Value = serde_json::from_str(&text(&["cpu", "--kernels", "--json"])).unwrap();
    let kernels = list["kernels"].as_array().unwrap();
    let chosen = list["chosen"].as_str().unwrap();
    let of_chosen =
        |op: &str| kernels.iter().find(|k| k["of_tier"] == chosen && k["op"] == op && k["format"] == "Q4_K");
    for op in ["gemv", "gemm"] {
        let kernel = of_chosen(op).unwrap();
        // On amx_int8 one column is another tier's.
        let owner = if (chosen, op) == ("amx_int8", "gemv") { "avx512_vnni" } else { chosen };
        assert_eq!(kernel["name"], format!("q4_k.{op}.{owner}"));
        assert!(kernel["runs"].as_bool().unwrap() && kernel["layout"] == "a8x32.1", "{kernel}");
        assert!(kernel["tile"]["rows"].as_u64().unwrap() > 0);
    }
    let name = format!("q4_k.gemm.{chosen}");
    // Each tier lists the same operations, whoever's code it runs.
    let of = |tier: &str| kernels.iter().filter(|k| k["of_tier"] == tier).count();
    let tiers: Vec<&str> =
        list["tiers"].as_array().unwrap().iter().map(|t| t["tier"].as_str().unwrap()).collect();
    assert!(tiers.len() >= 7 && tiers.iter().all(|t| of(t) == of("scalar") && of(t) > 80), "{tiers:?}");
    assert!(text(&["cpu", "--kernels"]).lines().any(|l| l.starts_with(&name)));

    let verified: serde_json::Value = serde_json::from_str(&text(&["verify", "--json"])).unwrap();
    assert_eq!(verified["seed"], 0);
    let run: Vec<_> = verified["tiers"].as_array().unwrap().iter().filter(|t| t["run"] == true).collect();
    for t in &run {
        assert_eq!(t["pass"], true, "{}", t["tier"]);
        // Hashes are those of every other tier, here and elsewhere.
        let hashes = |t: &serde_json::Value| -> Vec<String> {
            t["results"]
                .as_array()
                .unwrap()
                .iter()
                .map(|r| r["name"].to_string() + &r["hash"].to_string())
                .collect()
        };
        assert_eq!(hashes(t), hashes(run[0]), "{}", t["tier"]);
        assert!(t["results"].as_array().unwrap().iter().any(|r| r["name"] == "q4_k.matmul"));
    }
    assert!(!run.is_empty());
}
