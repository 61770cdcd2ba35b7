//! Any command as a suite: it prints `NAME NUMBER` lines, and each run of it is one sample of every name.
//!
//! The unit is nanoseconds unless a line says otherwise: `NAME NUMBER [ns|us|ms|s|bytes|instructions|uJ]`. The variable
//! `KINGLET_BENCH_NAME` holds the name that is wanted, so that a command with many can do only that one.

use crate::record::{Layer, Spec, Unit, Work};
use crate::suite::{Entry, Run, Suite};
use std::process::Command;

/// The suite of a command.
#[derive(Debug)]
pub struct CommandSuite {
    command: Vec<String>,
    entries: Vec<Entry>,
}

impl CommandSuite {
    /// Runs the command once to learn its names. Words are separated by blanks; `'` and `"` keep blanks together.
    ///
    /// # Errors
    /// When it cannot be run, fails, or prints no sample.
    pub fn new(command: &str) -> Result<CommandSuite, String> {
        let command = words(command)?;
        let mut entries: Vec<Entry> = Vec::new();
        for (name, _, unit) in run(&command, "")? {
            if !entries.iter().any(|e| e.spec.name == name) {
                let spec = Spec { name, layer: Layer::EndToEnd, unit, work: Work::default(), expected: None };
                entries.push(Entry { spec, skip: None });
            }
        }
        Ok(CommandSuite { command, entries })
    }
}

impl Suite for CommandSuite {
    fn name(&self) -> &str {
        "command"
    }
    fn list(&self) -> Vec<Entry> {
        self.entries.clone()
    }
    fn prepare(&mut self, name: &str) -> Result<Box<dyn Run>, String> {
        if !self.entries.iter().any(|e| e.spec.name == name) {
            return Err(format!("the command prints no sample of `{name}`"));
        }
        Ok(Box::new(Sampled { command: self.command.clone(), name: name.to_owned() }))
    }
}

struct Sampled {
    command: Vec<String>,
    name: String,
}

impl Run for Sampled {
    fn run(&mut self, iterations: u64) -> Result<Option<f64>, String> {
        let mut total = 0.0;
        for _ in 0..iterations {
            let all = run(&self.command, &self.name)?;
            let mine: Vec<f64> = all.iter().filter(|s| s.0 == self.name).map(|s| s.1).collect();
            if mine.is_empty() {
                return Err(format!("the command printed no sample of `{}` this time", self.name));
            }
            total += crate::stats::median(&mine);
        }
        Ok(Some(total))
    }
}

/// Runs the command and reads its samples.
fn run(command: &[String], name: &str) -> Result<Vec<(String, f64, Unit)>, String> {
    let (program, args) = command.split_first().ok_or("the command is empty")?;
    let output = Command::new(program).args(args).env("KINGLET_BENCH_NAME", name).output();
    let output = output.map_err(|e| format!("cannot run `{program}`: {e}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or_default();
        return Err(format!("`{program}` failed ({}): {last}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let samples: Vec<_> = text.lines().filter_map(sample).collect();
    if samples.is_empty() {
        return Err(format!("`{program}` printed no line of the form `NAME NUMBER [UNIT]`"));
    }
    Ok(samples)
}

fn sample(line: &str) -> Option<(String, f64, Unit)> {
    let mut words = line.split_whitespace();
    let (name, number) = (words.next()?, words.next()?.parse::<f64>().ok()?);
    let (factor, unit) = match words.next() {
        None | Some("ns") => (1.0, Unit::Ns),
        Some("us") => (1e3, Unit::Ns),
        Some("ms") => (1e6, Unit::Ns),
        Some("s") => (1e9, Unit::Ns),
        Some("bytes") => (1.0, Unit::Bytes),
        Some("instructions") => (1.0, Unit::Instructions),
        Some("uJ") => (1.0, Unit::Microjoules),
        Some(_) => return None,
    };
    (number.is_finite() && number >= 0.0).then(|| (name.to_owned(), number * factor, unit))
}

/// The words of a command line.
fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote): (Vec<String>, Option<String>, Option<char>) =
        (Vec::new(), None, None);
    for c in text.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(format!("a quote is not closed in `{text}`"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_samples_are_read_and_others_left() {
        assert_eq!(sample("sort 12.5"), Some(("sort".to_owned(), 12.5, Unit::Ns)));
        assert_eq!(sample("  a.b  2 ms"), Some(("a.b".to_owned(), 2e6, Unit::Ns)));
        assert_eq!(sample("x 7 bytes"), Some(("x".to_owned(), 7.0, Unit::Bytes)));
        for other in ["", "hello", "took 3 apples", "x nan", "x -1", "x inf"] {
            assert_eq!(sample(other), None, "{other}");
        }
    }

    #[test]
    fn words_are_split_as_a_shell_would() {
        assert_eq!(words("a 'b c'  \"d\"e").unwrap(), ["a", "b c", "de"]);
        assert_eq!(words(" '' ").unwrap(), [""]);
        assert!(words("a 'b").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_command_is_a_suite() {
        let mut suite =
            CommandSuite::new("sh -c 'echo one 3 us; echo two 8 bytes; echo \"name: $KINGLET_BENCH_NAME\"'")
                .unwrap();
        let names: Vec<String> = suite.list().into_iter().map(|e| e.spec.name).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(suite.prepare("one").unwrap().run(2), Ok(Some(6000.0)));
        assert!(suite.prepare("three").is_err());
        assert!(CommandSuite::new("sh -c 'exit 3'").unwrap_err().contains("failed"));
        assert!(CommandSuite::new("true").unwrap_err().contains("NAME NUMBER"));
        assert!(CommandSuite::new("/no/such/program").unwrap_err().contains("cannot run"));
    }
}
