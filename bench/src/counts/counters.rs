//! The counters: who executes the counting program and tells how many instructions each kernel took.

use super::step;
use kinglet_kernels::Tier;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A way to count executed instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Counter {
    /// Valgrind's callgrind: x86-64 up to AVX2.
    Callgrind,
    /// QEMU with a plugin: every Arm tier on any machine, and x86-64 up to AVX2.
    Qemu,
    /// One instruction after the other by ptrace: x86-64, every tier that the machine itself has.
    Step,
}

impl Counter {
    /// The name in records and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Counter::Callgrind => "callgrind",
            Counter::Qemu => "qemu",
            Counter::Step => "step",
        }
    }

    /// The one that counts `tier` unless the user says otherwise.
    pub fn of(tier: Tier, arch: &str) -> Counter {
        match tier {
            // Neither valgrind nor QEMU's user mode knows AVX-VNNI, AVX-512 and AMX.
            Tier::AvxVnni | Tier::Avx512Vnni | Tier::AmxInt8 => Counter::Step,
            _ if arch == "x86_64" => Counter::Callgrind,
            _ => Counter::Qemu,
        }
    }

    /// What it is, with its version; `None` when it is not installed.
    pub fn version(self, arch: &str) -> Option<String> {
        let first = |program: &str| {
            let out = Command::new(program).arg("--version").output().ok().filter(|o| o.status.success())?;
            String::from_utf8_lossy(&out.stdout).lines().next().map(|l| l.trim().to_owned())
        };
        match self {
            Counter::Callgrind => first("valgrind"),
            Counter::Qemu => first(&format!("qemu-{arch}")),
            Counter::Step => cfg!(target_arch = "x86_64").then(|| "ptrace".to_owned()),
        }
    }

    /// What to install.
    fn advice(self, arch: &str) -> String {
        match self {
            Counter::Callgrind => "valgrind is not installed (Debian's package valgrind)".to_owned(),
            Counter::Qemu => format!("qemu-{arch} is not installed (Debian's package qemu-user)"),
            Counter::Step => "stepping works on x86-64 only".to_owned(),
        }
    }
}

/// One counted kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// `q4_k.gemv.avx2`.
    pub kernel: String,
    /// `64x768x1`.
    pub shape: String,
    /// Executed instructions of one call.
    pub instructions: u64,
}

/// Why a tier could not be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uncounted {
    /// This machine cannot: no such CPU feature, counter not installed. In words.
    NotHere(String),
    /// Something went wrong, in words.
    Failed(String),
}

/// Counts the kernels of `tier` whose names contain `filter`.
///
/// # Errors
/// See [`Uncounted`].
pub fn count(
    counter: Counter,
    program: &Path,
    arch: &str,
    tier: Tier,
    filter: &str,
    scratch: &Scratch,
) -> Result<Vec<Count>, Uncounted> {
    if counter.version(arch).is_none() {
        return Err(Uncounted::NotHere(counter.advice(arch)));
    }
    let mut args = vec![tier.name(), counter.name()];
    args.extend((!filter.is_empty()).then_some(filter));
    let (names, counts) = match counter {
        Counter::Callgrind => callgrind(program, &args, scratch)?,
        Counter::Qemu => qemu(program, &args, arch, tier, scratch)?,
        Counter::Step => step::count(program, &args).map_err(Uncounted::from_program)?,
    };
    join(&names, &counts).map_err(|e| Uncounted::Failed(format!("{tier} by {}: {e}", counter.name())))
}

impl Uncounted {
    /// What the counting program said: a tier that this machine cannot run is not a failure.
    fn from_program(text: String) -> Uncounted {
        if text.contains("UnusableTier") || text.contains("lacks") {
            let why = text.rsplit("why: ").next().unwrap_or(&text).trim_matches(['"', ' ', '}', '\n']);
            Uncounted::NotHere(why.to_owned())
        } else {
            Uncounted::Failed(text)
        }
    }
}

/// Pairs names, as the program prints them, with counts, as the counter does; what the markers take is subtracted.
fn join(names: &str, counts: &[u64]) -> Result<Vec<Count>, String> {
    let names: Vec<&str> = names.lines().collect();
    if names.len() != counts.len() {
        return Err(format!("{} kernels ran, but {} were counted", names.len(), counts.len()));
    }
    let markers = match (names.first(), counts.first()) {
        (Some(name), Some(n)) if name.starts_with("empty.") => *n,
        _ => return Err("the counting program did not begin with its empty region".to_owned()),
    };
    let pairs = names.iter().zip(counts).skip(1);
    pairs
        .map(|(line, n)| {
            let (kernel, shape) = line.split_once(' ').ok_or_else(|| format!("`{line}` is not a kernel"))?;
            let instructions = n.checked_sub(markers).filter(|n| *n > 0);
            let instructions = instructions.ok_or_else(|| format!("{kernel} took no instruction"))?;
            Ok(Count { kernel: kernel.to_owned(), shape: shape.to_owned(), instructions })
        })
        .collect()
}

fn run(command: &mut Command) -> Result<Output, Uncounted> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let out = command.output().map_err(|e| Uncounted::Failed(format!("cannot start {shown}: {e}")))?;
    if out.status.success() {
        return Ok(out);
    }
    let text = String::from_utf8_lossy(&out.stderr);
    let lines = || text.lines().filter(|l| !l.starts_with("==") && !l.trim().is_empty());
    let line =
        lines().find(|l| l.starts_with("Error")).or_else(|| lines().next_back()).unwrap_or("no message");
    Err(Uncounted::from_program(format!("{shown} ended with {}: {line}", out.status)))
}

fn callgrind(program: &Path, args: &[&str], scratch: &Scratch) -> Result<(String, Vec<u64>), Uncounted> {
    let file = scratch.file("callgrind.out");
    let out = run(Command::new("valgrind")
        .args(["--tool=callgrind", "--combine-dumps=yes", "--dump-line=no"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args(args))?;
    let text = std::fs::read_to_string(&file)
        .map_err(|e| Uncounted::Failed(format!("cannot read {}: {e}", file.display())))?;
    Ok((String::from_utf8_lossy(&out.stdout).into_owned(), dumps(&text)))
}

/// The totals of the dumps that the program itself asked for.
fn dumps(text: &str) -> Vec<u64> {
    let (mut ours, mut counts) = (false, Vec::new());
    for line in text.lines() {
        if let Some(trigger) = line.strip_prefix("desc: Trigger:") {
            ours = trigger.contains("Client Request");
        } else if let Some(total) = line.strip_prefix("totals:").and_then(|t| t.trim().parse().ok())
            && ours
        {
            counts.push(total);
            ours = false;
        }
    }
    counts
}

fn qemu(
    program: &Path,
    args: &[&str],
    arch: &str,
    tier: Tier,
    scratch: &Scratch,
) -> Result<(String, Vec<u64>), Uncounted> {
    let cpu = match tier {
        Tier::DotProd => "cortex-a76",
        Tier::Neon => "cortex-a72",
        Tier::Scalar if arch == "aarch64" => "cortex-a72",
        _ => "max",
    };
    let mut command = Command::new(format!("qemu-{arch}"));
    if arch != std::env::consts::ARCH {
        command.arg("-L").arg(format!("/usr/{arch}-linux-gnu"));
    }
    command.args(["-cpu", cpu, "-plugin"]).arg(scratch.plugin()?).arg(program).args(args);
    let out = run(&mut command)?;
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    let counts = text.lines().filter_map(|l| l.strip_prefix("region ")?.parse().ok()).collect();
    Ok((String::from_utf8_lossy(&out.stdout).into_owned(), counts))
}

/// A folder for what the counters need, removed in the end.
#[derive(Debug)]
pub struct Scratch {
    dir: PathBuf,
    plugin: PathBuf,
}

impl Scratch {
    /// `plugin` is the C source of QEMU's plugin.
    ///
    /// # Errors
    /// In words, when the folder cannot be made.
    pub fn new(plugin: PathBuf) -> Result<Scratch, String> {
        let dir = std::env::temp_dir().join(format!("kinglet-bench-counts-{}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
        Ok(Scratch { dir, plugin })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The plugin, compiled at the first use.
    fn plugin(&self) -> Result<PathBuf, Uncounted> {
        let out = self.file("instructions.so");
        if !out.exists() {
            run(Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&out).arg(&self.plugin))?;
        }
        Ok(out)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is small, and in the system's temporary folder.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_counts_are_joined_without_the_markers() {
        let joined = join("empty.avx2 0\nq4_0.gemv.avx2 64x768x1\n", &[14, 114]).unwrap();
        let expected =
            Count { kernel: "q4_0.gemv.avx2".to_owned(), shape: "64x768x1".to_owned(), instructions: 100 };
        assert_eq!(joined, [expected]);
    }

    #[test]
    fn counts_that_do_not_fit_are_errors() {
        for (names, counts, says) in [
            ("empty.avx2 0\na.avx2 1\n", &[14][..], "2 kernels ran, but 1 were counted"),
            ("a.avx2 1\n", &[14], "empty region"),
            ("empty.avx2 0\na.avx2 1\n", &[14, 14], "took no instruction"),
            ("empty.avx2 0\na.avx2\n", &[14, 15], "not a kernel"),
        ] {
            let e = join(names, counts).unwrap_err();
            assert!(e.contains(says), "{e}");
        }
    }

    #[test]
    fn only_dumps_that_the_program_asked_for_count() {
        let text = "desc: Trigger: Client Request: kernel\nsummary: 99\ntotals: 14\n\
                    desc: Trigger: Client Request: kernel\ntotals: 130\n\
                    desc: Trigger: Program termination\ntotals: 7\n";
        assert_eq!(dumps(text), [14, 130]);
    }

    #[test]
    fn a_missing_cpu_feature_is_no_failure() {
        let said = r#"Error: UnusableTier { tier: I8mm, why: "the CPU or the operating system lacks i8mm" }"#;
        let why = "the CPU or the operating system lacks i8mm".to_owned();
        assert_eq!(Uncounted::from_program(said.to_owned()), Uncounted::NotHere(why));
        assert!(matches!(Uncounted::from_program("Segmentation fault".to_owned()), Uncounted::Failed(_)));
    }
}
