//! What is said of a benchmark: its figure, its rate, its share of the roof, its speed-up, its change.

use super::Report;
use crate::record::{Benchmark, Layer, Name, Recording, Roof, Unit};

/// One benchmark.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its median, in its unit.
    pub median: f64,
    /// What the median counts.
    pub unit: Unit,
    /// Half the distance between the quartiles, as a share of the median.
    pub spread: f64,
    /// Rate in the unit that fits, `12.3 GB/s`; empty when there is none.
    pub rate: String,
    /// Multiply-adds of a kernel per cycle of one core.
    pub per_cycle: Option<f64>,
    /// Share of the machine's roof.
    pub roof: Option<f64>,
    /// Times as fast as the scalar tier in the same recording.
    pub speedup: Option<f64>,
    /// Median over that of the base: 1.05 is 5 % slower.
    pub ratio: Option<f64>,
    /// What disturbed it.
    pub taint: Vec<String>,
}

/// Rows of the recording that is shown, the worst first.
pub fn rows(report: &Report) -> Vec<Row> {
    let Some(shown) = report.recordings.last() else { return Vec::new() };
    let mut rows: Vec<Row> = shown.benchmarks.iter().map(|b| row(shown, report.base.as_ref(), b)).collect();
    rows.sort_by(|a, b| {
        let by = |r: &Row| (r.ratio.unwrap_or(0.0), -r.roof.unwrap_or(f64::MAX));
        by(b).partial_cmp(&by(a)).unwrap_or(std::cmp::Ordering::Equal)
    });
    rows
}

fn row(recording: &Recording, base: Option<&Recording>, b: &Benchmark) -> Row {
    let median = b.median();
    let other = |r: Option<&Recording>, name: &str| {
        let found = r?.get(name).filter(|o| o.spec.unit == b.spec.unit)?;
        Some(found.median()).filter(|m| *m > 0.0)
    };
    let scalar = Name::parse(b.name()).filter(|n| n.tier != "scalar").map(|n| n.with_tier("scalar"));
    let scalar = scalar.and_then(|name| other(Some(recording), &name));
    Row {
        name: b.name().to_owned(),
        median,
        unit: b.spec.unit,
        spread: spread(b),
        rate: rate(b),
        per_cycle: per_cycle(&recording.header.roof, b),
        roof: roof(&recording.header.roof, b),
        speedup: scalar.map(|s| s / median),
        ratio: other(base, b.name()).map(|m| median / m),
        taint: b.taint.iter().map(ToString::to_string).collect(),
    }
}

/// Half the distance between the quartiles over the median.
pub fn spread(b: &Benchmark) -> f64 {
    let mut sorted = b.samples.clone();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let at = |share: f64| sorted.get((share * last as f64).round() as usize).copied().unwrap_or(0.0);
    (at(0.75) - at(0.25)) / 2.0 / b.median().max(f64::MIN_POSITIVE)
}

/// Bound by arithmetic: many columns, or a prompt.
fn is_arithmetic(b: &Benchmark) -> bool {
    Name::parse(b.name()).is_some_and(|n| n.op.starts_with("gemm") || n.part.starts_with("pp"))
}

fn rate(b: &Benchmark) -> String {
    let tokens = b.per_second(|w| w.tokens).filter(|_| b.spec.layer == Layer::EndToEnd);
    let products = b.per_second(|w| w.multiply_adds).filter(|_| is_arithmetic(b));
    let bytes = b.per_second(|w| w.bytes);
    match (tokens, products, bytes) {
        (Some(t), _, _) => format!("{} t/s", short(t)),
        (_, Some(m), _) => format!("{} Gmadd/s", short(m / 1e9)),
        (_, _, Some(g)) => format!("{} GB/s", short(g / 1e9)),
        _ => String::new(),
    }
}

fn per_cycle(roof: &Roof, b: &Benchmark) -> Option<f64> {
    let products = b.per_second(|w| w.multiply_adds).filter(|_| b.spec.layer == Layer::Kernel)?;
    (roof.cycles > 0.0).then(|| products / roof.cycles)
}

/// Which roof a benchmark is under, as `(its rate, the roof)`.
fn roof(roof: &Roof, b: &Benchmark) -> Option<f64> {
    let name = Name::parse(b.name())?;
    let (rate, most) = if is_arithmetic(b) && b.spec.layer == Layer::Kernel {
        (b.per_second(|w| w.multiply_adds)?, *roof.multiply_adds.get(name.tier)?)
    } else {
        let threads: u32 = name.op.strip_prefix('t').and_then(|t| t.parse().ok()).unwrap_or(1);
        let read = match (name.op, threads) {
            ("gemv", _) => roof.read_cache,
            (_, 0 | 1) => roof.read_one,
            _ => roof.read_all,
        };
        (b.per_second(|w| w.bytes)?, read)
    };
    (most > 0.0 && !name.part.starts_with("pp")).then(|| rate / most)
}

/// Three digits that count.
pub fn short(x: f64) -> String {
    match x.abs() {
        a if a >= 100.0 => format!("{x:.0}"),
        a if a >= 10.0 => format!("{x:.1}"),
        _ => format!("{x:.2}"),
    }
}

/// A figure in a unit that a person reads: `12.3 µs`, `97.1 MiB`.
pub fn figure(x: f64, unit: Unit) -> String {
    let scaled = |steps: &[(f64, &str)], base: &str| {
        let step = steps.iter().find(|s| x >= s.0);
        step.map_or_else(
            || format!("{} {base}", short(x)),
            |(size, name)| format!("{} {name}", short(x / size)),
        )
    };
    match unit {
        Unit::Ns => scaled(&[(1e9, "s"), (1e6, "ms"), (1e3, "µs")], "ns"),
        Unit::Bytes => scaled(&[(1073741824.0, "GiB"), (1048576.0, "MiB"), (1024.0, "KiB")], "B"),
        Unit::Microjoules => scaled(&[(1e6, "J"), (1e3, "mJ")], "µJ"),
        Unit::Instructions => format!("{x:.0} instr"),
    }
}

/// `+5.2 %`, of a ratio.
pub fn change(ratio: f64) -> String {
    let percent = (ratio - 1.0) * 100.0;
    // No `-0.0`.
    format!("{:+.1} %", if percent.abs() < 0.05 { 0.0 } else { percent })
}
