//! Thread counts that `kinglet tune` measured, kept for each model and machine in the cache.
//!
//! One small file for each pair, `HOME/tuned/MODEL-MACHINE.json`, so that two processes that tune different models do not
//! overwrite each other. They decide speed, never a result.

use crate::gguf::Gguf;
use crate::machine::Cpus;
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};

/// Written into each file; another number is another program's.
const VERSION: u64 = 1;
/// A file of ours is far smaller.
const MOST_BYTES: u64 = 1 << 16;
/// The most threads that can be asked for.
const MOST_THREADS: u64 = 1024;

/// The best counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuned {
    /// Threads for single tokens.
    pub threads: usize,
    /// Threads for batches.
    pub threads_batch: usize,
    /// Tokens per second with them, single tokens and batches.
    pub speed: [f64; 2],
}

/// What counts are remembered for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// In words: kind of CPU, how many, tier.
    pub machine: String,
    /// In words: name and shape.
    pub model: String,
}

impl Key {
    /// The key of a model on this machine, whose `cpus` may be used, with kernels of a tier.
    pub fn new(gguf: &Gguf, cpus: &Cpus, tier: &str) -> Key {
        let Cpus { usable, cores, fast_cores, quota } = cpus;
        let quota = quota.map_or_else(|| "all".to_owned(), |q| format!("{q:.2}"));
        let machine = format!(
            "{} {}; {usable} CPUs, {cores} cores, {fast_cores} fast, {quota} of their time; {tier}",
            std::env::consts::ARCH,
            cpu_name()
        );
        // Models of one shape and format read the same bytes: a fine-tuned one is as fast as its parent.
        let mut hash = Fnv::default();
        for t in gguf.tensors() {
            hash.add(t.name.as_bytes());
            hash.add(&t.ggml_type.to_le_bytes());
            t.shape.iter().for_each(|n| hash.add(&n.to_le_bytes()));
        }
        let architecture = gguf.string("general.architecture").ok().flatten().unwrap_or("");
        let bytes: usize = gguf.tensors().iter().map(|t| t.bytes).sum();
        let model = format!("{architecture}, {bytes} bytes of tensors, shape {:016x}", hash.0);
        Key { machine, model }
    }

    fn path(&self, home: &Path) -> PathBuf {
        let hash = |text: &str| {
            let mut hash = Fnv::default();
            hash.add(text.as_bytes());
            hash.0
        };
        home.join("tuned").join(format!("{:016x}-{:016x}.json", hash(&self.model), hash(&self.machine)))
    }

    /// What is remembered; `None` when nothing is.
    ///
    /// # Errors
    /// A remark on a file that is there and cannot be used: it is damaged, or somebody else's.
    pub fn load(&self, home: &Path) -> Result<Option<Tuned>, String> {
        let path = self.path(home);
        let problem = |what: &str| {
            let path = path.display();
            format!("{path}: {what}; it is ignored, and `kinglet tune` will replace it")
        };
        let size = match std::fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(problem(&e.to_string())),
            Ok(meta) if !meta.is_file() => return Err(problem("it is no file")),
            Ok(meta) => meta.len(),
        };
        if size > MOST_BYTES {
            return Err(problem("it is too long for thread counts"));
        }
        let text = std::fs::read(&path).map_err(|e| problem(&e.to_string()))?;
        let value: Value = serde_json::from_slice(&text).map_err(|_| problem("it is damaged"))?;
        if value.get("kinglet_tuned").and_then(Value::as_u64) != Some(VERSION) {
            return Err(problem("it is of another version or program"));
        }
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        if (text("machine"), text("model")) != (&self.machine, &self.model) {
            return Err(problem("it is of another machine or model"));
        }
        let count = |key: &str| {
            let n = value.get(key).and_then(Value::as_u64).filter(|n| (1..=MOST_THREADS).contains(n));
            n.map(|n| n as usize).ok_or_else(|| problem(&format!("its `{key}` is no number of threads")))
        };
        let speed = |key: &str| value.get(key).and_then(Value::as_f64).unwrap_or(0.0);
        Ok(Some(Tuned {
            threads: count("threads")?,
            threads_batch: count("threads_batch")?,
            speed: [speed("decode_tokens_per_second"), speed("prefill_tokens_per_second")],
        }))
    }

    /// Remembers `tuned`; where.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn save(&self, home: &Path, tuned: &Tuned) -> io::Result<PathBuf> {
        let path = self.path(home);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let value = json!({
            "kinglet_tuned": VERSION, "machine": self.machine, "model": self.model,
            "threads": tuned.threads, "threads_batch": tuned.threads_batch,
            "decode_tokens_per_second": tuned.speed[0], "prefill_tokens_per_second": tuned.speed[1],
        });
        // Seen under its name only when it is whole.
        let part = path.with_extension(format!("{}.part", std::process::id()));
        let written =
            std::fs::write(&part, format!("{value:#}\n")).and_then(|()| std::fs::rename(&part, &path));
        if written.is_err() {
            // Of no use, and failing to remove it is not worth a second error.
            let _ = std::fs::remove_file(&part);
        }
        written.map(|()| path)
    }

    /// Forgets what is remembered; whether there was anything.
    ///
    /// # Errors
    /// When the file is there and cannot be removed.
    pub fn forget(&self, home: &Path) -> io::Result<bool> {
        match std::fs::remove_file(self.path(home)) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }
}

/// What the system calls the CPU, or the board where CPUs have no name.
fn cpu_name() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|l| l.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let board = || std::fs::read_to_string("/proc/device-tree/model").ok();
    let name = field("model name").or_else(board).or_else(|| field("CPU part")).unwrap_or_default();
    name.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// FNV-1a.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Tuned};

    #[test]
    fn what_was_saved_is_loaded_and_nothing_else() {
        let home = std::env::temp_dir().join(format!("kinglet-tuned-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&home);
        let key = |machine: &str| Key { machine: machine.to_owned(), model: "m".to_owned() };
        let (here, there) = (key("here"), key("there"));
        let tuned = Tuned { threads: 2, threads_batch: 4, speed: [10.0, 200.0] };
        assert_eq!(here.load(&home), Ok(None));
        let path = here.save(&home, &tuned).unwrap();
        assert_eq!((here.load(&home), there.load(&home)), (Ok(Some(tuned)), Ok(None)));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
        let good = std::fs::read_to_string(&path).unwrap();
        let wrong = [
            ("damaged", "{".to_owned()),
            ("version", good.replace("\"kinglet_tuned\": 1", "\"kinglet_tuned\": 2")),
            ("another machine", good.replace("here", "there")),
            ("`threads`", good.replace("\"threads\": 2", "\"threads\": 0")),
            ("`threads_batch`", good.replace("\"threads_batch\": 4", "\"threads_batch\": 4096")),
            ("too long", " ".repeat(1 << 17)),
        ];
        for (word, text) in wrong {
            assert_ne!(text, good);
            std::fs::write(&path, text).unwrap();
            let said = here.load(&home).unwrap_err();
            assert!(
                said.contains(word) && said.contains("ignored") && !said.contains('\n'),
                "{word}: {said}"
            );
        }
        assert!(here.forget(&home).unwrap() && !here.forget(&home).unwrap());
        let _ = std::fs::remove_dir_all(&home);
    }
}
