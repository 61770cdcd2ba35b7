//! GGUF, read where it lies: a walk over the mapping that checks everything once, and copies nothing but names.
//!
//! Untrusted input ends here. After [`Gguf::open`] every key, length, offset and shape lies within the file, tensors do
//! not overlap, and nothing needs to be checked again. Format: `docs/gguf.md` of ggml.

mod cursor;
mod error;
mod value;

pub use error::GgufError;
pub use value::{Array, Kind, Value};

use cursor::Cursor;
use kinglet_kernels::Format;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

/// Metadata keys a file may have at most; known files have under 100.
const MAX_KEYS: u64 = 1 << 16;
/// Tensors a file may have at most; the largest known models have a few thousand.
const MAX_TENSORS: u64 = 1 << 20;

/// Bytes of a model: a mapping of its file, or memory.
#[derive(Debug)]
enum Bytes {
    Map(memmap2::Mmap),
    Memory(Vec<u8>),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Map(map) => map,
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
    /// First byte, from the start of the file.
    pub offset: usize,
    /// Length in bytes; 0 for an unknown type.
    pub bytes: usize,
}

/// An opened GGUF file.
#[derive(Debug)]
pub struct Gguf {
    bytes: Bytes,
    file: String,
    version: u32,
    keys: Vec<(String, ValueAt)>,
    index: HashMap<String, usize>,
    tensors: Vec<TensorInfo>,
    tensor_index: HashMap<String, usize>,
}

impl Gguf {
    /// Maps and checks the file at `path`.
    ///
    /// # Errors
    /// [`GgufError`] names the file and the first thing that is wrong.
    pub fn open(path: &Path) -> Result<Gguf, GgufError> {
        let file = path.display().to_string();
        let fail = |what: String| GgufError { file: file.clone(), what };
        let handle = File::open(path).map_err(|e| fail(format!("cannot open: {e}")))?;
        let meta = handle.metadata().map_err(|e| fail(format!("cannot open: {e}")))?;
        if !meta.is_file() {
            return Err(fail("not a file".to_owned()));
        }
        // SAFETY: the mapping is read-only and only ever seen as bytes. Another process that shortens the file can still
        // end this one; nothing a reader does can prevent that.
        let map = unsafe { memmap2::Mmap::map(&handle) }.map_err(|e| fail(format!("cannot map: {e}")))?;
        Gguf::parse(Bytes::Map(map), file)
    }

    /// Checks a file that is in memory already.
    ///
    /// # Errors
    /// As [`Gguf::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Gguf, GgufError> {
        Gguf::parse(Bytes::Memory(bytes), "<memory>".to_owned())
    }

    fn parse(bytes: Bytes, file: String) -> Result<Gguf, GgufError> {
        let header = read_header(&bytes).map_err(|what| GgufError { file: file.clone(), what })?;
        let Header { version, keys, tensors } = header;
        let index = keys.iter().enumerate().map(|(i, (k, _))| (k.clone(), i)).collect();
        let tensor_index = tensors.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect();
        Ok(Gguf { bytes, file, version, keys, index, tensors, tensor_index })
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
        Cursor::new(self.bytes.get(at.offset..)?).value(at.kind, 0).ok()
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

    /// Every tensor, in file order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(*self.tensor_index.get(name)?)
    }

    /// The bytes of a tensor of this file (empty for one of another file).
    pub fn data(&self, tensor: &TensorInfo) -> &[u8] {
        self.bytes.get(tensor.offset..tensor.offset.saturating_add(tensor.bytes)).unwrap_or(&[])
    }
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

struct Header {
    version: u32,
    keys: Vec<(String, ValueAt)>,
    tensors: Vec<TensorInfo>,
}

fn read_header(bytes: &[u8]) -> Result<Header, String> {
    let mut c = Cursor::new(bytes);
    if c.take(4).ok() != Some(b"GGUF") {
        return Err("not a GGUF file (it does not begin with `GGUF`)".to_owned());
    }
    let version = c.u32()?;
    match version {
        2 | 3 => {}
        1 => return Err("GGUF version 1 is too old; convert the model again".to_owned()),
        v if v.swap_bytes() <= 3 => {
            return Err("a big-endian GGUF file; convert it to little-endian".to_owned());
        }
        v => return Err(format!("GGUF version {v} is not known (2 and 3 are)")),
    }
    let (n_tensors, n_keys) = (c.u64()?, c.u64()?);
    for (what, n, most) in [("tensors", n_tensors, MAX_TENSORS), ("keys", n_keys, MAX_KEYS)] {
        // The shortest key or tensor takes more than 12 bytes.
        if n > most || n > (c.left() / 12) as u64 {
            return Err(format!("the header announces {n} {what}, more than the file can hold"));
        }
    }
    let keys = read_keys(&mut c, n_keys)?;
    let alignment = match keys.iter().find(|(k, _)| k == "general.alignment") {
        None => 32,
        Some((_, at)) => match Cursor::new(&bytes[at.offset..]).value(at.kind, 0)? {
            Value::Uint(n) if n.is_power_of_two() && n <= 1 << 20 => n,
            other => return Err(format!("key `general.alignment` is {other:?}, not a power of two")),
        },
    };
    let tensors = read_tensors(&mut c, n_tensors, alignment, bytes.len())?;
    Ok(Header { version, keys, tensors })
}

fn read_keys(c: &mut Cursor<'_>, n: u64) -> Result<Vec<(String, ValueAt)>, String> {
    let mut keys: Vec<(String, ValueAt)> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for i in 0..n {
        let key = c.string().map_err(|e| format!("key {i}: {e}"))?;
        let fail = |e: String| format!("key `{key}`: {e}");
        let kind = c.u32().map_err(fail)?;
        let kind = Kind::from_u32(kind).ok_or_else(|| fail(format!("unknown value type {kind}")))?;
        let offset = c.position();
        c.value(kind, 0).map_err(fail)?;
        if !seen.insert(key) {
            return Err(fail("it appears twice".to_owned()));
        }
        keys.push((key.to_owned(), ValueAt { kind, offset }));
    }
    Ok(keys)
}

fn read_tensors(c: &mut Cursor<'_>, n: u64, alignment: u64, len: usize) -> Result<Vec<TensorInfo>, String> {
    let mut tensors = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for i in 0..n {
        let name = c.string().map_err(|e| format!("tensor {i}: {e}"))?;
        let fail = |e: String| format!("tensor `{name}`: {e}");
        let n_dims = c.u32().map_err(fail)?;
        if !(1..=4).contains(&n_dims) {
            return Err(fail(format!("it has {n_dims} dimensions, not 1 to 4")));
        }
        let shape = (0..n_dims).map(|_| c.u64()).collect::<Result<Vec<u64>, _>>().map_err(fail)?;
        let (ggml_type, offset) = (c.u32().map_err(fail)?, c.u64().map_err(fail)?);
        if offset % alignment != 0 {
            return Err(fail(format!("its offset {offset} is not a multiple of {alignment}")));
        }
        if !seen.insert(name) {
            return Err(fail("it appears twice".to_owned()));
        }
        let format = Format::from_ggml(ggml_type);
        let bytes = match format {
            None => 0,
            Some(format) => tensor_bytes(format, &shape).map_err(fail)?,
        };
        let offset = usize::try_from(offset).map_err(|e| fail(e.to_string()))?;
        tensors.push(TensorInfo { name: name.to_owned(), shape, ggml_type, format, offset, bytes });
    }
    // Offsets count from the first aligned byte after the header.
    let start = (c.position() as u64).next_multiple_of(alignment);
    let start = usize::try_from(start).map_err(|e| e.to_string())?;
    for t in &mut tensors {
        let end = start.checked_add(t.offset).and_then(|o| o.checked_add(t.bytes));
        match end {
            Some(end) if end <= len => t.offset += start,
            _ => {
                return Err(format!(
                    "tensor `{}` lies past the end of the file; it is truncated, download it again",
                    t.name
                ));
            }
        }
    }
    let mut by_offset: Vec<&TensorInfo> = tensors.iter().filter(|t| t.bytes > 0).collect();
    by_offset.sort_by_key(|t| t.offset);
    if let Some(w) = by_offset.windows(2).find(|w| w[0].offset + w[0].bytes > w[1].offset) {
        return Err(format!("tensors `{}` and `{}` overlap", w[0].name, w[1].name));
    }
    Ok(tensors)
}

fn tensor_bytes(format: Format, shape: &[u64]) -> Result<usize, String> {
    let too_large = || format!("its shape {shape:?} is impossibly large");
    let dims: Option<Vec<usize>> = shape.iter().map(|d| usize::try_from(*d).ok()).collect();
    let dims = dims.ok_or_else(too_large)?;
    if dims.contains(&0) {
        return Err(format!("its shape {shape:?} has a zero"));
    }
    if !dims[0].is_multiple_of(format.block_len()) {
        return Err(format!("its rows of {} are not a whole number of {format} blocks", dims[0]));
    }
    let row = format.row_bytes(dims[0]).ok_or_else(too_large)?;
    dims[1..].iter().try_fold(row, |n, d| n.checked_mul(*d)).ok_or_else(too_large)
}
