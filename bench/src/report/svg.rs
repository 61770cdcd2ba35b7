//! What plots are made of: scales, axes and marks as SVG text. Colours are classes, so that the page's style can be light or dark.

use std::fmt::Write;

/// From values to pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) log: bool,
}

impl Scale {
    /// A scale over `values` with a little room around them; never empty.
    pub(super) fn over(values: impl Iterator<Item = f64>, log: bool, from: f64, to: f64) -> Scale {
        let usable = values.filter(|v| v.is_finite() && (!log || *v > 0.0));
        let (low, high) = usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if low > high { (1.0, 2.0) } else { (low, high) };
        let (low, high) = if log {
            (low / 1.25, high * 1.25)
        } else {
            let room = if high > low { (high - low) * 0.06 } else { high.abs().max(1e-9) * 0.05 };
            (low - room, high + room)
        };
        Scale { low, high, from, to, log }
    }

    pub(super) fn at(&self, v: f64) -> f64 {
        let place = |v: f64| if self.log { libm::log10(v.max(f64::MIN_POSITIVE)) } else { v };
        let (low, high) = (place(self.low), place(self.high));
        self.from + (place(v) - low) / (high - low) * (self.to - self.from)
    }

    /// Round values, at most about eight.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        if self.log {
            let first = libm::floor(libm::log10(self.low)) as i32;
            let decades = libm::log10(self.high / self.low);
            let steps: &[f64] = if decades > 4.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
            for decade in first..=first + 30 {
                ticks.extend(steps.iter().map(|s| s * libm::pow(10.0, f64::from(decade))));
            }
        } else {
            let rough = (self.high - self.low) / 5.0;
            let power = libm::pow(10.0, libm::floor(libm::log10(rough)));
            let step =
                [1.0, 2.0, 5.0, 10.0].into_iter().map(|s| s * power).find(|s| *s >= rough).unwrap_or(rough);
            let first = libm::ceil(self.low / step);
            ticks.extend((0..12).map(|i| (first + f64::from(i)) * step));
        }
        ticks.retain(|t| *t >= self.low && *t <= self.high);
        ticks
    }
}

/// A drawing of `width` x `height` units, as wide as the page lets it be.
pub(super) struct Svg {
    body: String,
    width: f64,
    height: f64,
    label: String,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64, label: &str) -> Svg {
        Svg { body: String::new(), width, height, label: escape(label) }
    }

    pub(super) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ = write!(
            self.body,
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        );
    }

    pub(super) fn path(&mut self, class: &str, points: &[(f64, f64)]) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(self.body, r#"<polyline class="{class}" points="{}"/>"#, points.join(" "));
    }

    pub(super) fn dot(&mut self, class: &str, (x, y): (f64, f64), r: f64, title: &str) {
        let title = escape(title);
        let _ = write!(
            self.body,
            r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{r}"><title>{title}</title></circle>"#
        );
    }

    pub(super) fn bar(&mut self, class: &str, (x, y): (f64, f64), (w, h): (f64, f64), title: &str) {
        let (w, title) = (w.max(0.0), escape(title));
        let _ = write!(
            self.body,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}" rx="2"><title>{title}</title></rect>"#
        );
    }

    /// `anchor`: start, middle, end.
    pub(super) fn text(&mut self, class: &str, anchor: &str, (x, y): (f64, f64), text: &str) {
        let text = escape(text);
        let _ = write!(
            self.body,
            r#"<text class="{class}" text-anchor="{anchor}" x="{x:.1}" y="{y:.1}">{text}</text>"#
        );
    }

    /// Ticks along the bottom at `y`, lines up to `top`.
    pub(super) fn x_axis(&mut self, scale: &Scale, top: f64, y: f64, show: impl Fn(f64) -> String) {
        for tick in scale.ticks() {
            let x = scale.at(tick);
            self.line("grid", (x, top), (x, y));
            self.text("tick", "middle", (x, y + 14.0), &show(tick));
        }
    }

    /// Ticks along the left at `x`, lines up to `right`.
    pub(super) fn y_axis(&mut self, scale: &Scale, x: f64, right: f64, show: impl Fn(f64) -> String) {
        for tick in scale.ticks() {
            let y = scale.at(tick);
            self.line("grid", (x, y), (right, y));
            self.text("tick", "end", (x - 5.0, y + 3.5), &show(tick));
        }
    }

    pub(super) fn finish(self) -> String {
        let Svg { body, width, height, label } = self;
        format!(
            r#"<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}" style="max-width:{width}px">{body}</svg>"#
        )
    }
}

/// Text that is no markup.
pub(super) fn escape(text: &str) -> String {
    let plain = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        c if c.is_control() => " ".to_owned(),
        c => c.to_string(),
    };
    text.chars().map(plain).collect()
}
