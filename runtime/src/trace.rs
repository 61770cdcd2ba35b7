//! `KINGLET_TRACE`: where the time of a run goes.
//!
//! `KINGLET_TRACE=1` prints a table of operations on stderr at the end, `KINGLET_TRACE=file.json` writes a Chrome trace too
//! (`chrome://tracing`, Perfetto) with a lane for each thread. Weight operations are named by their tensors (`attn_q+attn_k+attn_v`,
//! `ffn_down`), the others by what they do. When it is off, an operation costs the read of one flag.

mod report;

use crate::gguf::Gguf;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

static ON: AtomicBool = AtomicBool::new(false);
static TRACE: OnceLock<Trace> = OnceLock::new();
/// Index of the operation that runs, for the chunks of other threads.
static CURRENT: AtomicUsize = AtomicUsize::new(0);

/// Events that a file holds at most, about 100 MB of it; the rest is counted.
const MOST_EVENTS: usize = 1 << 20;

/// What is recorded.
#[derive(Debug)]
struct Trace {
    start: Instant,
    /// Where the Chrome trace goes.
    file: Option<PathBuf>,
    record: Mutex<Record>,
}

#[derive(Debug, Default)]
struct Record {
    ops: BTreeMap<(Phase, String), Total>,
    evals: BTreeMap<Phase, Total>,
    marks: Vec<(&'static str, Duration)>,
    /// The most memory that was seen after a batch, in bytes: anonymous, and of mapped files.
    resident: Option<(u64, u64)>,
    names: Vec<String>,
    /// Where each tensor begins in memory, and its short name.
    tensors: BTreeMap<usize, (usize, String)>,
    events: Vec<Event>,
    dropped: usize,
}

/// What a batch is for; its operations differ in what bounds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Several tokens: bound by arithmetic.
    Prefill,
    /// One token: bound by memory.
    Decode,
}

impl Phase {
    fn of(tokens: usize) -> Phase {
        if tokens > 1 { Phase::Prefill } else { Phase::Decode }
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Total {
    calls: u64,
    time: Duration,
    bytes: u64,
    macs: u64,
    tokens: u64,
}

/// One bar of the Chrome trace: lane 0 has whole operations, lane `1 + worker` the chunks of a thread.
#[derive(Debug, Clone, Copy)]
struct Event {
    name: usize,
    lane: usize,
    from: Duration,
    time: Duration,
}

/// Work of an operation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Work {
    /// What the field calls it.
    pub(crate) name: String,
    /// Tokens of the batch.
    pub(crate) tokens: usize,
    /// Bytes of weights, keys and values that are read once.
    pub(crate) bytes: usize,
    /// Multiply-adds.
    pub(crate) macs: usize,
}

impl Work {
    /// An operation on activations alone.
    pub(crate) fn light(name: &str, tokens: usize) -> Work {
        Work { name: name.to_owned(), tokens, ..Work::default() }
    }
}

/// Whether anything is recorded.
#[inline]
pub(crate) fn on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Turns recording on if `KINGLET_TRACE` is set: `1` for the table, a path ending in `.json` for a Chrome trace too, `0` or
/// nothing for neither.
///
/// # Errors
/// When the variable is something else.
pub fn init() -> Result<(), String> {
    let Some(value) = std::env::var_os("KINGLET_TRACE").filter(|v| !v.is_empty() && v != "0") else {
        return Ok(());
    };
    let path = PathBuf::from(&value);
    let file = match value.to_str() {
        Some("1") => None,
        _ if path.extension().is_some_and(|e| e == "json") => Some(path),
        _ => {
            let value = value.display();
            return Err(format!(
                "KINGLET_TRACE is `{value}`: 1 prints a table, and NAME.json writes a trace too"
            ));
        }
    };
    TRACE.get_or_init(|| Trace { start: Instant::now(), file, record: Mutex::default() });
    ON.store(true, Ordering::Relaxed);
    Ok(())
}

fn record(trace: &Trace) -> MutexGuard<'_, Record> {
    trace.record.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that a step of the program's start is done; the first of each name counts.
pub(crate) fn mark(name: &'static str) {
    if let Some(trace) = TRACE.get().filter(|_| on()) {
        let mut record = record(trace);
        if record.marks.iter().all(|(n, _)| *n != name) {
            record.marks.push((name, trace.start.elapsed()));
        }
    }
}

/// Gives operations the names of the tensors they use.
pub(crate) fn name_tensors(gguf: &Gguf) {
    let Some(trace) = TRACE.get().filter(|_| on()) else { return };
    let mut record = record(trace);
    for tensor in gguf.tensors() {
        let data = gguf.data(tensor);
        // `blk.7.attn_q.weight` is one of many `attn_q`. What a file calls its tensors is printed: nothing but plain letters.
        let name =
            tensor.name.strip_prefix("blk.").and_then(|n| n.split_once('.')).map_or(&*tensor.name, |n| n.1);
        let name = name.trim_end_matches(".weight").chars();
        let name = name.filter(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c)).take(40).collect();
        record.tensors.insert(data.as_ptr().addr(), (data.len(), name));
    }
}

/// The short name of the tensor that holds the byte at `data`, or `otherwise`.
pub(crate) fn name_of(data: *const u8, otherwise: &str) -> String {
    let named = TRACE.get().and_then(|trace| {
        let record = record(trace);
        let (start, (len, name)) = record.tensors.range(..=data.addr()).next_back()?;
        (data.addr() - start < *len).then(|| name.clone())
    });
    named.unwrap_or_else(|| otherwise.to_owned())
}

/// Times an operation until the result is dropped; `work` is asked only when something is recorded.
#[inline]
pub(crate) fn op(work: impl FnOnce() -> Work) -> Option<Span> {
    on().then(|| Span::new(work(), false))
}

/// Times a whole batch of `tokens` tokens.
#[inline]
pub(crate) fn eval(tokens: usize) -> Option<Span> {
    on().then(|| Span::new(Work::light("eval", tokens), true))
}

/// Times a chunk of the operation that runs, on thread `worker`.
pub(crate) fn chunk(worker: usize) -> Option<Chunk> {
    TRACE.get().filter(|t| t.file.is_some()).map(|_| Chunk { worker, start: Instant::now() })
}

/// An operation that is running.
#[derive(Debug)]
pub(crate) struct Span {
    work: Work,
    index: usize,
    whole: bool,
    start: Instant,
}

impl Span {
    fn new(work: Work, whole: bool) -> Span {
        let mut index = 0;
        if let Some(trace) = TRACE.get().filter(|t| t.file.is_some()) {
            let names = &mut record(trace).names;
            index = names.iter().position(|n| *n == work.name).unwrap_or_else(|| {
                names.push(work.name.clone());
                names.len() - 1
            });
            CURRENT.store(index, Ordering::Relaxed);
        }
        Span { work, index, whole, start: Instant::now() }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let time = self.start.elapsed();
        let Some(trace) = TRACE.get() else { return };
        let mut record = record(trace);
        let phase = Phase::of(self.work.tokens);
        let total = if self.whole {
            record.evals.entry(phase).or_default()
        } else {
            record.ops.entry((phase, std::mem::take(&mut self.work.name))).or_default()
        };
        total.calls += 1;
        total.time += time;
        total.bytes += self.work.bytes as u64;
        total.macs += self.work.macs as u64;
        total.tokens += self.work.tokens as u64;
        // Asking takes as long as a small operation, so ever more rarely.
        if self.whole && total.calls.is_power_of_two() {
            record.resident = record.resident.max(report::resident());
        }
        if trace.file.is_some() {
            let from = self.start.saturating_duration_since(trace.start);
            record.event(Event { name: self.index, lane: 0, from, time });
        }
    }
}

/// A chunk that is running.
#[derive(Debug)]
pub(crate) struct Chunk {
    worker: usize,
    start: Instant,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let time = self.start.elapsed();
        let Some(trace) = TRACE.get() else { return };
        let from = self.start.saturating_duration_since(trace.start);
        let name = CURRENT.load(Ordering::Relaxed);
        record(trace).event(Event { name, lane: 1 + self.worker, from, time });
    }
}

impl Record {
    fn event(&mut self, event: Event) {
        if self.events.len() < MOST_EVENTS {
            self.events.push(event);
        } else {
            self.dropped += 1;
        }
    }
}

/// Ends recording: the table for stderr, after the trace file is written.
///
/// # Errors
/// When the file cannot be written.
pub fn finish() -> Result<Option<String>, String> {
    let Some(trace) = TRACE.get().filter(|_| ON.swap(false, Ordering::Relaxed)) else { return Ok(None) };
    let record = record(trace);
    if let Some(path) = &trace.file {
        report::write_chrome(&record, path)
            .map_err(|e| format!("cannot write the trace {}: {e}", path.display()))?;
    }
    Ok(Some(report::table(&record)))
}
