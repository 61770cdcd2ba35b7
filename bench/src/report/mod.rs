//! `kinglet-bench report`: recordings and comparisons as a terminal table, Markdown, or one HTML page with plots.
//!
//! Worst offenders come first: what is slower than the recording it is compared with, or else what is farthest from the
//! machine's roof. Tainted numbers are marked wherever they appear.

pub mod html;
mod plots;
pub mod rows;
mod svg;
#[cfg(test)]
mod tests;
pub mod text;

use crate::comparison::Comparison;
use crate::print::say;
use crate::record::{Recording, SCHEMA};
use crate::tools::{Fail, code, put};
use std::path::{Path, PathBuf};

/// Examples under `kinglet-bench report --help`.
pub const EXAMPLES: &str = "\
  kinglet-bench report gate.jsonl                              # one recording, farthest from the roof first
  kinglet-bench report new.jsonl --base old.jsonl              # slowest against another first
  kinglet-bench report new.jsonl --base old.jsonl --markdown   # for a pull request
  kinglet-bench report 2026-*.jsonl --html report.html         # several: their history too, the newest is shown
  kinglet-bench report comparison.json --html report.html      # what `compare --output` wrote";

/// Options of `kinglet-bench report`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Recordings (the newest is shown, all are its history), or one comparison
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The recording to compare with
    #[arg(long, value_name = "RECORDING")]
    pub base: Option<PathBuf>,
    /// Only benchmarks whose names contain this
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub filter: String,
    /// At most so many lines
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Markdown instead of a terminal's table
    #[arg(long, conflicts_with = "html")]
    pub markdown: bool,
    /// One self-contained page with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Where to write the table [default: standard output]
    #[arg(short, long, value_name = "FILE", conflicts_with = "html")]
    pub output: Option<PathBuf>,
}

/// What is reported.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Oldest first; the last is the one that is shown. Empty for a comparison.
    pub recordings: Vec<Recording>,
    /// What the last is compared with.
    pub base: Option<Recording>,
    /// A comparison instead of recordings.
    pub comparison: Option<Comparison>,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read or written.
pub fn run(args: &Args) -> Result<(), Fail> {
    let report = load(&args.files, args.base.as_deref()).map_err(|e| Fail::new(code::INPUT, e))?;
    let report = report.filtered(&args.filter).map_err(|e| Fail::new(code::INPUT, e))?;
    if let Some(path) = &args.html {
        put(Some(path), &html::page(&report))?;
        say!("wrote {}", path.display());
        return Ok(());
    }
    let text =
        if args.markdown { text::markdown(&report, args.top) } else { text::terminal(&report, args.top) };
    put(args.output.as_deref(), &text)
}

/// Reads recordings, or one comparison.
///
/// # Errors
/// In one line that names the file.
pub fn load(files: &[PathBuf], base: Option<&Path>) -> Result<Report, String> {
    let (mut recordings, mut comparison) = (Vec::new(), None);
    for path in files {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {shown}: {e}"))?;
        match as_comparison(&text).map_err(|e| format!("{shown}: {e}"))? {
            Some(c) if files.len() == 1 && base.is_none() => comparison = Some(c),
            Some(_) => return Err(format!("{shown} is a comparison: report it alone")),
            None => recordings.push(Recording::parse(&text).map_err(|e| format!("{shown}: {e}"))?),
        }
    }
    recordings.sort_by(|a, b| a.header.time.cmp(&b.header.time));
    let base = base.map(Recording::read).transpose()?;
    Ok(Report { recordings, base, comparison })
}

/// The text as a comparison; `None` when it is something else.
fn as_comparison(text: &str) -> Result<Option<Comparison>, String> {
    // A recording is several documents, so it is no JSON value.
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else { return Ok(None) };
    if value["kind"] != "comparison" {
        return Ok(None);
    }
    if let Some(schema) = value["schema"].as_u64().filter(|s| *s > u64::from(SCHEMA)) {
        return Err(format!(
            "schema {schema}, and this kinglet-bench reads up to {SCHEMA}; use a newer kinglet-bench"
        ));
    }
    serde_json::from_value(value).map(Some).map_err(|e| format!("a damaged comparison ({e}); compare again"))
}

impl Report {
    /// Without the benchmarks whose names do not contain `filter`.
    ///
    /// # Errors
    /// When none is left.
    fn filtered(mut self, filter: &str) -> Result<Report, String> {
        for r in self.recordings.iter_mut().chain(&mut self.base) {
            r.benchmarks.retain(|b| b.name().contains(filter));
            r.failures.retain(|f| f.name.contains(filter));
        }
        if let Some(c) = &mut self.comparison {
            c.results.retain(|r| r.name.contains(filter));
        }
        let left = self.recordings.last().map(|r| r.benchmarks.len() + r.failures.len());
        let left = left.or(self.comparison.as_ref().map(|c| c.results.len() + c.failures.len()));
        match left {
            None | Some(0) if filter.is_empty() => Err("there is no benchmark in it".to_owned()),
            None | Some(0) => Err(format!("no benchmark's name contains `{filter}`")),
            Some(_) => Ok(self),
        }
    }
}
