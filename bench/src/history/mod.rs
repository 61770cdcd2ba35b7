//! `kinglet-bench history`: benchmarks and counts over revisions, from the recordings that git holds.

pub mod bisect;

use crate::counts::file::Record;
use crate::print::say;
use crate::record::{Recording, Unit};
use crate::report::rows::{change, figure};
use crate::report::{Report, html};
use crate::source::git;
use crate::tools::{Fail, code, put};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Examples under `kinglet-bench history --help`.
pub const EXAMPLES: &str = "\
  kinglet-bench history --since v0.1.0                    # every recording committed since
  kinglet-bench history --last 5 --filter gemv.avx2       # the last five of each file
  kinglet-bench history --since HEAD~50 --html history.html
  kinglet-bench history --counts --since HEAD~50          # executed instructions";

/// Options of `kinglet-bench history`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Only revisions after this one
    #[arg(long, value_name = "REV")]
    pub since: Option<String>,
    /// At most so many revisions of each file
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub last: u32,
    /// Only names that contain this
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub filter: String,
    /// Counts instead of recordings
    #[arg(long, conflicts_with = "html")]
    pub counts: bool,
    /// Files or folders in git [default: bench/baselines, or bench/counts with --counts]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// A page with plots instead of a table
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// One revision of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    commit: String,
    text: String,
}

/// Runs the command.
///
/// # Errors
/// When a revision or a file cannot be read, or there is nothing to show.
pub fn run(args: &Args) -> Result<(), Fail> {
    let input = |e: String| Fail::new(code::INPUT, e);
    let folder = if args.counts { "bench/counts" } else { "bench/baselines" };
    let paths: Vec<String> = match &args.paths[..] {
        // From the repository's root, wherever this is.
        [] => vec![format!(":(top){folder}")],
        given => given.iter().map(|p| p.display().to_string()).collect(),
    };
    let files = versions(args, &paths).map_err(input)?;
    if files.is_empty() {
        let since = args.since.as_ref().map_or(String::new(), |s| format!(" since {s}"));
        return Err(input(format!("no .jsonl file of {} was committed{since}", paths.join(", "))));
    }
    let mut out = String::new();
    for (file, versions) in &files {
        let at = |v: &Version, e: String| input(format!("{file} at {}: {e}", short(&v.commit)));
        let columns = if args.counts {
            let parse = |v: &Version| Record::parse(&v.text).map(|r| counted(&r)).map_err(|e| at(v, e));
            versions.iter().map(|v| Ok((v.commit.clone(), parse(v)?))).collect::<Result<Vec<_>, Fail>>()?
        } else {
            let parse = |v: &Version| Recording::parse(&v.text).map_err(|e| at(v, e));
            let recordings = versions.iter().map(parse).collect::<Result<Vec<_>, Fail>>()?;
            if let Some(path) = &args.html {
                page(args, path, file, files.len(), recordings)?;
                continue;
            }
            let measured = |(v, r): (&Version, &Recording)| {
                // The source that was measured; where it is not known, the commit that holds the recording.
                let commit = Some(&r.header.revision.commit).filter(|c| !c.is_empty()).unwrap_or(&v.commit);
                (commit.clone(), medians(r))
            };
            versions.iter().zip(&recordings).map(measured).collect()
        };
        out += &format!("{file}\n{}\n", table(&columns, &args.filter));
    }
    put(None, &out)
}

fn page(
    args: &Args,
    path: &std::path::Path,
    file: &str,
    files: usize,
    mut all: Vec<Recording>,
) -> Result<(), Fail> {
    if files > 1 {
        return Err(Fail::new(
            code::INPUT,
            format!("{files} files have a history; name one, such as {file}"),
        ));
    }
    for r in &mut all {
        r.benchmarks.retain(|b| b.name().contains(&args.filter));
    }
    let base = all.len().checked_sub(2).map(|i| all[i].clone());
    put(Some(path), &html::page(&Report { recordings: all, base, comparison: None }))?;
    say!("wrote {}", path.display());
    Ok(())
}

/// Every .jsonl file below `paths` with its versions, oldest first.
fn versions(args: &Args, paths: &[String]) -> Result<BTreeMap<String, Vec<Version>>, String> {
    let range = match &args.since {
        Some(since) => format!("{}..HEAD", crate::source::commit(since)?),
        None => "HEAD".to_owned(),
    };
    let mut command =
        vec!["log", "--format=%x00%H", "--name-only", "--diff-filter=AMR", "--end-of-options", &range, "--"];
    command.extend(paths.iter().map(String::as_str));
    let log = git(&command)?;
    let mut files: BTreeMap<String, Vec<Version>> = BTreeMap::new();
    for entry in log.split('\0').filter(|e| !e.trim().is_empty()) {
        let mut lines = entry.lines().filter(|l| !l.is_empty());
        let Some(commit) = lines.next() else { continue };
        for file in lines.filter(|f| f.ends_with(".jsonl")) {
            let known = files.entry(file.to_owned()).or_default();
            if known.len() < args.last as usize {
                let text = git(&["show", "--end-of-options", &format!("{commit}:{file}")])?;
                known.push(Version { commit: commit.to_owned(), text });
            }
        }
    }
    files.values_mut().for_each(|v| v.reverse());
    Ok(files)
}

fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

type Figures = BTreeMap<String, (f64, Unit, bool)>;

fn medians(r: &Recording) -> Figures {
    let tainted = !r.header.taint.is_empty();
    let figure = |b: &crate::record::Benchmark| (b.median(), b.spec.unit, tainted || !b.taint.is_empty());
    r.benchmarks.iter().map(|b| (b.name().to_owned(), figure(b))).collect()
}

fn counted(r: &Record) -> Figures {
    let one = |((kernel, counter), (_, n)): (&(String, String), &(String, u64))| {
        (format!("{kernel} ({counter})"), (*n as f64, Unit::Instructions, false))
    };
    r.entries.iter().map(one).collect()
}

/// A line per benchmark, a column per revision, what changed most from first to last on top.
fn table(columns: &[(String, Figures)], filter: &str) -> String {
    let mut names: Vec<&String> =
        columns.iter().flat_map(|c| c.1.keys()).filter(|n| n.contains(filter)).collect();
    names.sort_unstable();
    names.dedup();
    let ends = |name: &String| {
        let mut found = columns.iter().filter_map(|c| c.1.get(name));
        let first = found.next()?.0;
        Some(found.next_back()?.0 / first).filter(|r| r.is_finite())
    };
    names.sort_by(|a, b| ends(b).unwrap_or(0.0).total_cmp(&ends(a).unwrap_or(0.0)));
    let mut lines = vec![vec!["benchmark".to_owned(), "change".to_owned()]];
    lines[0].extend(columns.iter().map(|c| short(&c.0).to_owned()));
    for name in names {
        let cell = |c: &(String, Figures)| match c.1.get(name) {
            Some((x, unit, tainted)) => {
                figure(*x, *unit).replace(" instr", "") + if *tainted { " ⚠" } else { "" }
            }
            None => "-".to_owned(),
        };
        let mut line = vec![name.clone(), ends(name).map_or(String::new(), change)];
        line.extend(columns.iter().map(cell));
        lines.push(line);
    }
    let width = |i: usize| lines.iter().map(|l| l[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let pad = |i: usize| " ".repeat(widths[i] - line[i].chars().count());
        let numbers = (1..line.len()).map(|i| format!("  {}{}", pad(i), line[i]));
        out += &format!("{}{}{}\n", line[0], pad(0), numbers.collect::<String>());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_most_is_on_top_and_gaps_are_shown() {
        let column = |commit: &str, pairs: &[(&str, f64)]| {
            let figures = pairs.iter().map(|(n, x)| ((*n).to_owned(), (*x, Unit::Ns, *n == "b"))).collect();
            (commit.to_owned(), figures)
        };
        let columns = [
            column("aaaaaaaaaa", &[("a", 100.0), ("b", 100.0), ("c", 5.0)]),
            column("bbbbbbbbbb", &[("a", 100.0), ("b", 150.0)]),
        ];
        let text = table(&columns, "");
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["benchmark", "change", "aaaaaaa", "bbbbbbb"]);
        assert_eq!(lines[1], ["b", "+50.0", "%", "100", "ns", "⚠", "150", "ns", "⚠"]);
        assert_eq!(lines[2][..3], ["a", "+0.0", "%"]);
        assert_eq!(lines[3], ["c", "5.00", "ns", "-"]);
        assert_eq!(table(&columns, "c").lines().count(), 2);
    }
}
