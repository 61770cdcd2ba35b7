//! Recordings beside each other. They were taken at different times, so that only what is far outside their own spread is told.

use crate::comparison::Verdict;
use crate::record::{Benchmark, Name, Recording, Unit};
use crate::stats::{median, spread};
use std::fmt::Write;

/// One line of a comparison of recordings.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The benchmark.
    pub name: String,
    /// A's figure.
    pub a: f64,
    /// B's.
    pub b: f64,
    /// B over A.
    pub ratio: f64,
    /// What is said. Never `Inconclusive`: a small difference is no difference that recordings can show.
    pub verdict: Verdict,
}

/// Relative spread of a recording's launches, as a standard deviation of their medians.
fn noise(b: &Benchmark) -> f64 {
    let launch = |l: u32| {
        let of: Vec<f64> = b.samples.iter().zip(&b.launches).filter(|s| *s.1 == l).map(|s| *s.0).collect();
        (!of.is_empty()).then(|| median(&of))
    };
    let last = b.launches.iter().copied().max().unwrap_or(0);
    let medians: Vec<f64> = (0..=last).filter_map(launch).collect();
    spread(if medians.len() >= 3 { &medians } else { &b.samples }) / b.median().max(1e-9)
}

/// Benchmarks that both have. An error names what differs between the machines, unless `accepted` lists it.
///
/// # Errors
/// When the machines differ.
pub fn compare(
    a: &Recording,
    b: &Recording,
    min_effect: f64,
    accepted: &[String],
) -> Result<Vec<Row>, String> {
    let differences = a.header.fingerprint.differences(&b.header.fingerprint);
    let unlike: Vec<String> = differences
        .into_iter()
        .filter(|d| !accepted.iter().any(|n| n == d.0))
        .map(|(name, a, b)| format!("{name} (`{a}`, `{b}`)"))
        .collect();
    if !unlike.is_empty() {
        return Err(format!(
            "the recordings are of unlike machines or builds: {}; --across-machines compares speed-up over scalar and share of the \
             roof, --accept FIELD ignores a difference that you know to be harmless",
            unlike.join(", ")
        ));
    }
    Ok(rows(a, b, |b| Some((b.median(), noise(b))), min_effect))
}

/// Speed-up over the scalar tier and share of the machine's roof: figures that mean something on unlike machines. The ratio is
/// turned around, so that above 1 is worse, as everywhere.
pub fn across(a: &Recording, b: &Recording, min_effect: f64) -> [(&'static str, Vec<Row>); 2] {
    let speed_up = |r: &Recording, b: &Benchmark| {
        let scalar = r.get(&Name::parse(b.name())?.with_tier("scalar"))?;
        (scalar.name() != b.name()).then(|| (scalar.median() / b.median(), noise(b).hypot(noise(scalar))))
    };
    let roof = |r: &Recording, b: &Benchmark| {
        let top = &r.header.roof;
        let (name, w) = (Name::parse(b.name())?, &b.spec.work);
        let bytes = if name.op.ends_with("_ram") { top.read_one } else { top.read_cache };
        let adds = top.multiply_adds.get(name.tier).copied().unwrap_or(0.0);
        // The roofline: what takes longer, reading or multiplying.
        let least = [(w.bytes, bytes), (w.multiply_adds, adds)];
        let least = least.iter().filter(|l| l.1 > 0.0).map(|l| l.0 as f64 / l.1 * 1e9).fold(0.0, f64::max);
        (least > 0.0 && b.spec.unit == Unit::Ns).then(|| (least / b.median(), noise(b)))
    };
    [
        ("speed-up over scalar", rows_of(a, b, speed_up, min_effect)),
        ("share of the roof", rows_of(a, b, roof, min_effect)),
    ]
}

fn rows_of(
    a: &Recording,
    b: &Recording,
    figure: impl Fn(&Recording, &Benchmark) -> Option<(f64, f64)>,
    min_effect: f64,
) -> Vec<Row> {
    let mut all = Vec::new();
    for mine in &a.benchmarks {
        let Some(theirs) = b.get(mine.name()) else { continue };
        let (Some(x), Some(y)) = (figure(a, mine), figure(b, theirs)) else { continue };
        all.push(row(mine, (x, y), x.0 / y.0, min_effect));
    }
    sort(all)
}

fn rows(
    a: &Recording,
    b: &Recording,
    figure: impl Fn(&Benchmark) -> Option<(f64, f64)>,
    min_effect: f64,
) -> Vec<Row> {
    let mut all = Vec::new();
    for mine in &a.benchmarks {
        let Some(theirs) = b.get(mine.name()).filter(|t| t.spec.unit == mine.spec.unit) else { continue };
        let (Some(x), Some(y)) = (figure(mine), figure(theirs)) else { continue };
        all.push(row(mine, (x, y), y.0 / x.0, min_effect));
    }
    sort(all)
}

fn row(b: &Benchmark, (x, y): ((f64, f64), (f64, f64)), ratio: f64, min_effect: f64) -> Row {
    // Counts are exact; times must differ by more than both spreads allow.
    let allowed = if b.spec.unit == Unit::Instructions { 0.0 } else { min_effect.max(4.0 * x.1.hypot(y.1)) };
    let verdict = match ratio {
        r if r > 1.0 + allowed => Verdict::Slower,
        r if r < 1.0 / (1.0 + allowed) => Verdict::Faster,
        _ => Verdict::NoDifference,
    };
    Row { name: b.name().to_owned(), a: x.0, b: y.0, ratio, verdict }
}

fn sort(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by(|a, b| b.ratio.total_cmp(&a.ratio));
    rows
}

/// A table of rows, the worst first.
pub fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|r| r.name.len()).max().unwrap_or(9).max(9);
    let mut out = format!("{:<width$}  {:>12}  {:>12}  {:>8}  verdict\n", "benchmark", "A", "B", "change");
    for r in rows {
        let change = format!("{:+.1} %", 100.0 * (r.ratio - 1.0));
        let _ = writeln!(
            out,
            "{:<width$}  {:>12.4}  {:>12.4}  {change:>8}  {}",
            r.name,
            r.a,
            r.b,
            r.verdict.name()
        );
    }
    out
}

#[cfg(test)]
#[path = "baseline_tests.rs"]
mod tests;
