//! One page that needs nothing but itself: a table to sort and filter, and plots.

use super::Report;
use super::plots;
use super::rows::{Row, change, figure, rows, short};
use super::svg::escape;
use super::text::{failures, preface};
use crate::record::Recording;
use std::collections::BTreeSet;
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page.
pub fn page(report: &Report) -> String {
    let lines = preface(report);
    let first = lines.first().map_or("kinglet-bench", String::as_str);
    // Of a recording what and which revision; of a comparison the verdict too.
    let title = if report.comparison.is_some() { first } else { first.split(", ").next().unwrap_or(first) };
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{}</title><style>{STYLE}</style></head><body><main>\n<h1>{}</h1>\n",
        escape(title),
        escape(title)
    );
    let rest = first.strip_prefix(title).unwrap_or_default().trim_start_matches(", ").to_owned();
    for line in std::iter::once(&rest).filter(|r| !r.is_empty()).chain(lines.iter().skip(1)) {
        let class = if line.starts_with('⚠') { "warn" } else { "about" };
        let _ = writeln!(out, "<p class=\"{class}\">{}</p>", escape(line));
    }
    let failed = failures(report);
    if !failed.is_empty() {
        let items: String = failed.iter().map(|f| format!("<li>{}</li>", escape(f))).collect();
        section(
            &mut out,
            "No number",
            "These were asked for and gave none.",
            &format!("<ul class=\"warn\">{items}</ul>"),
        );
    }
    let legend = legend(report);
    if let Some(c) = &report.comparison {
        let note = "Simultaneous intervals over the whole suite, the worst first. The band is smaller than the least effect that matters.";
        plot(&mut out, "Intervals", note, "", plots::intervals(c));
        section(&mut out, "All results", "Click a heading to sort.", &compared(c));
    }
    if let Some(shown) = report.recordings.last() {
        let rows = rows(report);
        let by = if report.base.is_some() {
            "what became slower"
        } else {
            "what is farthest from the machine's roof"
        };
        let note = format!("Worst first: {by}. Click a heading to sort.");
        section(&mut out, "Benchmarks", &note, &table(&rows));
        let note = "Each kernel's multiply-adds per second below what memory, L2 and the tier's instructions allow at most.";
        plot(&mut out, "Roofline", note, &legend, plots::roofline(shown));
        let note =
            "The same by every tier, over scalar or, where that was not measured, the lowest tier that was.";
        plot(&mut out, "Tiers", note, &legend, plots::tiers(shown));
        let note =
            "Every sample over its benchmark's median, the box between the quartiles, the widest first.";
        plot(&mut out, "Samples", note, &legend, plots::distribution(shown));
        let note = "Median of each recording, oldest first; what got slower most, in the last step or since the first, on top. Hollow dots are tainted.";
        let history = plots::history(&report.recordings).map(|p| p + &recordings(&report.recordings));
        plot(&mut out, "History", note, &legend, history);
        let facts: String = shown
            .header
            .fingerprint
            .fields()
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("<tr><th>{name}</th><td>{}</td></tr>", escape(value)))
            .collect();
        section(&mut out, "Machine", "", &format!("<table class=\"facts\">{facts}</table>"));
    }
    out + "</main><script>" + SCRIPT + "</script></body></html>\n"
}

fn section(out: &mut String, title: &str, note: &str, body: &str) {
    let _ = writeln!(out, "<section><h2>{title}</h2><p class=\"note\">{note}</p>{body}</section>");
}

fn plot(out: &mut String, title: &str, note: &str, legend: &str, svg: Option<String>) {
    if let Some(svg) = svg {
        section(out, title, note, &format!("{legend}{svg}"));
    }
}

/// The commits of a history, the newest first.
fn recordings(all: &[Recording]) -> String {
    let line = |r: &Recording| {
        let h = &r.header;
        let tainted = h.taint.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let cells = [&h.revision.to_string(), &h.time, &h.fingerprint.compiler, &tainted].map(|c| escape(c));
        format!("<tr><td>{}</td></tr>", cells.join("</td><td>"))
    };
    let lines: String = all.iter().rev().map(line).collect();
    format!(
        "<div class=\"scroll\"><table><thead><tr><th>commit</th><th>recorded</th><th>compiler</th><th>taint</th></tr></thead>\
         <tbody>{lines}</tbody></table></div>"
    )
}

/// The tiers' colours.
fn legend(report: &Report) -> String {
    let names = report.recordings.iter().flat_map(|r| &r.benchmarks).map(crate::record::Benchmark::name);
    let tiers: BTreeSet<&str> = names.filter_map(|n| crate::record::Name::parse(n).map(|n| n.tier)).collect();
    let item = |t: &&str| format!("<span class=\"key {}\">{}</span>", plots::tier_class(t), escape(t));
    format!("<p class=\"legend\">{}</p>", tiers.iter().map(item).collect::<String>())
}

/// A table to sort: cells with the number that they are sorted by.
///
/// Columns that no line fills are left out.
fn sortable(head: &[&str], mut lines: Vec<Vec<(String, Option<f64>)>>) -> String {
    let filled: Vec<bool> = (0..head.len()).map(|i| lines.iter().any(|l| !l[i].0.is_empty())).collect();
    for line in &mut lines {
        let mut i = 0..;
        line.retain(|_| i.next().is_some_and(|i| filled[i]));
    }
    let numbers = |i: usize| lines.iter().any(|l| l[i].1.is_some());
    let head = head.iter().zip(&filled).filter(|h| *h.1).map(|h| h.0).enumerate();
    let class = |i| if numbers(i) { " class=\"n\"" } else { "" };
    let head: String =
        head.map(|(i, h)| format!("<th{}><button>{}</button></th>", class(i), escape(h))).collect();
    let mut body = String::new();
    for line in lines {
        body += "<tr>";
        for (cell, sort) in line {
            match sort {
                Some(n) => {
                    let _ = write!(body, "<td class=\"n\" data-n=\"{n}\">{cell}</td>");
                }
                None => {
                    let _ = write!(body, "<td>{cell}</td>");
                }
            }
        }
        body += "</tr>\n";
    }
    format!(
        "<input class=\"filter\" type=\"search\" placeholder=\"filter by name\" aria-label=\"filter by name\">\
         <div class=\"scroll\"><table class=\"sortable\"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
}

fn ratio_cell(ratio: Option<f64>) -> (String, Option<f64>) {
    let class = match ratio {
        Some(r) if r > 1.02 => "worse",
        Some(r) if r < 0.98 => "better",
        _ => "",
    };
    let text = ratio.map_or(String::new(), |r| format!("<span class=\"{class}\">{}</span>", change(r)));
    (text, Some(ratio.unwrap_or(0.0)))
}

fn table(rows: &[Row]) -> String {
    let percent = |x: Option<f64>| {
        (x.map_or(String::new(), |x| format!("{:.0} %", x * 100.0)), Some(x.unwrap_or(-1.0)))
    };
    let meter = |x: Option<f64>| {
        let (text, sort) = percent(x);
        let width = x.unwrap_or(0.0).clamp(0.0, 1.0) * 100.0;
        let bar = if text.is_empty() {
            String::new()
        } else {
            format!("<i class=\"meter\" style=\"--w:{width:.0}%\"></i>")
        };
        // As wide as `100 %`, in spaces as wide as a digit, so that all bars begin at one line.
        let pad = "\u{2007}".repeat(if bar.is_empty() { 0 } else { 5usize.saturating_sub(text.len()) });
        (bar + &pad + &text, sort)
    };
    let line = |r: &Row| {
        let taint = r.taint.join("; ");
        let mark = if taint.is_empty() {
            String::new()
        } else {
            format!(" <abbr class=\"warn\" title=\"{}\">⚠</abbr>", escape(&taint))
        };
        vec![
            (format!("<code>{}</code>{mark}", escape(&r.name)), None),
            ratio_cell(r.ratio),
            (figure(r.median, r.unit), Some(r.median)),
            (format!("±{:.1} %", r.spread * 100.0), Some(r.spread)),
            (r.rate.clone(), Some(r.rate.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(-1.0))),
            (r.per_cycle.map_or(String::new(), short), Some(r.per_cycle.unwrap_or(-1.0))),
            meter(r.roof),
            (r.speedup.map_or(String::new(), short), Some(r.speedup.unwrap_or(-1.0))),
        ]
    };
    let head = ["benchmark", "change", "median", "quartiles", "rate", "a cycle", "of roof", "× scalar"];
    sortable(&head, rows.iter().map(line).collect())
}

fn compared(c: &crate::comparison::Comparison) -> String {
    let line = |r: &crate::comparison::Compared| {
        let mut doubts = Vec::new();
        doubts.extend(r.bimodal.then_some("bimodal"));
        doubts.extend(r.drift.then_some("drifts"));
        vec![
            (format!("<code>{}</code>", escape(&r.name)), None),
            (r.verdict.name().to_owned(), None),
            ratio_cell(Some(r.ratio)),
            (format!("{} … {}", change(r.low), change(r.high)), Some(r.low)),
            (figure(r.a, r.unit), Some(r.a)),
            (figure(r.b, r.unit), Some(r.b)),
            (doubts.join(", "), None),
        ]
    };
    let head = ["benchmark", "verdict", "change", "interval", "A", "B", "doubts"];
    sortable(&head, c.results.iter().map(line).collect())
}
