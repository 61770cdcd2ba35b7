//! Reports as text: a terminal's table and Markdown.

use super::Report;
use super::rows::{Row, change, figure, rows, short};
use crate::comparison::{Comparison, Verdict};
use crate::record::Recording;
use std::fmt::Write;

const TAINTED: &str = "⚠";

/// A table: cells and whether a column is of numbers.
struct Table {
    head: Vec<&'static str>,
    numeric: Vec<bool>,
    lines: Vec<Vec<String>>,
}

impl Table {
    fn markdown(&self) -> String {
        let mut out = format!("| {} |\n|", self.head.join(" | "));
        self.numeric.iter().for_each(|n| out += if *n { "---:|" } else { "---|" });
        for line in &self.lines {
            // A name may hold what Markdown reads as a column.
            let cells: Vec<String> = line.iter().map(|c| c.replace('|', "\\|")).collect();
            let _ = write!(out, "\n| {} |", cells.join(" | "));
        }
        out + "\n"
    }

    fn terminal(&self) -> String {
        let width = |i: usize| {
            let cells = self.lines.iter().map(|l| l[i].chars().count());
            cells.chain([self.head[i].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let line = |cells: &[String]| {
            let mut out = String::new();
            for (i, cell) in cells.iter().enumerate() {
                let pad = " ".repeat(widths[i] - cell.chars().count());
                out += &if self.numeric[i] { format!("{pad}{cell}  ") } else { format!("{cell}{pad}  ") };
            }
            out.trim_end().to_owned() + "\n"
        };
        let head: Vec<String> = self.head.iter().map(|h| (*h).to_owned()).collect();
        line(&head) + &self.lines.iter().map(|l| line(l)).collect::<String>()
    }
}

fn table(rows: &[Row]) -> Table {
    let percent = |x: Option<f64>| x.map_or(String::new(), |x| format!("{:.0} %", x * 100.0));
    // Columns that no line fills are left out.
    let columns: [(&'static str, bool, Vec<String>); 9] = [
        ("benchmark", false, rows.iter().map(|r| r.name.clone()).collect()),
        ("change", true, rows.iter().map(|r| r.ratio.map_or(String::new(), change)).collect()),
        ("median", true, rows.iter().map(|r| figure(r.median, r.unit)).collect()),
        ("±", true, rows.iter().map(|r| format!("{:.1} %", r.spread * 100.0)).collect()),
        ("rate", true, rows.iter().map(|r| r.rate.clone()).collect()),
        ("a cycle", true, rows.iter().map(|r| r.per_cycle.map_or(String::new(), short)).collect()),
        ("of roof", true, rows.iter().map(|r| percent(r.roof)).collect()),
        ("× scalar", true, rows.iter().map(|r| r.speedup.map_or(String::new(), short)).collect()),
        ("taint", false, rows.iter().map(|r| tainted(&r.taint)).collect()),
    ];
    let kept: Vec<_> = columns.into_iter().filter(|c| c.2.iter().any(|cell| !cell.is_empty())).collect();
    let lines = (0..rows.len()).map(|i| kept.iter().map(|c| c.2[i].clone()).collect()).collect();
    Table { head: kept.iter().map(|c| c.0).collect(), numeric: kept.iter().map(|c| c.1).collect(), lines }
}

fn tainted(taint: &[String]) -> String {
    if taint.is_empty() { String::new() } else { format!("{TAINTED} {}", taint.join("; ")) }
}

fn compared(c: &Comparison) -> Table {
    let line = |r: &crate::comparison::Compared| {
        let mut doubts = Vec::new();
        doubts.extend(r.bimodal.then_some("bimodal"));
        doubts.extend(r.drift.then_some("drifts"));
        vec![
            r.name.clone(),
            r.verdict.name().to_owned(),
            change(r.ratio),
            format!("{} … {}", change(r.low), change(r.high)),
            figure(r.a, r.unit),
            figure(r.b, r.unit),
            doubts.join(", "),
        ]
    };
    Table {
        head: vec!["benchmark", "verdict", "change", "interval", "A", "B", "doubts"],
        numeric: vec![false, false, true, true, true, true, false],
        lines: c.results.iter().map(line).collect(),
    }
}

/// What stands above the table, a line each.
pub fn preface(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(c) = &report.comparison {
        let (a, b) = (side(&c.a, &c.a_revision.to_string()), side(&c.b, &c.b_revision.to_string()));
        lines.push(format!("{}: {b} against {a}: {}", c.suite, headline(c)));
        lines.push(format!("{}, {}, {:.0} s", c.fingerprint.cpu, c.time, c.seconds));
        lines.extend(c.taint.iter().map(|t| format!("{TAINTED} TAINTED: {t}")));
        lines.extend(c.interrupted.then(|| format!("{TAINTED} interrupted before it was done")));
    }
    if let Some(r) = report.recordings.last() {
        lines.push(about(r));
        lines.extend(r.header.taint.iter().map(|t| format!("{TAINTED} TAINTED: {t}")));
        lines.extend(r.header.interrupted.then(|| format!("{TAINTED} interrupted before it was done")));
        if let Some(base) = &report.base {
            lines.push(format!("compared with {}", about(base)));
            let unlike = r.header.fingerprint.differences(&base.header.fingerprint);
            for (field, now, was) in unlike {
                lines.push(format!("{TAINTED} unlike machines: {field} is `{now}`, was `{was}`: only shares and speed-ups compare"));
            }
            lines.extend(
                base.header.taint.iter().map(|t| format!("{TAINTED} TAINTED, the compared one: {t}")),
            );
        }
    }
    lines
}

fn side(asked: &str, revision: &str) -> String {
    if asked == revision { asked.to_owned() } else { format!("{asked} ({revision})") }
}

/// `slower: 2 of 40 slower, 1 faster, 37 no difference larger than 2.1 %`.
fn headline(c: &Comparison) -> String {
    let count = |v| c.results.iter().filter(|r| r.verdict == v).count();
    let bound =
        c.results.iter().filter(|r| r.verdict == Verdict::NoDifference).map(|r| r.bound).fold(0.0, f64::max);
    let mut parts = Vec::new();
    for v in [Verdict::Slower, Verdict::Inconclusive, Verdict::Faster, Verdict::NoDifference] {
        let n = count(v);
        let larger = if v == Verdict::NoDifference {
            format!(" larger than {:.1} %", bound * 100.0)
        } else {
            String::new()
        };
        parts.extend((n > 0).then(|| format!("{n} {}{larger}", v.name())));
    }
    format!("{} ({})", c.overall().name().to_uppercase(), parts.join(", "))
}

fn about(r: &Recording) -> String {
    let h = &r.header;
    let cpu = if h.fingerprint.cpu.is_empty() { "unknown machine" } else { &h.fingerprint.cpu };
    format!("{} at {}, {}, {}, {}", h.suite, h.revision, cpu, h.fingerprint.compiler, h.time)
}

/// Benchmarks that gave no number, a line each.
pub fn failures(report: &Report) -> Vec<String> {
    let of = |name: &str, what: &str, detail: &str| format!("{name}: {what}: {detail}");
    let mut lines = Vec::new();
    if let Some(c) = &report.comparison {
        lines
            .extend(c.failures.iter().map(|f| of(&f.name, &format!("{} {:?}", f.side, f.reason), &f.detail)));
    }
    if let Some(r) = report.recordings.last() {
        lines.extend(r.failures.iter().map(|f| of(&f.name, &format!("{:?}", f.reason), &f.detail)));
    }
    lines
}

fn whole(report: &Report, top: Option<usize>) -> (Table, usize) {
    let mut table = match &report.comparison {
        Some(c) => compared(c),
        None => table(&rows(report)),
    };
    let all = table.lines.len();
    table.lines.truncate(top.unwrap_or(usize::MAX));
    (table, all)
}

/// For a terminal.
pub fn terminal(report: &Report, top: Option<usize>) -> String {
    let (table, all) = whole(report, top);
    let mut out = preface(report).join("\n") + "\n\n" + &table.terminal();
    if table.lines.len() < all {
        let _ = writeln!(out, "and {} more", all - table.lines.len());
    }
    let failed = failures(report);
    if !failed.is_empty() {
        let _ = writeln!(out, "\nNo number:\n{}", failed.join("\n"));
    }
    out
}

/// For a pull request: the worst in sight, all of them folded away.
pub fn markdown(report: &Report, top: Option<usize>) -> String {
    const SHOWN: usize = 10;
    let (mut table, all) = whole(report, top);
    let mut out = preface(report).join("  \n") + "\n\n";
    let rest = table.lines.split_off(table.lines.len().min(SHOWN));
    out += &table.markdown();
    if !rest.is_empty() {
        table.lines = rest;
        let (n, table) = (table.lines.len(), table.markdown());
        let _ = write!(out, "\n<details><summary>{n} more of {all}</summary>\n\n{table}\n</details>\n");
    }
    let failed = failures(report);
    if !failed.is_empty() {
        let _ = writeln!(out, "\nNo number:\n\n- {}", failed.join("\n- "));
    }
    out
}
