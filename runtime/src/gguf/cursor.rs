//! A bounds-checked walk over bytes. Every length is compared with what is left before it is used.

use super::value::{Array, Kind, Value};

/// How deep arrays of arrays may nest.
const MAX_NESTING: u32 = 64;

#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

type Result<T> = std::result::Result<T, String>;

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn take(&mut self, n: u64) -> Result<&'a [u8]> {
        let left = self.left();
        let n = usize::try_from(n).ok().filter(|n| *n <= left).ok_or_else(|| {
            format!("{n} bytes are wanted at byte {}, and only {left} are left (truncated?)", self.at)
        })?;
        let taken = &self.bytes[self.at..self.at + n];
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64)?);
        Ok(out)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn bytes_with_len(&mut self) -> Result<&'a [u8]> {
        let len = self.u64()?;
        self.take(len)
    }

    pub(super) fn string(&mut self) -> Result<&'a str> {
        let bytes = self.bytes_with_len()?;
        std::str::from_utf8(bytes).map_err(|e| format!("a string is not UTF-8: {e}"))
    }

    pub(super) fn value(&mut self, kind: Kind, depth: u32) -> Result<Value<'a>> {
        Ok(match kind {
            Kind::U8 => Value::Uint(u64::from(self.array::<1>()?[0])),
            Kind::I8 => Value::Int(i64::from(self.array::<1>()?[0] as i8)),
            Kind::U16 => Value::Uint(u64::from(u16::from_le_bytes(self.array()?))),
            Kind::I16 => Value::Int(i64::from(i16::from_le_bytes(self.array()?))),
            Kind::U32 => Value::Uint(u64::from(self.u32()?)),
            Kind::I32 => Value::Int(i64::from(i32::from_le_bytes(self.array()?))),
            Kind::U64 => Value::Uint(self.u64()?),
            Kind::I64 => Value::Int(i64::from_le_bytes(self.array()?)),
            Kind::F32 => Value::Float(f64::from(f32::from_le_bytes(self.array()?))),
            Kind::F64 => Value::Float(f64::from_le_bytes(self.array()?)),
            Kind::Bool => match self.array::<1>()?[0] {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return Err(format!("a boolean is {other}")),
            },
            Kind::Str => Value::Str(self.string()?),
            Kind::Array => Value::Array(self.array_value(depth)?),
        })
    }

    fn array_value(&mut self, depth: u32) -> Result<Array<'a>> {
        if depth >= MAX_NESTING {
            return Err(format!("arrays nest deeper than {MAX_NESTING}"));
        }
        let kind = self.u32()?;
        let kind = Kind::from_u32(kind).ok_or_else(|| format!("unknown value type {kind} in an array"))?;
        let len = self.u64()?;
        let start = self.at;
        match kind.size() {
            Some(size) => {
                let bytes = len.checked_mul(size as u64).ok_or("an array is impossibly long")?;
                self.take(bytes)?;
            }
            // Each element takes at least 8 bytes, so a hostile length ends at the end of the file.
            None => {
                for _ in 0..len {
                    match kind {
                        Kind::Str => drop(self.bytes_with_len()?),
                        _ => drop(self.array_value(depth + 1)?),
                    }
                }
            }
        }
        let len = usize::try_from(len).map_err(|_| "an array is impossibly long")?;
        Ok(Array { kind, len, bytes: &self.bytes[start..self.at] })
    }
}
