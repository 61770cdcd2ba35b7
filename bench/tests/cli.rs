//! The program from outside: exit codes, messages, files. Nothing here is timed: the commands that are "measured" print numbers.

#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("kinglet-bench-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
    fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn bench(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinglet-bench"));
    command.current_dir(folder).args(args).stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn expect(output: &Output, code: i32, words: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut list = Command::new(env!("CARGO_BIN_EXE_kinglet-bench"));
    let output = list.arg("list").stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), said(&output)), (Some(0), String::new()));
}

/// A command whose numbers have a little noise, by its process id.
fn samples(ns: u32) -> String {
    format!("samples:sh -c 'echo sort $(({ns}000 + $$ % 7)); echo size 100 bytes'")
}

#[test]
fn a_slower_program_is_told_from_an_equal_one() {
    let folder = Folder::new("compare");
    let go = |a: u32, b: u32, more: &[&str]| {
        let (a, b) = (samples(a), samples(b));
        bench(&folder.0, &[&["compare", &a, &b, "--budget", "8", "--output", "result.json"], more].concat())
    };
    expect(&go(10_000, 11_000, &[]), 3, &["sort", "+10.0 %", "slower", "no difference", "1 SLOWER"]);
    let result: serde_json::Value = serde_json::from_str(&folder.read("result.json")).unwrap();
    assert_eq!(result["kind"], "comparison");
    assert_eq!(result["results"][0]["verdict"], "slower");
    assert!(result["results"][0]["rounds"].as_array().unwrap().len() >= 10);
    expect(&go(10_000, 10_000, &["--filter", "sort"]), 0, &["no difference larger than"]);
    expect(&go(10_000, 8_000, &["--filter", "sort"]), 0, &["1 faster, none slower"]);
    expect(&go(10_000, 10_000, &["--filter", "nothing"]), 2, &["nothing to compare"]);
}

#[test]
fn recordings_are_kept_whole_and_compared() {
    let folder = Folder::new("record");
    let record = |ns: u32, file: &str| {
        bench(
            &folder.0,
            &["record", "--program", &samples(ns), "--no-roof", "--budget", "2", "--output", file],
        )
    };
    expect(&record(1000, "a.jsonl"), 0, &["2 benchmarks", "written to a.jsonl"]);
    expect(&record(1100, "b.jsonl"), 0, &["sort"]);
    assert_eq!(folder.names(), ["a.jsonl", "b.jsonl"], "nothing temporary is left");
    assert_eq!(folder.read("a.jsonl").lines().count(), 3);
    expect(&bench(&folder.0, &["compare", "a.jsonl", "b.jsonl"]), 3, &["sort", "slower", "+10.0 %"]);
    expect(&bench(&folder.0, &["compare", "a.jsonl", "a.jsonl"]), 0, &["no difference"]);

    let other = folder.read("b.jsonl").replacen("\"cores\":", "\"cores\":9", 1);
    folder.write("other.jsonl", &other);
    expect(&bench(&folder.0, &["compare", "a.jsonl", "other.jsonl"]), 2, &["cores", "--across-machines"]);
    expect(
        &bench(&folder.0, &["compare", "a.jsonl", "other.jsonl", "--across-machines"]),
        0,
        &["speed-up over scalar"],
    );

    folder.write("newer.jsonl", &other.replacen("\"schema\":1", "\"schema\":7", 1));
    expect(
        &bench(&folder.0, &["compare", "a.jsonl", "newer.jsonl"]),
        2,
        &["newer.jsonl", "line 1", "newer kinglet-bench"],
    );
    folder.write("cut.jsonl", &other[..other.len() / 2]);
    expect(&bench(&folder.0, &["compare", "a.jsonl", "cut.jsonl"]), 2, &["cut.jsonl", "line "]);
    expect(&bench(&folder.0, &["compare", "a.jsonl", "no.jsonl"]), 2, &["cannot read no.jsonl"]);
}

/// A worker of its own, in a shell: one benchmark, with what it answers to `run` and `checksum`.
fn worker(folder: &Folder, name: &str, run: &str, sum: &str) -> String {
    let script = format!(
        r#"#!/bin/sh
while read -r verb rest; do
  case $verb in
    hello) echo '{{"protocol":1,"suite":"shell"}}' ;;
    list) echo '{{"benchmarks":[{{"spec":{{"name":"x","layer":"kernel","unit":"bytes","expected":"0a"}}}}]}}' ;;
    prepare) echo '{{"ok":true}}' ;;
    run) {run} ;;
    checksum) echo '{{"checksum":"{sum}"}}' ;;
    *) exit 0 ;;
  esac
done
"#
    );
    let path = folder.write(name, &script);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).unwrap();
    format!("cmd:{path}")
}

#[test]
fn wrong_answers_crashes_and_hangs_have_codes_of_their_own() {
    let folder = Folder::new("trouble");
    let answer = r#"set -- $rest; i=0; s=100; while [ $i -lt $(($1 - 1)) ]; do s=$s,100; i=$((i+1)); done; echo "{\"samples\":[$s]}""#;
    let good = worker(&folder, "good", answer, "0a");
    for (name, run, sum, code, word) in [
        ("wrong", answer, "0b", 6, "WRONG ANSWER"),
        ("crash", "kill -9 $$", "0a", 7, "signal: 9"),
        ("hang", "sleep 1000", "0a", 7, "no answer to `run"),
        ("babble", "echo hello", "0a", 7, "answered `hello`"),
        ("refuse", r#"echo '{"error":"out of cheese"}'"#, "0a", 7, "out of cheese"),
        ("negative", r#"echo '{"samples":[-1]}'"#, "0a", 7, "asked for"),
    ] {
        let bad = worker(&folder, name, run, sum);
        let args = ["--budget", "5", "--timeout", "2"];
        let compared = bench(&folder.0, &[&["compare", &good, &bad], &args[..]].concat());
        expect(&compared, code, &["x: ", word]);
        let record = ["record", "--program", &bad, "--no-roof", "--output", "r.jsonl"];
        expect(&bench(&folder.0, &[&record[..], &args[..]].concat()), code, &["written to r.jsonl"]);
        assert!(folder.read("r.jsonl").contains("\"kind\":\"failure\""), "{name}");
    }
    expect(&bench(&folder.0, &["compare", &good, "cmd:true", "--budget", "5"]), 2, &["B: true is no worker"]);
    expect(
        &bench(&folder.0, &["compare", &good, "cmd:/no/such", "--budget", "5"]),
        2,
        &["cannot start /no/such"],
    );
}

#[test]
fn an_interrupted_recording_keeps_what_was_measured() {
    let folder = Folder::new("interrupt");
    // The first name is quick; the second one takes its time.
    let command =
        "samples:sh -c 'case $KINGLET_BENCH_NAME in slow) sleep 1;; esac; echo quick 5; echo slow 1000'";
    let mut child = Command::new(env!("CARGO_BIN_EXE_kinglet-bench"))
        .current_dir(&folder.0)
        .args(["record", "--program", command, "--no-roof", "--output", "r.jsonl"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let partial = folder.0.join("r.partial.jsonl");
    let started = std::time::Instant::now();
    while std::fs::read_to_string(&partial).map_or(0, |t| t.lines().count()) < 2 {
        assert!(started.elapsed().as_secs() < 100, "the first benchmark never ends");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let code = child.wait().unwrap().code();
    assert_eq!(code, Some(130));
    assert_eq!(folder.names(), ["r.interrupted.jsonl"], "a whole baseline is not replaced by a part");
    let kept = folder.read("r.interrupted.jsonl");
    assert!(kept.contains("\"quick\"") && kept.contains("\"interrupted\":true"), "{kept}");
}

/// The path of a copy of a tiny model, which allows for a context of so many tokens.
#[cfg(target_os = "linux")]
fn tinyllama_with_context(folder: &Folder, n: u32) -> String {
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../reference/fixtures/llama-tinyllama/model.gguf");
    let mut bytes = std::fs::read(fixture).unwrap();
    // A key is followed by its type, for which 4 is a u32, and its value.
    let key = b"llama.context_length\x04\0\0\0";
    let value = bytes.windows(key.len()).position(|w| w == key).unwrap() + key.len();
    bytes[value..value + 4].copy_from_slice(&n.to_le_bytes());
    let path = folder.0.join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

/// A tiny model, decoded for real; only that numbers come out is looked at.
#[cfg(target_os = "linux")]
#[test]
fn memory_is_that_of_a_process_which_does_nothing_else() {
    let folder = Folder::new("memory");
    let model = tinyllama_with_context(&folder, 4096);
    let peak = |depth: &str| -> (u64, u64) {
        let args = ["--tier", "scalar", "--kv", "f16", "--threads", "1", "--batch", "512", "--depth", depth];
        let output = bench(&folder.0, &[&["peak-memory", "--model", &model], &args[..]].concat());
        expect(&output, 0, &["resident"]);
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (told["resident"].as_u64().unwrap(), told["anonymous"].as_u64().unwrap())
    };
    let (resident, anonymous) = peak("0");
    assert!(0 < anonymous && anonymous < resident, "{anonymous} of {resident}");
    // Where the loader puts a program decides which of its pages come along with others: resident memory varies by nearly a
    // megabyte from launch to launch. These positions take six.
    let deep = peak("3000");
    assert!(
        deep.0 > resident && deep.1 > anonymous,
        "more tokens take more: {deep:?}, {resident}, {anonymous}"
    );
    let record = |output: &str, filter: &[&str]| {
        let args =
            ["record", "end_to_end", "--model", &model, "--no-roof", "--budget", "3", "--output", output];
        said(&bench(&folder.0, &[&args[..], filter].concat()))
    };
    let lines = |name: &str| -> Vec<serde_json::Value> {
        folder.read(name).lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    };
    let told = record("m.jsonl", &["--filter", "model.rss", "--filter", "model.anonymous"]);
    assert!(told.contains("launches of 2 benchmarks"), "{told}");
    let recorded = lines("m.jsonl");
    for (part, peak) in [("rss", resident), ("anonymous", anonymous)] {
        let name = format!("model.{part}.");
        let found =
            recorded.iter().find(|l| l["name"].as_str().is_some_and(|n| n.starts_with(&name))).unwrap();
        assert_eq!(found["unit"], "bytes");
        let bytes = found["samples"][0].as_f64().unwrap() / peak as f64;
        assert!((0.5..2.0).contains(&bytes), "{name}: {bytes} of what a process of its own takes");
    }
    // Where there is no meter, it says which it looked for.
    let told = record("e.jsonl", &["--filter", "energy"]);
    let energy = lines("e.jsonl").pop().unwrap().to_string();
    let missing = energy.contains("RAPL") && energy.contains("pmic_read_adc");
    assert!(missing || energy.contains("microjoules"), "{told}\n{energy}");
}

#[test]
fn a_budget_that_is_too_small_is_told_and_everything_measured() {
    let folder = Folder::new("budget");
    let command = "samples:sh -c 'sleep 0.4; echo one 5; echo two 1000; echo three 10'";
    let args = ["record", "--program", command, "--no-roof", "--budget", "1", "--output", "r.jsonl"];
    expect(
        &bench(&folder.0, &args),
        0,
        &[
            "the budget of 1 s is used up after",
            "more than the budget of 1 s, because one launch of each took",
            "3 benchmarks",
        ],
    );
    assert_eq!(folder.names(), ["r.jsonl"]);
    assert_eq!(folder.read("r.jsonl").lines().count(), 4);
}

#[test]
fn the_command_line_teaches() {
    let folder = Folder::new("usage");
    expect(
        &bench(&folder.0, &["--help"]),
        0,
        &["compare", "record", "calibrate", "Exit codes", "a wrong answer"],
    );
    expect(
        &bench(&folder.0, &["compare", "--help"]),
        0,
        &["WORKTREE", "--min-effect", "--budget", "--filter", "--pin"],
    );
    expect(&bench(&folder.0, &["list"]), 0, &["qwen2.5-0.5b.ffn_down.q4_k.gemv."]);
    expect(&bench(&folder.0, &["list", "nothing"]), 2, &["no suite `nothing`; there are gate"]);
    expect(&bench(&folder.0, &["list", "end_to_end"]), 2, &["--model FILE"]);
    expect(&bench(&folder.0, &["record", "end_to_end", "--model", "no.gguf"]), 7, &["no.gguf"]);
    for (args, word) in [
        (&["compare", "a", "b", "--min-effect", "-1"][..], "percent"),
        (&["compare", "a", "b", "--budget", "0"][..], "second"),
        (&["compare", "a", "b", "--pin", "9999"][..], "CPU 9999"),
        (&["compare", "a"][..], "<B>"),
        (&["compare", "no-such-revision", "b"][..], "neither a program nor a git revision"),
        (&["worker", "--inject", "x"][..], "NAME:PERCENT"),
    ] {
        expect(&bench(&folder.0, args), 2, &[word]);
    }
}

#[test]
fn calibration_continues_from_its_log() {
    let folder = Folder::new("calibrate");
    let command = samples(1000);
    let go = |runs: &str| {
        let args =
            ["--budget", "2", "--injected-runs", "0", "--replays", "50", "--markdown", "c.md", "--seed", "1"];
        bench(&folder.0, &[&["calibrate", &command, &command, "--runs", runs], &args[..]].concat())
    };
    expect(&go("1"), 0, &["run 1: A against A", "0 of 1"]);
    let again = go("2");
    expect(&again, 0, &["run 2: A against A", "0 of 2"]);
    assert!(!said(&again).contains("run 1:"), "{}", said(&again));
    assert!(folder.read("c.md").contains("# Calibration of the gate"));
    assert_eq!(folder.read("calibration.jsonl").lines().count(), 2);
}
