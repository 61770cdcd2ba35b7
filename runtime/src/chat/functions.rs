//! What Hugging Face adds to Jinja for chat templates, and where minijinja differs from Python.

use minijinja::value::{Kwargs, Value};
use minijinja::{Error, ErrorKind, Output, State, escape_formatter};

/// `raise_exception(message)`: how a template refuses a conversation.
pub(super) fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}

/// Methods of Python's values. Those of minijinja charge for what they make beforehand, but for `format`, whose widths and
/// precisions may ask for any number of characters.
pub(super) fn python_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if let Some(format) = value.as_str().filter(|_| method == "format") {
        let fields = format.split('{').skip(1).filter_map(|field| field.split('}').next());
        let numbers = fields.flat_map(|field| field.split(|c: char| !c.is_ascii_digit()));
        // A number that is too long for any has no limit either.
        let chars = |digits: &str| if digits.is_empty() { 0 } else { digits.parse().unwrap_or(u64::MAX) };
        let all = numbers.map(chars).fold(0, u64::saturating_add);
        state.consume_fuel(all / 64)?;
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
}

/// How far `tojson` indents at most.
const MAX_INDENT: usize = 32;

/// `value | tojson`, as Python's `json.dumps`: nothing is escaped for HTML.
pub(super) fn to_json(state: &State<'_, '_>, value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<Value> = options.get("indent")?;
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    options.assert_all_used()?;
    let indent = indent.filter(|i| !i.is_none());
    // The text is made whole before it can be charged for.
    if let Some(wide) = indent.clone().and_then(|i| usize::try_from(i).ok()).filter(|i| *i > MAX_INDENT) {
        let what = format!("tojson indents by {wide}; at most {MAX_INDENT} are possible");
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    let json = minijinja::filters::tojson(value, indent, Kwargs::from_iter([] as [(&str, Value); 0]))?;
    let json = unescape_html(json.as_str().unwrap_or_default(), ascii);
    state.consume_fuel(json.len() as u64 / 32)?;
    Ok(Value::from(json))
}

/// Turns the escapes that minijinja writes for HTML back into the characters.
fn unescape_html(json: &str, ascii: bool) -> String {
    let mut out = String::with_capacity(json.len());
    let mut left = json;
    while let Some(c) = left.chars().next() {
        let html = ["\\u003c", "\\u003e", "\\u0026", "\\u0027"].iter().position(|e| left.starts_with(e));
        if let Some(i) = html {
            out.push(['<', '>', '&', '\''][i]);
            left = &left[6..];
            continue;
        }
        // An escaped backslash is taken with its partner, so that the partner begins no escape.
        let len = if left.starts_with("\\\\") { 2 } else { c.len_utf8() };
        if ascii && !c.is_ascii() {
            let escape = |unit: &mut u16| format!("\\u{unit:04x}");
            out.extend(c.encode_utf16(&mut [0; 2]).iter_mut().map(escape));
        } else {
            out.push_str(&left[..len]);
        }
        left = &left[len..];
    }
    out
}

/// `value is iterable`: as in Python, None is not.
pub(super) fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// Prints `True`, `False` and `None` as Python does.
pub(super) fn python_formatter(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    match bool::try_from(value.clone()) {
        Ok(b) if value.kind() == minijinja::value::ValueKind::Bool => {
            out.write_str(if b { "True" } else { "False" }).map_err(Error::from)
        }
        _ if value.is_none() => out.write_str("None").map_err(Error::from),
        _ => escape_formatter(out, state, value),
    }
}

/// `strftime_now(format)` for the second `unix`, in UTC, with the directives that templates use.
pub(super) fn strftime(format: &str, unix: u64) -> Result<String, Error> {
    const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let (days, second) = (unix / 86_400, unix % 86_400);
    let (year, month, day, day_of_year) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let weekday = DAYS[(days % 7 + 4) as usize % 7];
    let month_name = MONTHS[month as usize - 1];
    let half = if hour < 12 { "AM" } else { "PM" };
    let hour12 = (hour + 11) % 12 + 1;
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = chars.next();
        let bare = directive == Some('-');
        if bare {
            directive = chars.next();
        }
        let two = |n: u64| if bare { n.to_string() } else { format!("{n:02}") };
        out.push_str(&match directive {
            Some('Y') => year.to_string(),
            Some('y') => two(year % 100),
            Some('m') => two(month),
            Some('d') => two(day),
            Some('e') => format!("{day:2}"),
            Some('H') => two(hour),
            Some('I') => two(hour12),
            Some('M') => two(minute),
            Some('S') => two(second),
            Some('j') if bare => day_of_year.to_string(),
            Some('j') => format!("{day_of_year:03}"),
            Some('B') => month_name.to_owned(),
            Some('b' | 'h') => month_name[..3].to_owned(),
            Some('A') => weekday.to_owned(),
            Some('a') => weekday[..3].to_owned(),
            Some('p') => half.to_owned(),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('Z') => "UTC".to_owned(),
            Some('z') => "+0000".to_owned(),
            Some('%') => "%".to_owned(),
            other => {
                let other = other.map(String::from).unwrap_or_default();
                let what = format!("strftime_now does not know the directive `%{other}`");
                return Err(Error::new(ErrorKind::InvalidOperation, what));
            }
        });
    }
    Ok(out)
}

/// Year, month, day and day of the year, days after 1 January 1970.
fn civil(days: u64) -> (u64, u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let in_year = |year| if leap(year) { 366 } else { 365 };
    // Whole periods of 400 years first, so that no date takes long.
    let (mut year, mut left) = (1970 + days / 146_097 * 400, days % 146_097);
    while left >= in_year(year) {
        left -= in_year(year);
        year += 1;
    }
    let day_of_year = left + 1;
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1, day_of_year)
}

/// Makes the tags `generation` and `endgeneration`, which mark what to train on, into tags that do nothing.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut left = source;
    while let Some(at) = left.find("{%") {
        let (before, tag) = left.split_at(at);
        out.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |e| e + 2);
        let (tag, rest) = tag.split_at(end);
        let inner = tag.strip_prefix("{%").and_then(|t| t.strip_suffix("%}")).unwrap_or("");
        let word = inner.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        match word {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        left = rest;
    }
    out.push_str(left);
    out
}

#[cfg(test)]
mod tests {
    use super::{strftime, unescape_html, without_generation_tags};

    #[test]
    fn dates_are_right() {
        let date = |unix| strftime("%Y-%m-%d %a %j %H:%M:%S", unix).unwrap();
        assert_eq!(date(0), "1970-01-01 Thu 001 00:00:00");
        assert_eq!(date(951_782_400), "2000-02-29 Tue 060 00:00:00");
        assert_eq!(date(1_735_689_599), "2024-12-31 Tue 366 23:59:59");
        assert_eq!(date(4_107_542_400), "2100-03-01 Mon 060 00:00:00");
        assert_eq!(
            strftime("%d %B %y, %-d. %b, %A %I %p%%", 1_700_000_000).unwrap(),
            "14 November 23, 14. Nov, Tuesday 10 PM%"
        );
        assert!(strftime("%", 0).is_err() && strftime("%Q", 0).is_err());
        strftime("%F", u64::MAX).unwrap();
    }

    #[test]
    fn only_escapes_for_html_are_undone() {
        assert_eq!(unescape_html(r#""\u003ca\u003e \u0026 \u0027""#, false), r#""<a> & '""#);
        assert_eq!(unescape_html(r#""\\u003c \n \" é""#, false), r#""\\u003c \n \" é""#);
        assert_eq!(unescape_html("\"é😀\"", true), r#""\u00e9\ud83d\ude00""#);
    }

    #[test]
    fn generation_tags_do_nothing() {
        let source = "{%- generation -%}a{% endgeneration %}{% if generation %}{% raw %}{{ x }}";
        let plain = "{%- if true -%}a{% endif %}{% if generation %}{% raw %}{{ x }}";
        assert_eq!(without_generation_tags(source), plain);
        assert_eq!(without_generation_tags("{% generation"), "{% generation");
    }
}
