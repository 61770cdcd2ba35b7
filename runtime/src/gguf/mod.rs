//! GGUF, read where it lies: a walk over the mapping that checks everything once, and copies nothing but names.
//!
//! Untrusted input ends here. After [`Gguf::open`] every key, length, offset and shape lies within the file, tensors do
//! not overlap, and nothing needs to be checked again. Format: `docs/gguf.md` of ggml.

mod cursor;
mod error;
mod header;
#[cfg(target_os = "linux")]
mod huge_pages;
mod readahead;
pub mod split;
pub mod truncation;
mod value;

pub use error::GgufError;
pub use value::{Array, Kind, Value};

use cursor::Cursor;
use header::{Header, read_header};
use kinglet_kernels::Format;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use truncation::Registration;

/// Bytes of a model: a mapping of its file, or memory.
#[derive(Debug)]
enum Bytes {
    Map(Arc<Mapping>),
    Memory(Vec<u8>),
}

/// A mapped file, for as long as anybody reads it.
#[derive(Debug)]
struct Mapping {
    /// Dropped first: the table never names a range that is no longer mapped.
    #[allow(dead_code, reason = "held while the mapping lives")]
    registration: Registration,
    map: memmap2::Mmap,
    #[cfg(target_os = "linux")]
    file: File,
}

impl std::ops::Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Map(mapping) => &mapping.map,
            Bytes::Memory(bytes) => bytes,
        }
    }
}

/// Where a value lies; decoded again when it is asked for.
#[derive(Debug, Clone, Copy)]
struct ValueAt {
    kind: Kind,
    offset: usize,
}

/// A tensor of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, for instance `blk.0.attn_q.weight`.
    pub name: String,
    /// Dimensions, the contiguous one first, as GGUF stores them.
    pub shape: Vec<u64>,
    /// ggml's type number.
    pub ggml_type: u32,
    /// The format, or `None` for a type that kinglet does not know.
    pub format: Option<Format>,
    /// Which file of the model it lies in, counted from 0; always 0 for a model in one file.
    pub shard: usize,
    /// First byte, from the start of its file.
    pub offset: usize,
    /// Length in bytes; 0 for an unknown type.
    pub bytes: usize,
}

/// An opened GGUF model, of one file or several.
#[derive(Debug)]
pub struct Gguf {
    /// The bytes of each file. Metadata is read from the first alone.
    shards: Vec<Bytes>,
    file: String,
    version: u32,
    keys: Vec<(String, ValueAt)>,
    index: HashMap<String, usize>,
    tensors: Vec<TensorInfo>,
    tensor_index: HashMap<String, usize>,
}

impl Gguf {
    /// Maps and checks the file at `path`, and when it is the first of a split model, all others.
    ///
    /// # Errors
    /// [`GgufError`] names the file and the first thing that is wrong.
    pub fn open(path: &Path) -> Result<Gguf, GgufError> {
        let first = Gguf::parse(map(path)?, path.display().to_string())?;
        let keys = first.split_keys()?;
        if keys.count <= 1 {
            return Ok(first);
        }
        let paths = split::paths(path, keys).map_err(|what| first.error(what))?;
        let mut whole = first;
        for (i, path) in paths.iter().enumerate().skip(1) {
            let bytes = map(path).map_err(|e| match path.try_exists() {
                Ok(false) => GgufError {
                    file: whole.file.clone(),
                    what: format!("file {} of {} is missing: {}", i + 1, keys.count, path.display()),
                },
                _ => e,
            })?;
            let shard = Gguf::parse(bytes, path.display().to_string())?;
            let found = shard.split_keys()?;
            let want = split::Keys { number: i as u64, ..keys };
            if found != want {
                return Err(shard.error(format!(
                    "it does not belong to {}: its split keys are {found:?}, not {want:?}",
                    whole.file
                )));
            }
            whole.append(shard)?;
        }
        if let Some(want) = keys.tensors.filter(|n| *n != whole.tensors.len() as u64) {
            let have = whole.tensors.len();
            return Err(
                whole.error(format!("`split.tensors.count` is {want}, and the files have {have} tensors"))
            );
        }
        Ok(whole)
    }

    /// Checks a file that is in memory already. A split model can only be opened by its path.
    ///
    /// # Errors
    /// As [`Gguf::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Gguf, GgufError> {
        let gguf = Gguf::parse(Bytes::Memory(bytes), "<memory>".to_owned())?;
        match gguf.split_keys()?.count {
            0 | 1 => Ok(gguf),
            count => Err(gguf.error(format!("it is one of {count} files of a model; open it by its path"))),
        }
    }

    fn parse(bytes: Bytes, file: String) -> Result<Gguf, GgufError> {
        let header = read_header(&bytes).map_err(|what| GgufError { file: file.clone(), what })?;
        let Header { version, keys, tensors } = header;
        let index = keys.iter().enumerate().map(|(i, (k, _))| (k.clone(), i)).collect();
        let tensor_index = tensors.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect();
        Ok(Gguf { shards: vec![bytes], file, version, keys, index, tensors, tensor_index })
    }

    fn split_keys(&self) -> Result<split::Keys, GgufError> {
        let number = self.uint("split.no")?.unwrap_or(0);
        let count = self.uint("split.count")?.unwrap_or(0);
        let tensors = self.uint("split.tensors.count")?;
        if count > 1 && number >= count {
            return Err(self.error(format!("`split.no` is {number}, and `split.count` {count}")));
        }
        Ok(split::Keys { number, count, tensors })
    }

    /// Takes over the bytes and tensors of a further file.
    fn append(&mut self, other: Gguf) -> Result<(), GgufError> {
        let shard = self.shards.len();
        for mut tensor in other.tensors {
            let name = tensor.name.clone();
            tensor.shard = shard;
            if self.tensor_index.insert(name.clone(), self.tensors.len()).is_some() {
                let what = format!("tensor `{name}` is in an earlier file of the model too");
                return Err(GgufError { file: other.file, what });
            }
            self.tensors.push(tensor);
        }
        self.shards.extend(other.shards);
        Ok(())
    }

    fn error(&self, what: String) -> GgufError {
        GgufError { file: self.file.clone(), what }
    }

    /// How many files the model is in.
    pub fn n_files(&self) -> usize {
        self.shards.len()
    }

    /// Bytes of all files together.
    pub fn total_bytes(&self) -> usize {
        self.shards.iter().map(|s| s.len()).sum()
    }

    /// The path, as errors print it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// GGUF version, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Every key with its value, in file order.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.keys.iter().filter_map(|(key, at)| Some((key.as_str(), self.value(*at)?)))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        self.value(self.keys.get(*self.index.get(key)?)?.1)
    }

    fn value(&self, at: ValueAt) -> Option<Value<'_>> {
        Cursor::new(self.shards.first()?.get(at.offset..)?).value(at.kind, 0).ok()
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        want: &str,
        f: impl Fn(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let what = || format!("key `{key}` is not {want}");
        f(value).map(Some).ok_or_else(|| GgufError { file: self.file.clone(), what: what() })
    }

    /// A non-negative integer of any width; `Ok(None)` when the key is absent.
    ///
    /// # Errors
    /// When the key has another type.
    pub fn uint(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.typed(key, "a non-negative integer", as_uint)
    }

    /// A number as f32; `Ok(None)` when the key is absent.
    ///
    /// # Errors
    /// When the key has another type.
    pub fn float(&self, key: &str) -> Result<Option<f32>, GgufError> {
        self.typed(key, "a number", as_float)
    }

    /// A boolean; `Ok(None)` when the key is absent.
    ///
    /// # Errors
    /// When the key has another type.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.typed(key, "a boolean", |v| if let Value::Bool(b) = v { Some(b) } else { None })
    }

    /// A string; `Ok(None)` when the key is absent.
    ///
    /// # Errors
    /// When the key has another type.
    pub fn string(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.typed(key, "a string", |v| if let Value::Str(s) = v { Some(s) } else { None })
    }

    /// An array; `Ok(None)` when the key is absent.
    ///
    /// # Errors
    /// When the key has another type.
    pub fn array(&self, key: &str) -> Result<Option<Array<'_>>, GgufError> {
        self.typed(key, "an array", |v| if let Value::Array(a) = v { Some(a) } else { None })
    }

    /// An array of non-negative integers, or one integer that stands for all.
    ///
    /// # Errors
    /// When the key has another type.
    pub fn uints(&self, key: &str) -> Result<Option<Vec<u64>>, GgufError> {
        self.typed(key, "an integer or an array of integers", |v| match v {
            Value::Array(a) => a.iter().map(as_uint).collect(),
            one => as_uint(one).map(|n| vec![n]),
        })
    }

    /// An array of booleans, or of the integers that stand for them, as integers.
    ///
    /// # Errors
    /// When the key has another type.
    pub fn flags(&self, key: &str) -> Result<Option<Vec<u64>>, GgufError> {
        let flag = |v: Value<'_>| match v {
            Value::Bool(b) => Some(u64::from(b)),
            other => as_uint(other),
        };
        self.typed(key, "an array of booleans", |v| match v {
            Value::Array(a) => a.iter().map(flag).collect(),
            _ => None,
        })
    }

    /// Every tensor, in file order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(*self.tensor_index.get(name)?)
    }

    /// The bytes of a tensor of this model (empty for one of another model).
    pub fn data(&self, tensor: &TensorInfo) -> &[u8] {
        let range = tensor.offset..tensor.offset.saturating_add(tensor.bytes);
        self.shards.get(tensor.shard).and_then(|s| s.get(range)).unwrap_or(&[])
    }
}

/// Maps a file, which must be one.
fn map(path: &Path) -> Result<Bytes, GgufError> {
    let fail = |what: String| GgufError { file: path.display().to_string(), what };
    // Looked at before it is opened: opening a pipe would wait for someone to write to it.
    let meta = std::fs::metadata(path).map_err(|e| fail(format!("cannot open: {e}")))?;
    if meta.is_dir() {
        return Err(fail("it is a folder, not a GGUF file".to_owned()));
    }
    if !meta.is_file() {
        return Err(fail("it is not a regular file, which is what can be mapped".to_owned()));
    }
    if meta.len() == 0 {
        return Err(fail("the file is empty; it is no GGUF file".to_owned()));
    }
    let handle = File::open(path).map_err(|e| fail(format!("cannot open: {e}")))?;
    // SAFETY: the mapping is read-only and only ever seen as bytes. Another process that shortens the file raises SIGBUS
    // in this one, which [`truncation`] turns into a message; nothing a reader does can prevent that.
    let map = unsafe { memmap2::Mmap::map(&handle) }.map_err(|e| fail(format!("cannot map: {e}")))?;
    let registration = Registration::new(&map, path);
    Ok(Bytes::Map(Arc::new(Mapping {
        registration,
        map,
        #[cfg(target_os = "linux")]
        file: handle,
    })))
}

fn as_uint(v: Value<'_>) -> Option<u64> {
    match v {
        Value::Uint(n) => Some(n),
        Value::Int(n) => u64::try_from(n).ok(),
        _ => None,
    }
}

fn as_float(v: Value<'_>) -> Option<f32> {
    match v {
        Value::Float(x) => Some(x as f32),
        Value::Uint(n) => Some(n as f32),
        Value::Int(n) => Some(n as f32),
        _ => None,
    }
}
