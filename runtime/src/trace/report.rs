//! What was recorded, for people and for Chrome.

use super::{Phase, Record, Total};
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// The table of operations, the longest first, after the steps of the start.
pub(super) fn table(record: &Record) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    for (name, at) in &record.marks {
        line(format!("start: {name:<24} after {:>8.2} ms", at.as_secs_f64() * 1e3));
    }
    if let Some((anonymous, file)) = record.resident {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        line(format!("resident: {:.1} MiB anonymous, {:.1} MiB of files", mib(anonymous), mib(file)));
    }
    for (phase, whole) in &record.evals {
        let name = match phase {
            Phase::Prefill => "prefill",
            Phase::Decode => "decode",
        };
        let seconds = whole.time.as_secs_f64();
        let speed = whole.tokens as f64 / seconds.max(1e-9);
        let ms = seconds * 1e3;
        line(format!(
            "{name}: {} tokens in {} batches, {ms:.2} ms, {speed:.1} t/s",
            whole.tokens, whole.calls
        ));
        line(format!(
            "  {:<28} {:>8} {:>10} {:>7} {:>8} {:>9}",
            "op", "calls", "ms", "share", "GB/s", "GMAC/s"
        ));
        let mut ops: Vec<(&str, Total)> =
            record.ops.iter().filter(|((p, _), _)| p == phase).map(|((_, n), t)| (n.as_str(), *t)).collect();
        let known = ops.iter().map(|(_, t)| t.time).sum();
        ops.push((
            "(between operations)",
            Total { time: whole.time.saturating_sub(known), ..Total::default() },
        ));
        ops.sort_by_key(|(_, t)| std::cmp::Reverse(t.time));
        for (op, t) in ops {
            let s = t.time.as_secs_f64();
            let rate =
                |n: u64| if n > 0 { format!("{:.1}", n as f64 / s.max(1e-9) / 1e9) } else { String::new() };
            let share = 100.0 * s / seconds.max(1e-9);
            line(format!(
                "  {op:<28} {:>8} {:>10.2} {share:>6.1}% {:>8} {:>9}",
                t.calls,
                s * 1e3,
                rate(t.bytes),
                rate(t.macs)
            ));
        }
    }
    if record.dropped > 0 {
        line(format!("{} events were too many for the trace file", record.dropped));
    }
    out.truncate(out.trim_end().len());
    out
}

/// Bytes of anonymous memory and of mapped files that are in memory now.
pub(super) fn resident() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some((field("RssAnon:")?, field("RssFile:")?))
}

/// The events in Chrome's format, seen under its name only when it is whole.
pub(super) fn write_chrome(record: &Record, path: &Path) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let written = write_events(record, &part).and_then(|()| std::fs::rename(&part, path));
    written.inspect_err(|_| {
        // What there is of it is of no use, and failing to remove it is not worth a second error.
        let _ = std::fs::remove_file(&part);
    })
}

fn write_events(record: &Record, part: &Path) -> io::Result<()> {
    let mut out = BufWriter::new(std::fs::File::create(part)?);
    write!(out, "{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")?;
    let lanes = record.events.iter().map(|e| e.lane + 1).max().unwrap_or(0);
    let mut comma = "";
    for lane in 0..lanes {
        let name = if lane == 0 { "operations".to_owned() } else { format!("thread {}", lane - 1) };
        write!(
            out,
            "{comma}\n{{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":1,\"tid\":{lane},\"args\":{{\"name\":\"{name}\"}}}}"
        )?;
        comma = ",";
    }
    let micros = |d: std::time::Duration| d.as_secs_f64() * 1e6;
    for e in &record.events {
        // Names come from tensor names, that is from a file.
        let name = serde_json::Value::from(record.names.get(e.name).map_or("", String::as_str));
        let (from, time, lane) = (micros(e.from), micros(e.time), e.lane);
        write!(
            out,
            "{comma}\n{{\"ph\":\"X\",\"name\":{name},\"pid\":1,\"tid\":{lane},\"ts\":{from:.3},\"dur\":{time:.3}}}"
        )?;
        comma = ",";
    }
    writeln!(out, "\n]}}")?;
    out.flush()
}
