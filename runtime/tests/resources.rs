//! What a run takes of the machine: threads, memory, CPU time of those who wait; and that it says so. On Linux, which tells.
#![cfg(target_os = "linux")]

mod common;
mod support;

use common::{Meta, Sizes, TINY, talker};
use kinglet::decoder::cache_bytes;
use kinglet::gguf::Gguf;
use kinglet::memory::{ACTIVATION_BYTES, REST};
use kinglet::model::Model;
use kinglet::team::Team;
use kinglet_kernels::{Format, KvType};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use support::{Folder, own_program};

fn kinglet(home: &Folder, args: &[&str]) -> Command {
    let mut command = own_program(env!("CARGO_BIN_EXE_kinglet").as_ref());
    command.args(args).env_remove("KINGLET_TIER").env_remove("KINGLET_TRACE").stdin(Stdio::null());
    command.env("KINGLET_HOME", home.join("home"));
    command
}

/// Exit code, stdout, stderr.
fn output(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A folder with a model, and the model's path.
fn model(name: &str) -> (Folder, String) {
    let folder = Folder::new(name);
    let path = folder.write("talker.gguf", &talker().bytes()).to_str().unwrap().to_owned();
    (folder, path)
}

fn emulated(what: &str) -> bool {
    let emulated = std::env::var_os("KINGLET_TEST_RUNNER").is_some_and(|r| !r.is_empty());
    if emulated {
        println!("{what}: NOT RUN: an emulator's own memory and threads cannot be told from ours");
    }
    emulated
}

#[test]
fn what_tune_found_is_used_until_it_is_forgotten() {
    let (folder, m) = model("resources-tune");
    let run = |more: &[&str]| {
        let args = [&["run", &m, "--temp", "0", "-n", "8", "hello"], more].concat();
        output(&mut kinglet(&folder, &args))
    };
    let (code, before, said) = run(&["-v"]);
    assert!(code == 0 && said.contains("by default"), "{said}");

    let (code, table, said) = output(&mut kinglet(&folder, &["tune", &m, "--max-threads", "3", "-r", "1"]));
    assert_eq!(code, 0, "{said}");
    assert!(
        table.contains("decode t/s") && table.contains("prefill t/s") && table.matches('*').count() == 2,
        "{table}"
    );
    assert!((1..=3).all(|n| table.contains(&format!("| {n:>7} |"))), "{table}");
    assert!(said.contains("--threads ") && said.contains("--threads-batch "), "{said}");
    let files = support::files(&folder.join("home"));
    assert!(files.len() == 1 && files[0].starts_with("tuned/") && files[0].ends_with(".json"), "{files:?}");

    let file = folder.join("home").join(&files[0]);
    let text = std::fs::read_to_string(&file).unwrap();
    let mut kept: serde_json::Value = serde_json::from_str(&text).unwrap();
    kept["threads"] = 2.into();
    kept["threads_batch"] = 3.into();
    std::fs::write(&file, kept.to_string()).unwrap();
    let (_, after, said) = run(&["-v"]);
    assert!(said.contains("2 threads for generation and 3 for prompts (from kinglet tune)"), "{said}");
    assert_eq!(before, after);
    let bench = ["bench", &m, "-p", "8", "-n", "4", "-r", "1", "--json"];
    let (_, json, _) = output(&mut kinglet(&folder, &bench));
    let records: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&records[0]["n_threads"], &records[1]["n_threads"]), (&3.into(), &2.into()), "{json}");
    let (_, _, said) = run(&["-v", "-t", "1"]);
    assert!(said.contains("1 threads for generation and 1 for prompts (as given)"), "{said}");

    std::fs::write(&file, "{ not what it was").unwrap();
    let (code, after, said) = run(&[]);
    assert_eq!((code, &after), (0, &before));
    assert!(said.lines().count() == 1 && said.contains("damaged") && said.contains(&files[0]), "{said}");
    assert_eq!(run(&["-q"]).2, "");
    let (_, _, said) = output(&mut kinglet(&folder, &["tune", &m, "--forget"]));
    assert!(said.contains("forgotten") && support::files(&folder.join("home")).is_empty(), "{said}");
}

#[test]
fn what_tune_found_is_shown_where_it_cannot_be_kept() {
    let (folder, m) = model("resources-tune-full");
    let home = folder.write("home", b"a file where the folder should be").to_str().unwrap().to_owned();
    for json in [&[][..], &["--json"]] {
        let args = [&["tune", &m, "--max-threads", "1", "-r", "1"], json].concat();
        let (code, table, said) = output(kinglet(&folder, &args).env("KINGLET_HOME", &home));
        assert_eq!(code, 4, "{said}");
        let last = said.lines().last().unwrap();
        assert!(
            last.starts_with("kinglet: ") && last.contains(&home) && last.contains("KINGLET_HOME"),
            "{said}"
        );
        assert!(table.contains(if json.is_empty() { "decode t/s" } else { "\"kept_in\": null" }), "{table}");
    }
}

#[test]
fn more_threads_than_can_run_are_said_and_work() {
    let (folder, m) = model("resources-threads");
    let run = |more: &[&str]| {
        let args = [&["run", &m, "--temp", "0", "-n", "8", "hello"], more].concat();
        output(&mut kinglet(&folder, &args))
    };
    let (_, base, _) = run(&["-t", "1"]);
    let many = (std::thread::available_parallelism().unwrap().get() * 4).to_string();
    let (code, text, said) = run(&["-t", &many]);
    assert_eq!((code, &text), (0, &base));
    assert!(said.lines().count() == 1 && said.contains(&format!("{many} threads are more than")), "{said}");
    let (_, text, said) = run(&["--threads-batch", &many, "-q"]);
    assert_eq!((text, said.as_str()), (base, ""));
}

#[test]
fn an_affinity_is_respected() {
    if emulated("affinity") {
        return;
    }
    let (folder, _) = model("resources-affinity");
    let list = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = list.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned();
    let first = list.split([',', '-']).next().unwrap();
    let program = kinglet(&folder, &[]);
    let mut command = Command::new("taskset");
    command.args(["-c", first]).arg(program.get_program()).args(["cpu", "--json"]);
    match command.output() {
        Err(e) => println!("affinity: NOT RUN: taskset: {e}"),
        Ok(out) => {
            let cpu: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
            for key in ["threads", "cores", "default_threads", "default_threads_batch"] {
                assert_eq!(cpu[key], 1, "{key}: {cpu}");
            }
        }
    }
}

#[test]
fn a_budget_is_kept_or_the_numbers_are_said() {
    let (folder, m) = model("resources-budget");
    let run = |more: &[&str]| {
        let args = [&["run", &m, "--temp", "0", "-n", "8", "hello"], more].concat();
        output(&mut kinglet(&folder, &args))
    };
    let (_, base, _) = run(&[]);
    assert_eq!(run(&["--mem", "1G"]).1, base, "a budget changes nothing but whether it runs");
    let (code, text, said) = run(&["--mem", "2M"]);
    assert_eq!((code, text.as_str(), said.lines().count()), (1, "", 1), "{said}");
    for word in
        ["--mem allows 2 MiB", "weights", "keys and values of 512 tokens", "activations", "smaller model"]
    {
        assert!(said.contains(word), "{word}: {said}");
    }
    for wrong in ["2Q", "-1G", "5"] {
        assert_eq!(run(&["--mem", wrong]).0, 2, "{wrong}");
    }
}

#[test]
fn a_trace_names_the_operations() {
    let (folder, m) = model("resources-trace");
    let file = folder.join("trace.json");
    // More threads than CPUs would be told.
    let threads = if std::thread::available_parallelism().unwrap().get() > 1 { "2" } else { "1" };
    let run = |trace: &str| {
        let args = ["run", &m, "--temp", "0", "-n", "8", "-t", threads, "hello"];
        output(kinglet(&folder, &args).env("KINGLET_TRACE", trace))
    };
    let (_, base, silent) = run("0");
    assert_eq!(silent, "");
    for value in ["1", file.to_str().unwrap()] {
        let (code, text, said) = run(value);
        assert_eq!((code, &text), (0, &base), "{said}");
        for op in [
            "prefill:",
            "decode:",
            "attn_q+attn_k+attn_v",
            "ffn_gate+ffn_up",
            "ffn_down",
            "output ",
            "attention",
            "GB/s",
        ] {
            assert!(said.contains(op), "{op}: {said}");
        }
    }
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let events = json["traceEvents"].as_array().unwrap();
    let decode = events.iter().filter(|e| e["name"] == "ffn_down" && e["tid"] == 0).count();
    assert!(decode >= 8 * TINY.layers, "{decode}");
    assert!(events.iter().filter(|e| e["ph"] == "X").all(|e| e["dur"].as_f64().unwrap() >= 0.0));
    let (code, _, said) = run("yes");
    assert!(code == 2 && said.contains("KINGLET_TRACE") && said.lines().count() == 1, "{said}");
    let (code, _, said) = run(folder.join("none/trace.json").to_str().unwrap());
    assert!(code == 1 && said.contains("none/trace.json"), "{said}");
    let left: Vec<String> =
        support::files(&folder.join("")).into_iter().filter(|f| f.contains("part")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A model with Gemma's vocabulary, and a tokenizer.
fn large_vocabulary(vocab: usize) -> common::Builder {
    let sizes = Sizes { vocab, dim: 64, ffn: 2048, context: 1024, layers: 2, ..TINY };
    let mut b = common::gemma3(sizes, 512, &[Format::Q8_0]);
    let special = ["<unk>", "<s>", "</s>"].map(str::to_owned);
    let bytes = (0..256).map(|b| format!("<0x{b:02X}>"));
    let words = (0..).map(|i| format!("\u{2581}word{i:x}"));
    let tokens: Vec<String> = special.into_iter().chain(bytes).chain(words).take(vocab).collect();
    let kind = |i: usize| match i {
        0 => 2,
        1 | 2 => 3,
        3..259 => 6,
        _ => 1,
    };
    b.key("tokenizer.ggml.model", Meta::Str("llama")).key("tokenizer.ggml.tokens", Meta::Strings(tokens));
    b.key("tokenizer.ggml.scores", Meta::F32s((0..vocab).map(|i| -(i as f32)).collect()));
    b.key("tokenizer.ggml.token_type", Meta::I32s((0..vocab).map(kind).collect()));
    b.key("tokenizer.ggml.bos_token_id", Meta::U32(1)).key("tokenizer.ggml.eos_token_id", Meta::U32(2));
    b
}

/// The most bytes of anonymous memory that a program has while it runs, and how often it was asked.
fn most_anonymous(mut command: Command) -> (u64, usize) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let path = format!("/proc/{}/smaps_rollup", child.id());
    let (mut most, mut looks) = (0, 0);
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(Path::new(&path)).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("Anonymous:"));
        if let Some(kib) = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()) {
            most = most.max(kib << 10);
            looks += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    (most, looks)
}

#[test]
fn memory_beyond_the_cache_is_bounded() {
    if emulated("memory") {
        return;
    }
    let folder = Folder::new("resources-memory");
    let bytes = large_vocabulary(262_144).bytes();
    let file = folder.write("large.gguf", &bytes);
    let m = file.to_str().unwrap();
    let gguf = Gguf::from_bytes(bytes).unwrap();
    let spec = Model::new(&gguf).unwrap().spec;
    let text = folder
        .write("text.txt", "a text of bytes, for the vocabulary has no letters. ".repeat(30).as_bytes());
    let (prompt, text) = (std::fs::read_to_string(&text).unwrap(), text.to_str().unwrap().to_owned());
    for (batch, n_ctx) in [(512, 1024), (16, 512)] {
        let (b, n) = (batch.to_string(), n_ctx.to_string());
        let run = ["run", m, "--raw", "-n", "8", "--batch", &b, "--ctx", "1024", &prompt[..600]];
        let perplexity = ["perplexity", m, "--file", &text, "--ctx", &n, "--chunks", "1", "--batch", &b];
        for args in [&run[..], &perplexity[..]] {
            let ctx = if args[0] == "run" { 1024 } else { n_ctx };
            let kv = cache_bytes(&spec, KvType::F16, ctx, batch as usize) as u64;
            let bound = kv + REST + ACTIVATION_BYTES * batch * spec.widest() as u64;
            let (most, looks) = most_anonymous(kinglet(&folder, args));
            println!("{} with a batch of {batch}: {most} bytes of {bound}, {looks} looks", args[0]);
            assert!(looks > 3 && most > 1 << 20, "{most} bytes at most, in {looks} looks");
            assert!(most <= bound, "{args:?}: {most} bytes of anonymous memory, where {bound} are allowed");
        }
    }
}

/// Nanoseconds that the team's threads have been running.
fn cpu_time() -> Option<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if name.starts_with("kinglet-") {
            let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            sum += stat.split(' ').next()?.parse::<u64>().ok()?;
        }
    }
    Some(sum)
}

#[test]
fn who_has_nothing_to_do_burns_no_cpu() {
    if emulated("idle threads") {
        return;
    }
    let team = Team::new(4).unwrap();
    let work = |crew: &kinglet::team::Crew<'_>| {
        for _ in 0..100 {
            crew.for_each(64, |_, i| (0..200 * i).for_each(|x| _ = std::hint::black_box(x)));
        }
    };
    let idle = || {
        // What is left of spinning, then nothing.
        std::thread::sleep(Duration::from_millis(50));
        let before = cpu_time();
        std::thread::sleep(Duration::from_millis(400));
        Some(cpu_time()? - before?)
    };
    team.region(2, work);
    let Some(between) = idle() else {
        println!("idle threads: NOT RUN: this kernel does not say how long a thread ran");
        return;
    };
    // While the caller does something alone.
    let within = team.region(2, |crew| {
        work(crew);
        let within = idle();
        work(crew);
        within
    });
    assert!(cpu_time().unwrap() > 0, "the threads have worked");
    assert!(between < 10_000_000 && within.unwrap() < 10_000_000, "{between} ns, {within:?} ns of 400 ms");
}
