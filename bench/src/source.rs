//! What A and B can be: a program, a git revision that is built, a command.

use crate::client::Launch;
use crate::pair::Side;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How workers are started.
#[derive(Debug, Clone)]
pub struct Workers {
    /// The suite.
    pub suite: String,
    /// The model of whole-model benchmarks.
    pub model: Option<PathBuf>,
    /// How many links of a revision are made, each with its functions in another order.
    pub links: usize,
    /// Where revisions are built.
    pub cache: PathBuf,
    /// Delays on purpose: `NAME:PERCENT`.
    pub inject: Vec<String>,
}

/// The default of [`Workers::cache`].
pub fn cache() -> PathBuf {
    let home = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = home("XDG_CACHE_HOME").or_else(|| home("HOME").map(|h| h.join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("kinglet-bench")
}

impl Workers {
    /// The arguments of a worker.
    fn args(&self) -> Vec<String> {
        let mut args = vec!["worker".to_owned(), "--suite".to_owned(), self.suite.clone()];
        if let Some(model) = &self.model {
            args.extend(["--model".to_owned(), model.display().to_string()]);
        }
        args.extend(self.inject.iter().flat_map(|i| ["--inject".to_owned(), i.clone()]));
        args
    }

    fn launch(&self, program: PathBuf) -> Launch {
        Launch { program, args: self.args() }
    }

    /// This program itself as a worker.
    ///
    /// # Errors
    /// When the system does not say where it is.
    pub fn this_program(&self) -> Result<Side, String> {
        let me = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
        Ok(Side { launches: vec![self.launch(me)] })
    }

    /// What `text` stands for: `self`, `cmd:COMMAND` (a worker), `samples:COMMAND`, a path of a program, or a git revision (`WORKTREE`
    /// is the working tree as it is).
    ///
    /// # Errors
    /// When it is none of these, or a revision does not build.
    pub fn resolve(&self, text: &str) -> Result<Side, String> {
        if text == "self" {
            return self.this_program();
        }
        if let Some(command) = text.strip_prefix("samples:") {
            let me = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
            let args = ["worker", "--samples", command].map(str::to_owned).to_vec();
            return Ok(Side { launches: vec![Launch { program: me, args }] });
        }
        if let Some(command) = text.strip_prefix("cmd:") {
            let mut words = command.split_whitespace().map(str::to_owned);
            let program = words.next().ok_or("`cmd:` without a command")?;
            return Ok(Side { launches: vec![Launch { program: program.into(), args: words.collect() }] });
        }
        let path = Path::new(text);
        if path.is_file() {
            let path = path.canonicalize().map_err(|e| format!("{text}: {e}"))?;
            return Ok(Side { launches: vec![self.launch(path)] });
        }
        let binaries = self.build(text)?;
        Ok(Side { launches: binaries.into_iter().map(|b| self.launch(b)).collect() })
    }

    /// Builds a revision with several orders of functions, or takes what an earlier call has built.
    fn build(&self, revision: &str) -> Result<Vec<PathBuf>, String> {
        let commit = if revision == "WORKTREE" { None } else { Some(commit(revision)?) };
        let links = self.links.max(1);
        let named = |commit: &str, seed: usize| self.cache.join("programs").join(format!("{commit}-{seed}"));
        if let Some(commit) = &commit {
            let built: Vec<PathBuf> = (1..=links).map(|seed| named(commit, seed)).collect();
            if built.iter().all(|p| p.is_file()) {
                return Ok(built);
            }
        }
        let source = match &commit {
            None => PathBuf::from(git(&["rev-parse", "--show-toplevel"])?),
            Some(commit) => Tree::check_out(&self.cache, commit)?.0,
        };
        let result = (1..=links).map(|seed| {
            let label = commit.as_deref().unwrap_or("HEAD");
            let built = self.link(&source, label, seed, revision)?;
            let name = commit.clone().unwrap_or_else(|| format!("worktree-{}", std::process::id()));
            let to = named(&name, seed);
            let copied =
                std::fs::create_dir_all(to.parent().unwrap_or(&to)).and_then(|()| std::fs::copy(&built, &to));
            copied.map_err(|e| format!("cannot keep {}: {e}", to.display()))?;
            Ok(to)
        });
        let result = result.collect::<Result<Vec<_>, String>>();
        if commit.is_some() {
            let _ = git(&["worktree", "remove", "--force", &source.display().to_string()]);
        }
        result
    }

    /// One link: the same objects, the functions in an order of their own where the linker can do that.
    fn link(&self, source: &Path, commit: &str, seed: usize, revision: &str) -> Result<PathBuf, String> {
        let target = self.cache.join("target");
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let shuffle = format!("link-arg=-Wl,--shuffle-sections=.text*={seed}");
        let mut said = String::new();
        for shuffled in [true, false] {
            eprintln!("building {revision}, link {seed}{}", if shuffled { "" } else { " without shuffling" });
            let mut command = Command::new(&cargo);
            command.current_dir(source).env("CARGO_TARGET_DIR", &target).stdin(Stdio::null());
            command.env("KINGLET_BENCH_REVISION", commit).env("KINGLET_BENCH_LINK", seed.to_string());
            command.args(["rustc", "--quiet", "--release", "-p", "kinglet-bench", "--bin", "kinglet-bench"]);
            if shuffled {
                command.args(["--", "-C", &shuffle]);
            }
            let output = command.output().map_err(|e| format!("cannot run {cargo}: {e}"))?;
            if output.status.success() {
                return Ok(target
                    .join("release")
                    .join(format!("kinglet-bench{}", std::env::consts::EXE_SUFFIX)));
            }
            said = String::from_utf8_lossy(&output.stderr).into_owned();
        }
        let error = said.lines().find(|l| l.starts_with("error")).unwrap_or("cargo gave no reason");
        Err(format!(
            "{revision} does not build ({error}); see `cargo build --release -p kinglet-bench` there. Revisions from before \
             kinglet-bench cannot be compared"
        ))
    }
}

/// A checked out revision.
struct Tree(PathBuf);

impl Tree {
    fn check_out(cache: &Path, commit: &str) -> Result<Tree, String> {
        let path = cache.join("source").join(commit);
        let shown = path.display().to_string();
        if path.exists() {
            let _ = git(&["worktree", "remove", "--force", &shown]);
            let _ = std::fs::remove_dir_all(&path);
        }
        let _ = git(&["worktree", "prune"]);
        git(&["worktree", "add", "--detach", &shown, commit])?;
        Ok(Tree(path))
    }
}

/// The commit that a revision names.
///
/// # Errors
/// When there is none, or this is no repository.
pub fn commit(revision: &str) -> Result<String, String> {
    git(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{revision}^{{commit}}")]).map_err(
        |_| format!("`{revision}` is neither a program nor a git revision of the repository in this folder"),
    )
}

/// Runs git here.
///
/// # Errors
/// Its last line.
pub fn git(args: &[&str]) -> Result<String, String> {
    let output = Command::new("git").args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("cannot run git: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("git {}: {}", args.join(" "), said.lines().last().unwrap_or("failed")))
}

/// The revision that this program was built from: as it was told when it was built, or else that of the repository in this
/// folder.
pub fn revision() -> crate::record::Revision {
    if let Some(commit) = option_env!("KINGLET_BENCH_REVISION").filter(|&commit| commit != "HEAD") {
        return crate::record::Revision { commit: commit.to_owned(), dirty: false };
    }
    let commit = git(&["rev-parse", "HEAD"]).unwrap_or_default();
    let dirty = git(&["status", "--porcelain", "--untracked-files=no"]).is_ok_and(|s| !s.is_empty());
    crate::record::Revision { commit, dirty }
}
