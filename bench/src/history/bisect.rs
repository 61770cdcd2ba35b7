//! `kinglet-bench bisect`: the first commit between a good and a bad one that made something slower.
//!
//! git chooses the commits (`git bisect`, in a worktree of its own, so that nothing here is touched); each is judged by `compare`
//! against the good one, or, with `--counts`, by a kernel's executed instructions, which is exact.

use crate::counts::counters::{self, Counter, Scratch, Uncounted};
use crate::print::say;
use crate::source::{cache, commit, git};
use crate::tools::{Fail, code};
use kinglet_kernels::Tier;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Examples under `kinglet-bench bisect --help`.
pub const EXAMPLES: &str = "\
  kinglet-bench bisect v0.1.0 HEAD --counts q4_k.gemv.avx2             # exact, about a build per step
  kinglet-bench bisect v0.1.0 HEAD --filter ffn_down.q4_k.gemv.avx2    # by time; steps that cannot tell are skipped
  kinglet-bench bisect HEAD~20 HEAD --counts q4_0.gemm.neon --arch aarch64";

/// Options of `kinglet-bench bisect`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A revision that is fast
    pub good: String,
    /// A revision after it that is slow
    pub bad: String,
    /// Judge by the executed instructions of this kernel, as `kinglet-bench counts --list` names it
    #[arg(long, value_name = "KERNEL", conflicts_with_all = ["filter", "suite", "budget"])]
    pub counts: Option<String>,
    /// With --counts: the architecture of the kernel
    #[arg(long, default_value = std::env::consts::ARCH, value_parser = ["x86_64", "aarch64"])]
    pub arch: String,
    /// Judge by time: only benchmarks whose name contains this
    #[arg(long, value_name = "TEXT", required_unless_present = "counts")]
    pub filter: Option<String>,
    /// The suite of these benchmarks
    #[arg(long, default_value = "gate")]
    pub suite: String,
    /// Seconds for each comparison
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    pub budget: u64,
}

/// What a commit is, or 0 when that cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judged {
    Good,
    Bad,
    Skip,
}

impl Judged {
    fn word(self) -> &'static str {
        match self {
            Judged::Good => "good",
            Judged::Bad => "bad",
            Judged::Skip => "skip",
        }
    }
}

/// A worktree that is removed in the end.
struct Tree(PathBuf);

impl Tree {
    fn new(commit: &str) -> Result<Tree, String> {
        let path = cache().join(format!("bisect-{}", std::process::id()));
        git(&["worktree", "add", "--detach", &path.display().to_string(), commit])?;
        Ok(Tree(path))
    }

    fn git(&self, args: &[&str]) -> Result<String, String> {
        let dir = self.0.display().to_string();
        git(&[&["-C", &dir][..], args].concat())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // A folder that is left behind is pruned by git some day.
        let _ = self.git(&["bisect", "reset"]);
        let _ = git(&["worktree", "remove", "--force", &self.0.display().to_string()]);
    }
}

/// Runs the command.
///
/// # Errors
/// When a revision does not exist, the ends do not differ, or a step fails.
pub fn run(args: &Args) -> Result<(), Fail> {
    let input = |e: String| Fail::new(code::INPUT, e);
    let (good, bad) = (commit(&args.good).map_err(input)?, commit(&args.bad).map_err(input)?);
    if git(&["merge-base", "--is-ancestor", &good, &bad]).is_err() || good == bad {
        return Err(input(format!(
            "{} is not an ancestor of {}: there is nothing between them",
            args.good, args.bad
        )));
    }
    let tree = Tree::new(&bad)?;
    let mut judge = Judge::new(args, &good, &tree)?;
    if judge.judge(&tree, &bad)? != Judged::Bad {
        let how = if args.counts.is_some() { "takes as many instructions as" } else { "is no slower than" };
        return Err(input(format!("{} {how} {}: there is nothing to find", args.bad, args.good)));
    }
    tree.git(&["bisect", "start", "--no-checkout", &bad, &good])?;
    let mut said = tree.git(&["rev-parse", "BISECT_HEAD"])?;
    loop {
        crate::stop::listen();
        if crate::stop::asked() {
            return Err(Fail::new(130, "interrupted"));
        }
        let now = said.clone();
        let judged = judge.judge(&tree, &now)?;
        say!(
            "{} is {}: {}",
            &now[..now.len().min(9)],
            judged.word(),
            tree.git(&["log", "-1", "--format=%s", &now])?
        );
        let told = tree.git(&["bisect", judged.word(), &now])?;
        if told.contains("is the first bad commit") || told.contains("first 'bad' commit could be any of") {
            let first =
                told.lines().next().unwrap_or_default().split(' ').next().unwrap_or_default().to_owned();
            say!("\n{told}");
            let what = args.counts.as_deref().or(args.filter.as_deref()).unwrap_or_default();
            let how = if args.counts.is_some() { "changed" } else { "got slower" };
            say!("\n{what} {how} with {first}");
            return Ok(());
        }
        said = tree.git(&["rev-parse", "BISECT_HEAD"])?;
        if said == now {
            return Err(Fail::new(
                code::FAILURE,
                "too many commits could not be judged: none is left to try",
            ));
        }
    }
}

/// How commits are judged.
enum Judge<'a> {
    Time {
        args: &'a Args,
        good: String,
    },
    Counts {
        args: &'a Args,
        kernel: &'a str,
        tier: Tier,
        scratch: Scratch,
        program: PathBuf,
        fast: u64,
        slow: Option<u64>,
    },
}

impl<'a> Judge<'a> {
    fn new(args: &'a Args, good: &str, tree: &Tree) -> Result<Judge<'a>, Fail> {
        let Some(kernel) = args.counts.as_deref() else {
            return Ok(Judge::Time { args, good: good.to_owned() });
        };
        let tier = kernel.rsplit('.').next().unwrap_or_default();
        let tier: Tier =
            tier.parse().map_err(|e| Fail::new(code::INPUT, format!("{kernel} names no tier: {e}")))?;
        let here = crate::counts::root(None)?;
        let scratch = Scratch::new(here.join("bench/arm/instructions.c"))?;
        // Commits from before the counting program are counted with today's.
        let program = here.join("kernels/examples/count.rs");
        let mut judge = Judge::Counts { args, kernel, tier, scratch, program, fast: 0, slow: None };
        let counted = judge.count(tree, good)?;
        let counted =
            counted.ok_or_else(|| Fail::new(code::INPUT, format!("{} does not build", args.good)))?;
        say!("{kernel}: {counted} instructions at {}", args.good);
        if let Judge::Counts { fast, .. } = &mut judge {
            *fast = counted;
        }
        Ok(judge)
    }

    /// Instructions of the kernel at a commit, `None` when it does not build.
    fn count(&self, tree: &Tree, commit: &str) -> Result<Option<u64>, Fail> {
        let Judge::Counts { args, kernel, tier, scratch, program, .. } = self else { return Ok(None) };
        tree.git(&["checkout", "--quiet", "--force", "--detach", commit])?;
        let place = tree.0.join("kernels/examples/count.rs");
        let copied = std::fs::copy(program, &place);
        copied.map_err(|e| Fail::new(code::FAILURE, format!("cannot write {}: {e}", place.display())))?;
        // One folder for all steps: what does not change is not built again.
        let Ok(built) = crate::counts::build(&tree.0, &args.arch, Some(&cache().join("bisect-target")))
        else {
            return Ok(None);
        };
        let counter = Counter::of(*tier, &args.arch);
        let counted =
            counters::count(counter, &built, &args.arch, *tier, kernel, scratch).map_err(|e| match e {
                Uncounted::NotHere(why) | Uncounted::Failed(why) => {
                    Fail::new(code::FAILURE, format!("{kernel}: {why}"))
                }
            })?;
        let found = counted.iter().find(|c| c.kernel == *kernel).map(|c| c.instructions);
        found.map(Some).ok_or_else(|| {
            Fail::new(code::INPUT, format!("there is no kernel {kernel}; see `kinglet-bench counts --list`"))
        })
    }

    fn judge(&mut self, tree: &Tree, commit: &str) -> Result<Judged, Fail> {
        if let Judge::Time { args, good } = self {
            return by_time(args, good, commit);
        }
        let Some(n) = self.count(tree, commit)? else { return Ok(Judged::Skip) };
        let Judge::Counts { kernel, fast, slow, .. } = self else { return Ok(Judged::Skip) };
        say!("{kernel}: {n} instructions at {}", &commit[..commit.len().min(9)]);
        // The first one judged is the bad end.
        let slow = *slow.get_or_insert(n);
        Ok(if nearer_to(n, *fast, slow) { Judged::Good } else { Judged::Bad })
    }
}

/// Whether `n` is nearer to `fast` than to `slow`: between the ends there may be other, smaller changes.
fn nearer_to(n: u64, fast: u64, slow: u64) -> bool {
    n.abs_diff(fast) < n.abs_diff(slow) || fast == slow
}

fn by_time(args: &Args, good: &str, commit: &str) -> Result<Judged, Fail> {
    let me = std::env::current_exe().unwrap_or_else(|_| Path::new("kinglet-bench").to_owned());
    let mut command = Command::new(me);
    command.args(["compare", good, commit, "--suite", &args.suite, "--budget", &args.budget.to_string()]);
    command.args(["--filter", args.filter.as_deref().unwrap_or_default()]);
    let status = command.status().map_err(|e| Fail::new(code::FAILURE, format!("cannot compare: {e}")))?;
    match status.code().and_then(|c| u8::try_from(c).ok()) {
        Some(0) => Ok(Judged::Good),
        Some(crate::exit::REGRESSION) => Ok(Judged::Bad),
        Some(crate::exit::INTERRUPTED) => Err(Fail::new(crate::exit::INTERRUPTED, "interrupted")),
        // It does not build, or the machine was too restless to tell.
        _ => Ok(Judged::Skip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_belongs_to_the_nearer_end() {
        assert!(nearer_to(100, 100, 150) && nearer_to(110, 100, 150) && nearer_to(90, 100, 150));
        assert!(!nearer_to(150, 100, 150) && !nearer_to(140, 100, 150) && !nearer_to(200, 100, 150));
        assert!(nearer_to(100, 100, 100));
    }

    #[test]
    fn ends_that_are_no_range_are_refused() {
        let args = |good: &str, bad: &str| Args {
            good: good.to_owned(),
            bad: bad.to_owned(),
            counts: Some("q4_0.gemv.avx2".to_owned()),
            arch: "x86_64".to_owned(),
            filter: None,
            suite: String::new(),
            budget: 1,
        };
        assert!(run(&args("no such revision", "HEAD")).unwrap_err().message.contains("no such revision"));
        assert!(run(&args("HEAD", "HEAD")).unwrap_err().message.contains("nothing between"));
    }
}
