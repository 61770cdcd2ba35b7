//! The header of one file: keys and tensor descriptions, each checked against the file's length.

use super::cursor::Cursor;
use super::value::{Kind, Value};
use super::{TensorInfo, ValueAt};
use kinglet_kernels::Format;

/// Metadata keys a file may have at most; known files have under 100.
const MAX_KEYS: u64 = 1 << 16;
/// Tensors a file may have at most; the largest known models have a few thousand.
const MAX_TENSORS: u64 = 1 << 20;

pub(super) struct Header {
    pub(super) version: u32,
    pub(super) keys: Vec<(String, ValueAt)>,
    pub(super) tensors: Vec<TensorInfo>,
}

pub(super) fn read_header(bytes: &[u8]) -> Result<Header, String> {
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
        tensors.push(TensorInfo { name: name.to_owned(), shape, ggml_type, format, shard: 0, offset, bytes });
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
