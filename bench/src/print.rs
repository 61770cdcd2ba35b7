//! Terminal output of `record` and `compare`.

use crate::comparison::{Compared, Comparison, Verdict};
use crate::record::{Benchmark, FailureKind, Recording, Unit};
use crate::taint::Taint;
use std::fmt::Write;

/// A line of the program's output. `println!` would panic where nobody reads any more (`| head`): the work goes on, and its files and
/// exit code count.
macro_rules! say {
    ($($argument:tt)*) => { $crate::print::line(format_args!($($argument)*)) };
}
pub(crate) use say;

/// What `say!` calls.
pub(crate) fn line(text: std::fmt::Arguments<'_>) {
    if let Err(e) = crate::tools::put(None, &format!("{text}\n")) {
        eprintln!("{}", e.message);
    }
}

/// `1.234 ms`, `56.7 MB`.
pub fn amount(value: f64, unit: Unit) -> String {
    let scaled = |steps: &[(f64, &str)]| {
        let step = steps.iter().rev().find(|s| value >= s.0).or(steps.first());
        step.map_or(String::new(), |(size, name)| format!("{:.4} {name}", Significant(value / size)))
    };
    match unit {
        Unit::Ns => scaled(&[(1.0, "ns"), (1e3, "us"), (1e6, "ms"), (1e9, "s")]),
        Unit::Bytes => scaled(&[(1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB")]),
        Unit::Microjoules => scaled(&[(1.0, "uJ"), (1e3, "mJ"), (1e6, "J")]),
        Unit::Instructions => {
            scaled(&[(1.0, "instructions"), (1e3, "k instructions"), (1e6, "M instructions")])
        }
    }
}

/// A number with as many digits as the precision says.
struct Significant(f64);

impl std::fmt::Display for Significant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = f.precision().unwrap_or(4);
        let before =
            1 + if self.0.abs() >= 1.0 { libm::floor(libm::log10(self.0.abs())) as usize } else { 0 };
        write!(f, "{:.*}", digits.saturating_sub(before), self.0)
    }
}

/// One recorded benchmark in a line.
pub fn benchmark(b: &Benchmark) -> String {
    let mut line = format!("{:<52} {:>12}", b.name(), amount(b.median(), b.spec.unit));
    if let Some(rate) = b.per_second(|w| w.bytes) {
        let _ = write!(line, "  {:>8.2} GB/s", rate / 1e9);
    }
    if let Some(rate) = b.per_second(|w| w.multiply_adds) {
        let _ = write!(line, "  {:>8.1} Gmac/s", rate / 1e9);
    }
    if let Some(rate) = b.per_second(|w| w.tokens).filter(|_| b.spec.layer == crate::record::Layer::EndToEnd)
    {
        let _ = write!(line, "  {rate:>8.1} t/s");
    }
    line + &tainted(&b.taint)
}

fn tainted(taint: &[Taint]) -> String {
    if taint.is_empty() {
        return String::new();
    }
    let all: Vec<String> = taint.iter().map(ToString::to_string).collect();
    format!("  [tainted: {}]", all.join("; "))
}

/// What a recording holds, without its numbers.
pub fn summary(r: &Recording) -> String {
    let failed = |kind| r.failures.iter().filter(|f| f.reason == kind).count();
    let mut text =
        format!("{} benchmarks of suite {} at {}", r.benchmarks.len(), r.header.suite, r.header.revision);
    for (kind, name) in [
        (FailureKind::WrongAnswer, "with a wrong answer"),
        (FailureKind::Crashed, "crashed"),
        (FailureKind::TimedOut, "timed out"),
        (FailureKind::Skipped, "cannot run here"),
    ] {
        if failed(kind) > 0 {
            let _ = write!(text, ", {} {name}", failed(kind));
        }
    }
    text + &tainted(&r.header.taint)
}

/// A change in percent, `+5.2 %`.
fn percent(ratio: f64) -> String {
    format!("{:+.1} %", 100.0 * (ratio - 1.0))
}

fn interval(c: &Compared) -> String {
    if c.high >= 100.0 || c.low <= 0.01 {
        return "unknown".to_owned();
    }
    format!("{:+.1} .. {:+.1} %", 100.0 * (c.low - 1.0), 100.0 * (c.high - 1.0))
}

/// What is said of one benchmark.
fn said(c: &Compared) -> String {
    let mut text = match c.verdict {
        Verdict::NoDifference => format!("no difference larger than {:.1} %", 100.0 * c.bound),
        v => v.name().to_owned(),
    };
    if c.bimodal {
        text += ", two groups of rounds";
    }
    if c.drift {
        text += ", drifting";
    }
    text
}

/// A whole comparison.
pub fn comparison(c: &Comparison) -> String {
    let mut out = String::new();
    let with = |name: &str, revision: &crate::record::Revision| {
        if revision.commit.is_empty() { name.to_owned() } else { format!("{name} ({revision})") }
    };
    let _ = writeln!(out, "A: {}\nB: {}\n", with(&c.a, &c.a_revision), with(&c.b, &c.b_revision));
    let width = c.results.iter().map(|r| r.name.len()).max().unwrap_or(9).max(9);
    let _ = writeln!(
        out,
        "{:<width$}  {:>11}  {:>11}  {:>8}  {:>18}  rounds  verdict",
        "benchmark", "A", "B", "B - A", "interval"
    );
    for r in &c.results {
        let _ = writeln!(
            out,
            "{:<width$}  {:>11}  {:>11}  {:>8}  {:>18}  {:>6}  {}",
            r.name,
            amount(r.a, r.unit),
            amount(r.b, r.unit),
            percent(r.ratio),
            interval(r),
            r.rounds.len(),
            said(r)
        );
    }
    for f in &c.failures {
        let what = match f.reason {
            FailureKind::WrongAnswer => "WRONG ANSWER",
            FailureKind::Crashed => "CRASHED",
            FailureKind::TimedOut => "TIMED OUT",
            FailureKind::Skipped => "not compared",
        };
        let _ = writeln!(out, "{}: {what} in {}: {}", f.name, f.side, f.detail);
    }
    if !c.taint.is_empty() {
        let all: Vec<String> = c.taint.iter().map(ToString::to_string).collect();
        let _ = writeln!(out, "\nTAINTED: {}", all.join("; "));
    }
    let count = |v| c.results.iter().filter(|r| r.verdict == v).count();
    let overall = match c.overall() {
        _ if c.failures.iter().any(|f| f.reason == FailureKind::WrongAnswer) => "WRONG ANSWERS".to_owned(),
        Verdict::Slower => format!("{} SLOWER", count(Verdict::Slower)),
        Verdict::Inconclusive => format!("INCONCLUSIVE: {} undecided", count(Verdict::Inconclusive)),
        Verdict::Faster => format!("{} faster, none slower", count(Verdict::Faster)),
        Verdict::NoDifference => {
            let bound = c.results.iter().map(|r| r.bound).fold(0.0, f64::max);
            format!("no difference larger than {:.1} %", 100.0 * bound)
        }
    };
    let stopped = if c.interrupted { ", stopped early" } else { "" };
    let _ = write!(
        out,
        "\n{overall} ({:.0} s{stopped}; differences up to {:.1} % do not count; chance of a false verdict at most {} %)",
        c.seconds,
        100.0 * c.min_effect,
        100.0 * c.alpha
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_four_digits() {
        for (value, unit, want) in [
            (0.5, Unit::Ns, "0.500 ns"),
            (12.345, Unit::Ns, "12.35 ns"),
            (123_456.0, Unit::Ns, "123.5 us"),
            (2.5e9, Unit::Ns, "2.500 s"),
            (1e6, Unit::Bytes, "1.000 MB"),
            (12_345.0, Unit::Instructions, "12.35 k instructions"),
        ] {
            assert_eq!(amount(value, unit), want);
        }
        assert_eq!(percent(1.052), "+5.2 %");
    }
}
