//! Records of counts: a text file per architecture and compiler, one line of JSON per kernel.
//!
//! The first line says what was counted and by whom; the others are sorted, so that a change is a readable diff.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of the format that this program writes, and the newest it reads.
const SCHEMA: u32 = 1;

/// The compiler that generated the counted code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compiler {
    /// The first line of `rustc -vV`.
    pub version: String,
    /// `1.95.0`
    pub release: String,
    /// `22.1.2`
    pub llvm: String,
    /// RUSTFLAGS, without the linker's.
    pub flags: String,
}

impl Compiler {
    /// The one that cargo calls in `root`.
    ///
    /// # Errors
    /// In words, when it cannot be asked.
    pub fn of(root: &Path) -> Result<Compiler, String> {
        let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
        let out = Command::new(&rustc).arg("-vV").current_dir(root).output();
        let out = out.map_err(|e| format!("cannot start {rustc}: {e}"))?;
        let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
        Compiler::parse(&String::from_utf8_lossy(&out.stdout), &flags)
            .ok_or_else(|| format!("`{rustc} -vV` does not name its release and LLVM"))
    }

    fn parse(text: &str, flags: &str) -> Option<Compiler> {
        let field = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned());
        Some(Compiler {
            version: text.lines().next()?.trim().to_owned(),
            release: field("release:")?,
            llvm: field("LLVM version:")?,
            flags: flags.split_whitespace().collect::<Vec<_>>().join(" "),
        })
    }

    /// Where counts of code for `arch` are kept.
    pub fn file(&self, dir: &Path, arch: &str) -> PathBuf {
        dir.join(format!("{arch}.rustc-{}.llvm-{}.jsonl", self.release, self.llvm))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    schema: u32,
    kind: String,
    architecture: String,
    compiler: Compiler,
    counters: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    kernel: String,
    counter: String,
    shape: String,
    instructions: u64,
}

/// What is known of a kernel, by kernel and counter.
pub type Entries = BTreeMap<(String, String), (String, u64)>;

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `x86_64`, `aarch64`.
    pub architecture: String,
    /// Who compiled.
    pub compiler: Compiler,
    /// Versions of the counters, by name.
    pub counters: BTreeMap<String, String>,
    /// `(kernel, counter)` to `(shape, instructions)`.
    pub entries: Entries,
}

impl Record {
    /// Reads a file; `None` when there is none.
    ///
    /// # Errors
    /// One line that names the file, the line in it and what to do.
    pub fn read(path: &Path) -> Result<Option<Record>, String> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(format!("cannot read {}: {e}", path.display())),
        };
        Record::parse(&text).map(Some).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// One line that names the line of the text and what to do.
    pub fn parse(text: &str) -> Result<Record, String> {
        #[derive(Deserialize)]
        struct Schema {
            schema: u32,
        }
        let broken = |at: usize, e: &dyn std::fmt::Display| {
            format!(
                "line {at} is damaged ({e}); restore the file from git, or delete it and `--record` again"
            )
        };
        let mut lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty());
        let first = lines.next().ok_or("the file is empty; delete it and `--record` again")?.1;
        let Schema { schema } = serde_json::from_str(first).map_err(|e| broken(1, &e))?;
        if schema > SCHEMA {
            return Err(format!(
                "schema {schema} is newer than {SCHEMA}, which this kinglet-bench reads; use a newer one"
            ));
        }
        let header: Header = serde_json::from_str(first).map_err(|e| broken(1, &e))?;
        if header.kind != "counts" {
            return Err(format!("line 1 is of kind `{}`, not `counts`", header.kind));
        }
        let mut entries = Entries::new();
        for (i, line) in lines {
            let line: Line = serde_json::from_str(line).map_err(|e| broken(i + 1, &e))?;
            let key = (line.kernel, line.counter);
            if entries.insert(key, (line.shape, line.instructions)).is_some() {
                return Err(broken(i + 1, &"the kernel's second"));
            }
        }
        let Header { architecture, compiler, counters, .. } = header;
        Ok(Record { architecture, compiler, counters, entries })
    }

    fn text(&self) -> Result<String, serde_json::Error> {
        let header = Header {
            schema: SCHEMA,
            kind: "counts".to_owned(),
            architecture: self.architecture.clone(),
            compiler: self.compiler.clone(),
            counters: self.counters.clone(),
        };
        let mut text = serde_json::to_string(&header)? + "\n";
        for ((kernel, counter), (shape, instructions)) in &self.entries {
            let (kernel, counter, shape) = (kernel.clone(), counter.clone(), shape.clone());
            text += &serde_json::to_string(&Line { kernel, counter, shape, instructions: *instructions })?;
            text.push('\n');
        }
        Ok(text)
    }

    /// Writes the file: a temporary one first, then renamed.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let failed = |e: &dyn std::fmt::Display| format!("cannot write {}: {e}", path.display());
        let text = self.text().map_err(|e| failed(&e))?;
        crate::files::write(path, &text)
    }
}

/// How a kernel differs from the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Other instructions for the same work.
    Count {
        /// On record.
        old: u64,
        /// Counted now.
        new: u64,
    },
    /// Other work: the two cannot be compared.
    Shape {
        /// On record.
        old: String,
        /// Now.
        new: String,
    },
    /// Not on record.
    New(u64),
    /// On record, and no longer there.
    Gone,
}

/// What differs between the record and what has been counted, greatest ratio first; kernels that were not asked for do not
/// count as gone.
pub fn changes(
    old: &Entries,
    new: &Entries,
    asked: impl Fn(&str, &str) -> bool,
) -> Vec<((String, String), Change)> {
    let mut found = Vec::new();
    for (key, (shape, count)) in new {
        match old.get(key) {
            None => found.push((key.clone(), Change::New(*count))),
            Some((was, _)) if was != shape => {
                found.push((key.clone(), Change::Shape { old: was.clone(), new: shape.clone() }));
            }
            Some((_, was)) if was != count => {
                found.push((key.clone(), Change::Count { old: *was, new: *count }))
            }
            Some(_) => {}
        }
    }
    let gone = old.keys().filter(|key| asked(&key.0, &key.1) && !new.contains_key(*key));
    found.extend(gone.map(|key| (key.clone(), Change::Gone)));
    let ratio = |c: &Change| match c {
        Change::Count { old, new } => *new as f64 / (*old).max(1) as f64,
        _ => f64::INFINITY,
    };
    found.sort_by(|a, b| ratio(&b.1).total_cmp(&ratio(&a.1)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let compiler =
            Compiler::parse("rustc 1.95.0 (x)\nrelease: 1.95.0\nLLVM version: 22.1.2\n", " -C  a ").unwrap();
        let entry = |k: &str, n| ((k.to_owned(), "qemu".to_owned()), ("64x768x1".to_owned(), n));
        let entries = [entry("q4_0.gemv.neon", 100), entry("q8_0.gemv.neon", 200)].into_iter().collect();
        let counters = [("qemu".to_owned(), "7.2".to_owned())].into_iter().collect();
        Record { architecture: "aarch64".to_owned(), compiler, counters, entries }
    }

    #[test]
    fn files_are_read_back_and_replaced_whole() {
        let dir = std::env::temp_dir().join(format!("kinglet-counts-{}", std::process::id()));
        let path = record().compiler.file(&dir, "aarch64");
        assert_eq!(path.file_name().unwrap(), "aarch64.rustc-1.95.0.llvm-22.1.2.jsonl");
        assert_eq!(Record::read(&path), Ok(None));
        record().write(&path).unwrap();
        assert_eq!(Record::read(&path), Ok(Some(record())));
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "no temporary file is left");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn damaged_and_newer_files_are_one_line() {
        let good = record().text().unwrap();
        let newer = good.replace("\"schema\":1", "\"schema\":2");
        let other = good.replace("\"counts\"", "\"header\"");
        let twice = good.clone() + good.lines().last().unwrap();
        let cut = &good[..good.len() - 9];
        for (text, says) in [
            ("", "empty"),
            (&newer, "newer"),
            (&other, "not `counts`"),
            (&twice, "line 4"),
            (cut, "line 3"),
            ("{}", "line 1"),
        ] {
            let e = Record::parse(text).unwrap_err();
            assert!(e.contains(says) && !e.contains('\n'), "{e}");
        }
    }

    #[test]
    fn every_kind_of_change_is_found_and_the_worst_comes_first() {
        let old = record().entries;
        assert_eq!(changes(&old, &old, |_, _| true), []);
        let key = |k: &str| (k.to_owned(), "qemu".to_owned());
        let mut new = old.clone();
        new.insert(key("q8_0.gemv.neon"), ("64x768x1".to_owned(), 201));
        new.insert(key("q4_0.gemv.neon"), ("64x768x1".to_owned(), 150));
        let found = changes(&old, &new, |_, _| true);
        assert_eq!(found[0], (key("q4_0.gemv.neon"), Change::Count { old: 100, new: 150 }));
        assert_eq!(found[1], (key("q8_0.gemv.neon"), Change::Count { old: 200, new: 201 }));
        new.insert(key("q4_0.gemv.neon"), ("32x768x1".to_owned(), 100));
        let (was, is) = ("64x768x1".to_owned(), "32x768x1".to_owned());
        assert_eq!(changes(&old, &new, |_, _| true)[0].1, Change::Shape { old: was, new: is });
        new.insert(key("q5_0.gemv.neon"), ("64x768x1".to_owned(), 7));
        new.remove(&key("q8_0.gemv.neon"));
        let found = changes(&old, &new, |_, _| true);
        assert!(found.contains(&(key("q5_0.gemv.neon"), Change::New(7))));
        assert!(found.contains(&(key("q8_0.gemv.neon"), Change::Gone)));
        assert!(!changes(&old, &new, |k, _| k.starts_with("q4")).iter().any(|(_, c)| *c == Change::Gone));
    }
}
