//! Bencher Metric Format: `{ "benchmark": { "measure": { "value": …, "lower_value": …, "upper_value": … } } }`.
//!
//! It holds one figure per benchmark: the median, with the quartiles as bounds. Measures are Bencher's own where it has one
//! (`latency` in nanoseconds, `instructions`), else named for the unit.

use super::{benchmark, header, number};
use crate::record::{Benchmark, Layer, Recording, Unit, Work};
use serde_json::{Map, Value, json};

const MEASURES: [(&str, Unit); 4] = [
    ("latency", Unit::Ns),
    ("instructions", Unit::Instructions),
    ("memory-bytes", Unit::Bytes),
    ("energy-microjoules", Unit::Microjoules),
];

fn quantile(b: &Benchmark, share: f64) -> f64 {
    let mut sorted = b.samples.clone();
    sorted.sort_by(f64::total_cmp);
    let at = (share * (sorted.len().saturating_sub(1)) as f64).round() as usize;
    sorted.get(at).copied().unwrap_or(0.0)
}

pub(super) fn export(recording: &Recording) -> Value {
    let mut all = Map::new();
    for b in recording.benchmarks.iter().filter(|b| !b.samples.is_empty()) {
        let measure = MEASURES.iter().find(|m| m.1 == b.spec.unit).map_or("latency", |m| m.0);
        let figure = json!({ "value": b.median(), "lower_value": quantile(b, 0.25), "upper_value": quantile(b, 0.75) });
        all.insert(b.name().to_owned(), json!({ measure: figure }));
    }
    Value::Object(all)
}

pub(super) fn import(value: &Value) -> Result<Recording, String> {
    let all = value.as_object().ok_or("Bencher's JSON is an object of benchmarks")?;
    let mut benchmarks = Vec::new();
    for (name, measures) in all {
        let measures = measures.as_object().ok_or_else(|| format!("{name} is no object of measures"))?;
        for (measure, figure) in measures {
            let value = number(figure, "value").ok_or_else(|| format!("{name}: {measure} has no value"))?;
            // Of measures that are not ours only `throughput` is known, and larger is better there: it is left out.
            let Some((_, unit)) = MEASURES.iter().find(|m| m.0 == measure) else { continue };
            // Its bounds are what is known of the spread: samples with this median and these quartiles.
            let bounds = (number(figure, "lower_value"), number(figure, "upper_value"));
            let samples = match bounds {
                (Some(low), Some(high)) => vec![low, low, value, high, high],
                _ => vec![value],
            };
            let name = name.split_whitespace().collect::<Vec<_>>().join("_");
            let several = benchmarks.iter().any(|b: &Benchmark| b.spec.name == name);
            let name = if several { format!("{name}:{measure}") } else { name };
            benchmarks.push(benchmark(name, Layer::Operation, *unit, Work::default(), samples));
        }
    }
    Ok(Recording { header: header("bencher"), benchmarks, failures: Vec::new() })
}
