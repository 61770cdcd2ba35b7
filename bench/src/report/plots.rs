//! The plots of the page: roofline, tiers, distribution of samples, history, intervals of a comparison.

use super::rows::{change, figure, short, spread};
use super::svg::{Scale, Svg};
use crate::comparison::{Comparison, Verdict};
use crate::record::{Layer, Name, Recording, Unit};
use kinglet_kernels::Tier;
use std::collections::BTreeMap;

const WIDTH: f64 = 860.0;
/// Benchmarks in the plots that have a line for each.
const LINES: usize = 40;
/// Room for a benchmark's name beside a plot, and the letters that fit it.
const LABELS: f64 = 330.0;
const FIT: usize = 46;

/// The class of a tier: a colour of the page's style.
pub(super) fn tier_class(tier: &str) -> String {
    // Tiers of different architectures may share one.
    let class = match tier {
        "scalar" => 0,
        "avx2" | "neon" => 1,
        "avx_vnni" | "dotprod" => 2,
        "avx512_vnni" | "i8mm" => 3,
        "amx_int8" => 4,
        _ => 7,
    };
    format!("c{class}")
}

fn tier(name: &str) -> &str {
    Name::parse(name).map_or("", |n| n.tier)
}

/// Multiply-adds per second over multiply-adds per byte, below the roofs. `None` without kernels or roofs.
pub(super) fn roofline(r: &Recording) -> Option<String> {
    let roof = &r.header.roof;
    let points: Vec<(f64, f64, &str, bool)> = r
        .benchmarks
        .iter()
        .filter(|b| b.spec.layer == Layer::Kernel && b.spec.work.bytes > 0)
        .filter_map(|b| {
            let rate = b.per_second(|w| w.multiply_adds)?;
            let intensity = b.spec.work.multiply_adds as f64 / b.spec.work.bytes as f64;
            Some((intensity, rate / 1e9, b.name(), !b.taint.is_empty()))
        })
        .collect();
    if points.is_empty() || roof.read_one <= 0.0 {
        return None;
    }
    let (left, right, top, bottom) = (64.0, WIDTH - 130.0, 12.0, 360.0);
    let x = Scale::over(points.iter().map(|p| p.0), true, left, right);
    let most = roof.multiply_adds.values().map(|v| v / 1e9);
    let y = Scale::over(points.iter().map(|p| p.1).chain(most), true, bottom, top);
    let mut svg = Svg::new(WIDTH, 410.0, "Roofline");
    svg.x_axis(&x, top, bottom, round);
    svg.y_axis(&y, left, right, round);
    svg.text("axis", "middle", ((left + right) / 2.0, bottom + 36.0), "multiply-adds per byte of weights");
    svg.text("axis", "start", (4.0, 10.0), "Gmadd/s");
    let mut labels: Vec<(f64, String)> = Vec::new();
    for (name, bytes) in [("memory", roof.read_one), ("L2", roof.read_cache)] {
        if bytes > 0.0 {
            // A slope of one, cut off at the plot's edges.
            let gb = bytes / 1e9;
            let start = (y.low / gb).max(x.low);
            let end = (y.high / gb).min(x.high);
            if end > start {
                svg.line("roof", (x.at(start), y.at(start * gb)), (x.at(end), y.at(end * gb)));
                labels.push((y.at(end * gb), format!("{name} {} GB/s", short(gb))));
            }
        }
    }
    let tiers: Vec<&str> = points.iter().map(|p| tier(p.2)).collect();
    for (name, most) in roof.multiply_adds.iter().filter(|(name, _)| tiers.contains(&name.as_str())) {
        let at = y.at(most / 1e9);
        svg.line(&format!("roof {}", tier_class(name)), (left, at), (right, at));
        labels.push((at, format!("{name} {}", short(most / 1e9))));
    }
    // From the top, so that roofs that are close keep their order and share no line.
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = top;
    for (y, text) in labels {
        let at = y.max(free);
        free = at + 12.0;
        svg.text("tick", "start", (right + 6.0, at + 3.0), &text);
    }
    for (intensity, rate, name, tainted) in points {
        let class = format!("dot {}{}", tier_class(tier(name)), if tainted { " tainted" } else { "" });
        svg.dot(&class, (x.at(intensity), y.at(rate)), 4.0, &format!("{name}: {} Gmadd/s", short(rate)));
    }
    Some(svg.finish())
}

/// A value of an axis, which is round: without zeros behind the point.
fn round(x: f64) -> String {
    let text = short(x);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A tier and how many times as fast it is.
type Bar<'a> = (&'a str, f64);

/// Speed-up of every tier over scalar or, where that was not measured, over the lowest tier that was: a group of bars for each
/// benchmark.
pub(super) fn tiers(r: &Recording) -> Option<String> {
    let order = |tier: &str| Tier::ALL.iter().position(|t| t.name() == tier).unwrap_or(usize::MAX);
    let mut products: BTreeMap<String, Vec<(&str, f64)>> = BTreeMap::new();
    for b in r.benchmarks.iter().filter(|b| b.spec.unit == Unit::Ns && b.median() > 0.0) {
        let Some(name) = Name::parse(b.name()) else { continue };
        let what = name.with_tier("").trim_end_matches('.').to_owned();
        products.entry(what).or_default().push((name.tier, b.median()));
    }
    // What, the base's tier, and the others over it.
    let mut groups: Vec<(String, &str, Vec<Bar<'_>>)> = Vec::new();
    for (what, mut tiers) in products {
        tiers.sort_by_key(|t| order(t.0));
        let (base, slow) = tiers[0];
        let bars: Vec<_> = tiers[1..].iter().map(|(tier, ns)| (*tier, slow / ns)).collect();
        groups.extend((!bars.is_empty()).then_some((what, base, bars)));
    }
    let all = groups.iter().flat_map(|g| &g.2).map(|bar| bar.1).fold(0.0, f64::max);
    if groups.is_empty() || !all.is_finite() {
        return None;
    }
    let mut bases: Vec<&str> = groups.iter().map(|g| g.1).collect();
    bases.sort_by_key(|b| order(b));
    bases.dedup();
    let (left, right) = (LABELS, WIDTH - 60.0);
    let shown: Vec<_> = groups.into_iter().take(LINES).collect();
    let bars: usize = shown.iter().map(|g| g.2.len()).sum();
    let bottom = 12.0 + bars as f64 * 11.0 + shown.len() as f64 * 8.0;
    let x = Scale { low: 0.0, high: all * 1.05, from: left, to: right, log: false };
    let mut svg = Svg::new(WIDTH, bottom + 40.0, "Speed-up of tiers");
    svg.x_axis(&x, 6.0, bottom, round);
    let axis = format!("times as fast as {}", bases.join(", or "));
    svg.text("axis", "middle", ((left + right) / 2.0, bottom + 34.0), &axis);
    let mut y = 10.0;
    for (what, base, bars) in &shown {
        let middle = y + bars.len() as f64 * 11.0 / 2.0 + 3.0;
        svg.text("label", "end", (left - 8.0, middle), &fit(what, FIT));
        for (tier, speedup) in bars {
            let (at, title) =
                (x.at(*speedup), format!("{what}.{tier}: {} times as fast as {base}", short(*speedup)));
            svg.bar(&format!("fill {}", tier_class(tier)), (left, y), (at - left, 9.0), &title);
            svg.text("tick", "start", (at + 4.0, y + 8.0), &short(*speedup));
            y += 11.0;
        }
        y += 8.0;
    }
    Some(svg.finish())
}

/// The end of a text that is too long, where names of benchmarks differ.
fn fit(text: &str, most: usize) -> String {
    let n = text.chars().count();
    if n <= most {
        text.to_owned()
    } else {
        format!("…{}", text.chars().skip(n + 1 - most).collect::<String>())
    }
}

/// Samples of each benchmark over its median: a strip of dots, the quartiles, the widest first.
pub(super) fn distribution(r: &Recording) -> Option<String> {
    let mut shown: Vec<_> = r.benchmarks.iter().filter(|b| b.samples.len() > 2 && b.median() > 0.0).collect();
    shown.sort_by(|a, b| spread(b).total_cmp(&spread(a)));
    shown.truncate(LINES);
    if shown.is_empty() {
        return None;
    }
    let (left, right, bottom) = (LABELS, WIDTH - 24.0, 12.0 + shown.len() as f64 * 16.0);
    // Beyond 1.5 times the median a dot stands at the edge: a hiccup must not squeeze all others.
    let shares = shown.iter().flat_map(|b| b.samples.iter().map(|s| (s / b.median()).clamp(0.5, 1.5)));
    let x = Scale::over(shares, false, left, right);
    let mut svg = Svg::new(WIDTH, bottom + 40.0, "Distribution of samples");
    svg.x_axis(&x, 4.0, bottom, |v| format!("{v:.2}"));
    svg.text("axis", "middle", ((left + right) / 2.0, bottom + 34.0), "sample over the median");
    for (i, b) in shown.iter().enumerate() {
        let y = 14.0 + i as f64 * 16.0;
        svg.text("label", "end", (left - 8.0, y + 3.5), &fit(b.name(), FIT));
        let mut sorted = b.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| sorted[(share * (sorted.len() - 1) as f64).round() as usize] / b.median();
        let (low, high) = (x.at(at(0.25).clamp(x.low, x.high)), x.at(at(0.75).clamp(x.low, x.high)));
        let title = format!(
            "{}: median {}, quartiles ±{:.1} %",
            b.name(),
            figure(b.median(), b.spec.unit),
            spread(b) * 100.0
        );
        svg.bar("box", (low, y - 5.0), ((high - low).max(1.0), 10.0), &title);
        let class = format!("faint {}", tier_class(tier(b.name())));
        // Several hundred samples say no more than every so many of them.
        for sample in b.samples.iter().step_by(b.samples.len().div_ceil(120)) {
            let share = (sample / b.median()).clamp(x.low, x.high);
            svg.dot(&class, (x.at(share), y), 2.5, &figure(*sample, b.spec.unit));
        }
    }
    Some(svg.finish())
}

/// How the last point is to the one before, and to the first.
fn steps(points: &[(usize, f64, bool)]) -> (f64, f64) {
    let last = points[points.len() - 1].1;
    (last / points[points.len() - 2].1, last / points[0].1)
}

/// Medians over the recordings, a small plot for each benchmark: those that got slower most, at once or by and by, first.
pub(super) fn history(recordings: &[Recording]) -> Option<String> {
    if recordings.len() < 2 {
        return None;
    }
    let mut lines: BTreeMap<&str, Vec<(usize, f64, bool)>> = BTreeMap::new();
    for (i, r) in recordings.iter().enumerate() {
        for b in &r.benchmarks {
            let tainted = !b.taint.is_empty() || !r.header.taint.is_empty();
            lines.entry(b.name()).or_default().push((i, b.median(), tainted));
        }
    }
    let mut lines: Vec<_> = lines.into_iter().filter(|(_, points)| points.len() > 1).collect();
    let worst = |p: &[(usize, f64, bool)]| steps(p).0.max(steps(p).1);
    lines.sort_by(|a, b| worst(&b.1).total_cmp(&worst(&a.1)));
    lines.truncate(LINES);
    let unit =
        |name: &str| recordings.iter().rev().find_map(|r| r.get(name)).map_or(Unit::Ns, |b| b.spec.unit);
    let plots: Vec<String> =
        lines.iter().map(|(name, points)| small(recordings, name, points, unit(name))).collect();
    (!plots.is_empty()).then(|| format!(r#"<div class="small">{}</div>"#, plots.concat()))
}

fn small(recordings: &[Recording], name: &str, points: &[(usize, f64, bool)], unit: Unit) -> String {
    let (width, height, left, right, top, bottom) = (420.0, 164.0, 58.0, 408.0, 38.0, 132.0);
    let mut svg = Svg::new(width, height, &format!("History of {name}"));
    let x = Scale { low: -0.3, high: recordings.len() as f64 - 0.7, from: left, to: right, log: false };
    // At least a tenth up and down, lest 1 % look like a cliff. Bytes are shown in units of 1024, and have round ticks in them.
    let most = points.iter().map(|p| p.1).fold(0.0, f64::max);
    let size = match unit {
        Unit::Bytes => [1024.0 * 1024.0, 1024.0].into_iter().find(|s| *s <= most).unwrap_or(1.0),
        _ => 1.0,
    };
    let around = [points[0].1 * 0.9, points[0].1 * 1.1];
    let y = Scale::over(points.iter().map(|p| p.1).chain(around).map(|v| v / size), false, bottom, top);
    svg.text("label", "start", (4.0, 12.0), &fit(name, 60));
    let (step, all) = steps(points);
    let (class, text) = (|r| if r > 1.02 { "worse" } else { "tick" }, format!("last step {}", change(step)));
    svg.text(class(step), "start", (left, 27.0), &text);
    if points.len() > 2 {
        svg.text(class(all), "end", (right, 27.0), &format!("since the first {}", change(all)));
    }
    svg.y_axis(&y, left, right, |v| figure(v * size, unit));
    // As many commits as fit.
    let every = recordings.len().div_ceil(6);
    for (i, r) in
        recordings.iter().enumerate().filter(|(i, _)| (recordings.len() - 1 - i).is_multiple_of(every))
    {
        let commit: String = r.header.revision.commit.chars().take(7).collect();
        svg.text(
            "tick",
            "middle",
            (x.at(i as f64), bottom + 16.0),
            if commit.is_empty() { "?" } else { &commit },
        );
    }
    let class = tier_class(tier(name));
    let at: Vec<(f64, f64)> = points.iter().map(|p| (x.at(p.0 as f64), y.at(p.1 / size))).collect();
    svg.path(&format!("curve {class}"), &at);
    for (place, (i, median, tainted)) in at.iter().zip(points) {
        let r = &recordings[*i].header;
        let mark = if *tainted { " tainted" } else { "" };
        let title = format!("{} ({}): {}{mark}", r.revision, r.time, figure(*median, unit));
        svg.dot(&format!("dot {class}{mark}"), *place, 3.5, &title);
    }
    svg.finish()
}

/// The interval of every ratio of a comparison, the worst on top.
pub(super) fn intervals(c: &Comparison) -> Option<String> {
    let shown: Vec<_> = c.results.iter().take(60).collect();
    if shown.is_empty() {
        return None;
    }
    let (left, right, bottom) = (LABELS, WIDTH - 24.0, 12.0 + shown.len() as f64 * 16.0);
    let effect = [1.0 - c.min_effect, 1.0 + c.min_effect];
    let ends = shown.iter().flat_map(|r| [r.low.clamp(0.5, 2.0), r.high.clamp(0.5, 2.0)]);
    let x = Scale::over(ends.chain(effect), false, left, right);
    let mut svg = Svg::new(WIDTH, bottom + 40.0, "Intervals of the ratios");
    svg.bar(
        "band",
        (x.at(effect[0]), 4.0),
        (x.at(effect[1]) - x.at(effect[0]), bottom - 4.0),
        "smaller than the least effect",
    );
    svg.x_axis(&x, 4.0, bottom, |v| format!("{v:.2}"));
    svg.line("one", (x.at(1.0), 4.0), (x.at(1.0), bottom));
    svg.text("axis", "middle", ((left + right) / 2.0, bottom + 34.0), "time of B over time of A");
    for (i, r) in shown.iter().enumerate() {
        let y = 14.0 + i as f64 * 16.0;
        svg.text("label", "end", (left - 8.0, y + 3.5), &fit(&r.name, FIT));
        let class = match r.verdict {
            Verdict::Slower => "v-slower",
            Verdict::Faster => "v-faster",
            Verdict::NoDifference => "v-same",
            Verdict::Inconclusive => "v-unsure",
        };
        let at = |v: f64| x.at(v.clamp(x.low, x.high));
        svg.line(&format!("interval {class}"), (at(r.low), y), (at(r.high), y));
        let title = format!("{}: {} {} … {}", r.name, r.verdict.name(), change(r.low), change(r.high));
        svg.dot(&format!("dot {class}"), (at(r.ratio), y), 4.0, &title);
    }
    Some(svg.finish())
}
