//! Metadata values, borrowed from the mapping.

use super::cursor::Cursor;

/// One metadata value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// An unsigned integer of any width.
    Uint(u64),
    /// A signed integer of any width.
    Int(i64),
    /// f32 or f64.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A UTF-8 string.
    Str(&'a str),
    /// An array, decoded as it is walked.
    Array(Array<'a>),
}

/// GGUF's value types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are GGUF's")]
#[repr(u32)]
pub enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Str,
    Array,
    U64,
    I64,
    F64,
}

impl Kind {
    pub(super) fn from_u32(id: u32) -> Option<Kind> {
        use Kind::*;
        let all = [U8, I8, U16, I16, U32, I32, F32, Bool, Str, Array, U64, I64, F64];
        all.get(id as usize).copied()
    }

    /// Bytes of a value, where they are fixed.
    pub(super) fn size(self) -> Option<usize> {
        match self {
            Kind::U8 | Kind::I8 | Kind::Bool => Some(1),
            Kind::U16 | Kind::I16 => Some(2),
            Kind::U32 | Kind::I32 | Kind::F32 => Some(4),
            Kind::U64 | Kind::I64 | Kind::F64 => Some(8),
            Kind::Str | Kind::Array => None,
        }
    }
}

/// An array whose elements have been checked to lie within the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Array<'a> {
    /// Type of the elements.
    pub kind: Kind,
    /// Number of elements.
    pub len: usize,
    pub(super) bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// The elements in order. A string that is not UTF-8 is skipped here; see [`Array::strings`] for its bytes.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let mut cursor = Cursor::new(self.bytes);
        let (kind, len) = (self.kind, self.len);
        (0..len).filter_map(move |_| cursor.value(kind, 0).ok())
    }

    /// The elements as they lie in the file, little-endian: `len` times the element's size for kinds of a fixed size.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of each string of an array of strings (nothing for other arrays).
    pub fn strings(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut cursor = Cursor::new(self.bytes);
        let len = if self.kind == Kind::Str { self.len } else { 0 };
        (0..len).map_while(move |_| cursor.bytes_with_len().ok())
    }
}
