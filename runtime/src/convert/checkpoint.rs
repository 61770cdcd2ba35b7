//! Safetensors, mapped: one file, or several with an index. Everything is checked when it is opened, so that reading cannot fail.
//!
//! Format: eight bytes of length, a JSON object of that length (`name: {dtype, shape, data_offsets}`), then the data.

use super::config::read_json;
use crate::gguf::truncation::Registration;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The longest header, as in the format's own library.
const MAX_HEADER: u64 = 100_000_000;
/// Further dimensions are a mistake.
const MAX_DIMS: usize = 8;

/// How values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dtype {
    F16,
    Bf16,
    F32,
    F64,
}

impl Dtype {
    fn of(name: &str) -> Option<Dtype> {
        match name {
            "F16" => Some(Dtype::F16),
            "BF16" => Some(Dtype::Bf16),
            "F32" => Some(Dtype::F32),
            "F64" => Some(Dtype::F64),
            _ => None,
        }
    }

    fn size(self) -> usize {
        match self {
            Dtype::F16 | Dtype::Bf16 => 2,
            Dtype::F32 => 4,
            Dtype::F64 => 8,
        }
    }
}

/// A tensor of the checkpoint.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Dimensions as PyTorch has them, the contiguous one last.
    pub shape: Vec<usize>,
    /// `None` for a type that is no plain float.
    dtype: Option<Dtype>,
    dtype_name: String,
    shard: usize,
    start: usize,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    /// Dropped first: the table never names a range that is no longer mapped.
    #[allow(dead_code, reason = "held while the mapping lives")]
    registration: Registration,
    map: memmap2::Mmap,
}

/// All tensors of a checkpoint.
#[derive(Debug)]
pub(super) struct Checkpoint {
    shards: Vec<Shard>,
    tensors: BTreeMap<String, Entry>,
    folder: String,
}

impl Checkpoint {
    pub(super) fn open(folder: &Path) -> Result<Checkpoint, String> {
        let mut all =
            Checkpoint { shards: Vec::new(), tensors: BTreeMap::new(), folder: folder.display().to_string() };
        let index = folder.join("model.safetensors.index.json");
        if folder.join("model.safetensors").exists() {
            all.add(&folder.join("model.safetensors"))?;
        } else if index.exists() {
            all.add_indexed(folder, &index)?;
        } else {
            for file in safetensors_files(folder)? {
                all.add(&file)?;
            }
        }
        Ok(all)
    }

    fn add_indexed(&mut self, folder: &Path, index: &Path) -> Result<(), String> {
        let fail = |what: String| format!("{}: {what}", index.display());
        let json = read_json(index)?;
        let Some(map) = json.get("weight_map").and_then(Value::as_object) else {
            return Err(fail("key `weight_map` is missing or not an object".to_owned()));
        };
        let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (tensor, file) in map {
            let file = file.as_str().unwrap_or_default();
            // Only files beside the index: a checkpoint must not reach elsewhere.
            let plain = !file.contains(['/', '\\', '\0']) && file.ends_with(".safetensors");
            if !plain {
                return Err(fail(format!(
                    "tensor `{tensor}` is in `{file}`, which is no safetensors file beside it"
                )));
            }
            files.entry(file).or_default().push(tensor);
        }
        for (file, tensors) in files {
            let path = folder.join(file);
            if !path.exists() {
                return Err(fail(format!("the file `{file}` that it names is missing")));
            }
            self.add(&path)?;
            let shard = self.shards.len() - 1;
            let missing = tensors.iter().find(|t| self.tensors.get(**t).is_none_or(|e| e.shard != shard));
            if let Some(tensor) = missing {
                return Err(fail(format!("tensor `{tensor}` is not in `{file}`, where it should be")));
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path) -> Result<(), String> {
        let fail = |what: String| format!("{}: {what}", path.display());
        let io = |e: std::io::Error| fail(e.to_string());
        let meta = path.metadata().map_err(io)?;
        if !meta.is_file() {
            return Err(fail("it is not a regular file, which is what can be mapped".to_owned()));
        }
        if meta.len() < 8 {
            return Err(fail(format!("it has {} bytes; it is no safetensors file", meta.len())));
        }
        let file = File::open(path).map_err(io)?;
        // SAFETY: the mapping is read-only and only ever seen as bytes. Another process that shortens the file raises SIGBUS in
        // this one, which `gguf::truncation` turns into a message; nothing a reader does can prevent that.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
        let registration = Registration::new(&map, path);
        let entries = header(&map, self.shards.len()).map_err(fail)?;
        for (name, entry) in entries {
            if let Some(other) = self.tensors.insert(name.clone(), entry) {
                let other = self.shards.get(other.shard).map(|s| s.path.display().to_string());
                return Err(fail(format!("tensor `{name}` is in {} too", other.unwrap_or_default())));
            }
        }
        self.shards.push(Shard { path: path.to_owned(), registration, map });
        Ok(())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.tensors.get(name)
    }

    /// A tensor that must be there, of a type that can be converted.
    pub(super) fn need(&self, name: &str) -> Result<&Entry, String> {
        let Some(entry) = self.get(name) else {
            return Err(format!("{}: tensor `{name}` is missing from the checkpoint", self.folder));
        };
        if entry.dtype.is_none() {
            let dtype = &entry.dtype_name;
            return Err(format!(
                "{}: tensor `{name}` is stored as {dtype}; F32, F16, BF16 and F64 can be converted, so use a checkpoint that is not quantized",
                self.folder
            ));
        }
        Ok(entry)
    }

    /// Values `first`, `first + step`, … of a tensor; zeros past its end or for another checkpoint's tensor, which
    /// [`super::plan`] rules out.
    pub(super) fn read(&self, entry: &Entry, first: usize, step: usize, out: &mut [f32]) {
        let Some(dtype) = entry.dtype else { return };
        let data = self.shards.get(entry.shard).and_then(|s| s.map.get(entry.start..)).unwrap_or(&[]);
        let data = data.get(first.saturating_mul(dtype.size())..).unwrap_or(&[]);
        match dtype {
            Dtype::F16 => each(data, step, out, |b| half::f16::from_le_bytes(b).to_f32()),
            Dtype::Bf16 => each(data, step, out, |b| half::bf16::from_le_bytes(b).to_f32()),
            Dtype::F32 => each(data, step, out, f32::from_le_bytes),
            Dtype::F64 => each(data, step, out, |b| f64::from_le_bytes(b) as f32),
        }
    }
}

fn each<const N: usize>(data: &[u8], step: usize, out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    let values = data.as_chunks::<N>().0.iter().step_by(step.max(1));
    out.iter_mut().zip(values).for_each(|(o, b)| *o = value(*b));
}

/// Every `.safetensors` file, when nothing else says which belong together.
fn safetensors_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let fail = |e: std::io::Error| format!("{}: {e}", folder.display());
    let entries = std::fs::read_dir(folder).map_err(fail)?;
    let paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    let with = |ext: &str| paths.iter().filter(|p| p.extension() == Some(ext.as_ref())).cloned().collect();
    let mut files: Vec<PathBuf> = with("safetensors");
    files.sort();
    if !files.is_empty() {
        return Ok(files);
    }
    let pickled: Vec<PathBuf> = [with("bin"), with("pt"), with("pth")].concat();
    Err(match pickled.first().and_then(|p| p.file_name()) {
        Some(name) => format!(
            "{}: the weights are a pickle (`{}`), which can run code and is not read; save the model again with \
             transformers' `save_pretrained`, which writes safetensors",
            folder.display(),
            name.to_string_lossy()
        ),
        None => format!("{}: there is no model.safetensors in it, nor an index of several", folder.display()),
    })
}

/// The tensors of one file.
fn header(bytes: &[u8], shard: usize) -> Result<Vec<(String, Entry)>, String> {
    let (length, rest) = bytes.split_first_chunk().ok_or("it is no safetensors file")?;
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER {
        return Err(format!("its header would have {length} bytes; it is no safetensors file, or damaged"));
    }
    let json = rest.get(..length as usize).ok_or_else(|| {
        format!("its header has {length} bytes, and the file ends after {}; it is cut short", rest.len())
    })?;
    let data_start = 8 + json.len();
    let data_len = bytes.len() - data_start;
    let json: Value = serde_json::from_slice(json).map_err(|e| format!("its header is not JSON: {e}"))?;
    let map = json.as_object().ok_or("its header is not a JSON object")?;
    let mut entries = Vec::with_capacity(map.len());
    let mut ranges = Vec::with_capacity(map.len());
    for (name, value) in map.iter().filter(|(name, _)| *name != "__metadata__") {
        let (entry, start, end) = entry(value, shard).map_err(|what| format!("tensor `{name}` {what}"))?;
        if end > data_len {
            return Err(format!("tensor `{name}` ends at byte {end} of {data_len}; the file is cut short"));
        }
        ranges.push((start, end, name));
        entries.push((name.clone(), Entry { start: data_start + start, ..entry }));
    }
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        if let [(_, end, first), (start, _, second)] = pair
            && start < end
        {
            return Err(format!("tensors `{first}` and `{second}` overlap"));
        }
    }
    Ok(entries)
}

fn entry(value: &Value, shard: usize) -> Result<(Entry, usize, usize), String> {
    let uint = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok());
    let list = |key: &str| -> Option<Vec<usize>> { value.get(key)?.as_array()?.iter().map(uint).collect() };
    let dtype_name = value.get("dtype").and_then(Value::as_str).ok_or("has no `dtype`")?.to_owned();
    let shape = list("shape").filter(|s| s.len() <= MAX_DIMS).ok_or("has no `shape` of at most 8 sizes")?;
    let offsets = list("data_offsets").unwrap_or_default();
    let [start, end] = offsets[..] else { return Err("has no two `data_offsets`".to_owned()) };
    let stored = end.checked_sub(start).ok_or("ends before it begins")?;
    let dtype = Dtype::of(&dtype_name);
    if let Some(dtype) = dtype {
        let bytes = shape.iter().try_fold(dtype.size(), |n, d| n.checked_mul(*d));
        if bytes != Some(stored) {
            return Err(format!("has the shape {shape:?} of {dtype_name}, and {stored} bytes"));
        }
    }
    Ok((Entry { shape, dtype, dtype_name, shard, start }, start, end))
}
