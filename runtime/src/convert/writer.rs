//! GGUF v3, written from front to back. Format: `docs/gguf.md` of ggml.

use kinglet_kernels::Format;
use std::io::{self, Write};

/// Data of each tensor begins at a multiple of this.
const ALIGNMENT: u64 = 32;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    U32s(Vec<u32>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
    /// Strings, which old files have that are no UTF-8.
    Texts(Vec<Vec<u8>>),
}

/// A GGUF file in the making: all keys and tensors first, then [`Writer::begin`], then the data in the same order.
pub(super) struct Writer<'w> {
    out: &'w mut dyn Write,
    keys: Vec<u8>,
    n_keys: u64,
    infos: Vec<u8>,
    n_tensors: u64,
    /// Where the next tensor begins, from the start of the data.
    offset: u64,
    written: u64,
}

fn text(out: &mut Vec<u8>, s: &[u8]) {
    out.extend((s.len() as u64).to_le_bytes());
    out.extend(s);
}

fn array<T>(out: &mut Vec<u8>, kind: u32, items: &[T], mut each: impl FnMut(&mut Vec<u8>, &T)) {
    out.extend(9u32.to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend((items.len() as u64).to_le_bytes());
    items.iter().for_each(|item| each(out, item));
}

impl<'w> Writer<'w> {
    pub(super) fn new(out: &'w mut dyn Write) -> Writer<'w> {
        Writer { out, keys: Vec::new(), n_keys: 0, infos: Vec::new(), n_tensors: 0, offset: 0, written: 0 }
    }

    pub(super) fn key(&mut self, key: String, value: Value) {
        let out = &mut self.keys;
        self.n_keys += 1;
        text(out, key.as_bytes());
        let scalar = |out: &mut Vec<u8>, kind: u32, bytes: &[u8]| {
            out.extend(kind.to_le_bytes());
            out.extend(bytes);
        };
        match value {
            Value::U32(x) => scalar(out, 4, &x.to_le_bytes()),
            Value::F32(x) => scalar(out, 6, &x.to_le_bytes()),
            Value::Bool(x) => scalar(out, 7, &[u8::from(x)]),
            Value::Text(s) => {
                out.extend(8u32.to_le_bytes());
                text(out, s.as_bytes());
            }
            Value::U32s(items) => array(out, 4, &items, |out, x| out.extend(x.to_le_bytes())),
            Value::I32s(items) => array(out, 5, &items, |out, x| out.extend(x.to_le_bytes())),
            Value::F32s(items) => array(out, 6, &items, |out, x| out.extend(x.to_le_bytes())),
            Value::Texts(items) => array(out, 8, &items, |out, s| text(out, s)),
        }
    }

    /// Announces a tensor; `shape` as in PyTorch, the contiguous dimension last.
    pub(super) fn tensor(&mut self, name: &str, shape: &[usize], format: Format) -> Result<(), String> {
        let too_large = || format!("tensor `{name}` of {shape:?} is too large");
        let rows = shape.iter().rev().skip(1).try_fold(1usize, |n, d| n.checked_mul(*d));
        let row = shape.last().and_then(|cols| format.row_bytes(*cols));
        let bytes = rows.zip(row).and_then(|(rows, row)| rows.checked_mul(row)).ok_or_else(too_large)? as u64;
        text(&mut self.infos, name.as_bytes());
        self.infos.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|d| self.infos.extend((*d as u64).to_le_bytes()));
        self.infos.extend((format as u32).to_le_bytes());
        self.infos.extend(self.offset.to_le_bytes());
        self.n_tensors += 1;
        self.offset = self
            .offset
            .checked_add(bytes)
            .and_then(|end| end.checked_next_multiple_of(ALIGNMENT))
            .ok_or_else(too_large)?;
        Ok(())
    }

    /// Writes all that comes before the data; the bytes that the whole file will have.
    pub(super) fn begin(&mut self) -> io::Result<u64> {
        let mut head = b"GGUF".to_vec();
        head.extend(3u32.to_le_bytes());
        head.extend(self.n_tensors.to_le_bytes());
        head.extend(self.n_keys.to_le_bytes());
        head.append(&mut self.keys);
        head.append(&mut self.infos);
        head.resize(head.len().next_multiple_of(ALIGNMENT as usize), 0);
        self.data(&head)?;
        Ok(self.written + self.offset)
    }

    /// Further bytes of the tensor whose turn it is.
    pub(super) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// The tensor is complete.
    pub(super) fn end_tensor(&mut self) -> io::Result<()> {
        let padding = self.written.next_multiple_of(ALIGNMENT) - self.written;
        let zeros = [0; ALIGNMENT as usize];
        self.data(zeros.get(..padding as usize).unwrap_or(&[]))
    }

    /// Bytes so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }
}
