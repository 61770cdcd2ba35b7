//! What several tests need: a folder of their own, and a small GGUF writer that lets a test say which byte is wrong.
#![allow(dead_code, unused_imports, reason = "each test uses a part of it")]

#[path = "../../../kernels/tests/support/emulated.rs"]
mod emulated;
#[path = "../../../kernels/tests/support/own_program.rs"]
mod own_program;

pub use emulated::emulated;
pub use own_program::own_program;
use std::path::{Path, PathBuf};

/// An empty folder for one test, removed when it passed.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Gives the requests to end their usual effect, in this process and so in its children: under `nohup`, and in the background of a
/// script, programs start with some of them ignored.
#[cfg(unix)]
pub fn requests_to_end_are_obeyed() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: SIG_DFL is valid for each of these.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Every file below a folder, relative to it, sorted.
pub fn files(folder: &Path) -> Vec<String> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                found.push(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}

pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn header(version: u32, tensors: u64, keys: u64) -> Writer {
        let mut w = Writer(b"GGUF".to_vec());
        w.u32(version).u64(tensors).u64(keys);
        w
    }

    pub fn u32(&mut self, n: u32) -> &mut Self {
        self.0.extend(n.to_le_bytes());
        self
    }

    pub fn u64(&mut self, n: u64) -> &mut Self {
        self.0.extend(n.to_le_bytes());
        self
    }

    pub fn string(&mut self, s: &str) -> &mut Self {
        self.u64(s.len() as u64);
        self.0.extend(s.as_bytes());
        self
    }

    /// A u32 key.
    pub fn key(&mut self, name: &str, value: u32) -> &mut Self {
        self.string(name).u32(4).u32(value)
    }

    pub fn tensor(&mut self, name: &str, shape: &[u64], ggml_type: u32, offset: u64) -> &mut Self {
        self.string(name).u32(shape.len() as u32);
        for d in shape {
            self.u64(*d);
        }
        self.u32(ggml_type).u64(offset)
    }

    /// The file, with `data` bytes of `fill` after the header.
    pub fn finish(&mut self, data: usize, fill: u8) -> Vec<u8> {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start, 0);
        self.0.resize(start + data, fill);
        self.0.clone()
    }
}

/// Two tensors (64 x 2 F32 at 0, 64 x 2 Q4_0 at 512) and three keys.
pub fn small_model() -> Vec<u8> {
    let mut w = Writer::header(3, 2, 3);
    w.string("general.architecture").u32(8).string("llama");
    w.key("llama.block_count", 2);
    w.string("tokenizer.ggml.tokens").u32(9).u32(8).u64(2).string("a").string("b");
    w.tensor("a.weight", &[64, 2], 0, 0).tensor("b.weight", &[64, 2], 2, 512);
    w.finish(512 + 72, 7)
}

/// `GGUF` and then `n` bytes that do not compress.
pub fn noise(n: usize) -> Vec<u8> {
    let mut state = 42u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    b"GGUF".iter().copied().chain((0..n).map(|_| next())).collect()
}
