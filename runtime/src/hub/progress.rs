//! What a person sees while a model arrives. Everything goes to stderr.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::cell::RefCell;
use std::io::IsTerminal;

/// Hears how a download is getting on.
pub trait Progress {
    /// A line that a person should read: a licence, a retry.
    fn note(&self, line: &str);
    /// A transfer begins; `total` bytes, when that is known.
    fn begin(&self, what: &str, total: Option<u64>);
    /// `bytes` of it have arrived, in all.
    fn at(&self, bytes: u64);
    /// The transfer ended, well or not.
    fn end(&self);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn note(&self, _: &str) {}
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn at(&self, _: u64) {}
    fn end(&self) {}
}

/// A bar on a terminal, a line every quarter elsewhere.
#[derive(Debug, Default)]
pub struct Stderr {
    now: RefCell<Option<Transfer>>,
}

#[derive(Debug)]
struct Transfer {
    bar: Option<ProgressBar>,
    what: String,
    total: Option<u64>,
    quarters: u64,
}

const KNOWN: &str =
    "{msg}  {wide_bar}  {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta}";
const UNKNOWN: &str = "{msg}  {spinner}  {decimal_bytes}  {decimal_bytes_per_sec}";

impl Progress for Stderr {
    fn note(&self, line: &str) {
        match self.now.borrow().as_ref().and_then(|t| t.bar.as_ref()) {
            Some(bar) => bar.suspend(|| eprint_line(line)),
            None => eprint_line(line),
        }
    }

    fn begin(&self, what: &str, total: Option<u64>) {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(if total.is_some() { KNOWN } else { UNKNOWN });
            // The templates are constants; a bar in the default style is the worst that can happen.
            if let Ok(style) = style {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(what.to_owned());
            bar
        });
        if bar.is_none() {
            let size = total.map(|n| format!(", {}", megabytes(n))).unwrap_or_default();
            eprint_line(&format!("{what}{size}"));
        }
        *self.now.borrow_mut() = Some(Transfer { bar, what: what.to_owned(), total, quarters: 0 });
    }

    fn at(&self, bytes: u64) {
        let mut now = self.now.borrow_mut();
        let Some(now) = now.as_mut() else { return };
        match (&now.bar, now.total) {
            (Some(bar), _) => {
                // What an earlier pull had brought is no measure of speed.
                let first = bar.position() == 0;
                bar.set_position(bytes);
                if first {
                    bar.reset_eta();
                }
            }
            (None, Some(total)) if total > 0 => {
                let quarters = (bytes.min(total) as u128 * 4 / u128::from(total)) as u64;
                if quarters > now.quarters {
                    now.quarters = quarters;
                    eprint_line(&format!("{}: {} %", now.what, quarters * 25));
                }
            }
            _ => {}
        }
    }

    fn end(&self) {
        if let Some(Transfer { bar: Some(bar), .. }) = self.now.borrow_mut().take() {
            bar.finish_and_clear();
        }
    }
}

/// Nowhere is left to report a stderr that cannot be written to, so a failure is ignored.
fn eprint_line(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// `98.4 MB`, as model pages print sizes (decimal).
pub fn megabytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
