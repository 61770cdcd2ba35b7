//! Which type each tensor gets.

use super::plan::Tensor;
use kinglet_kernels::Format;
use std::fmt;
use std::str::FromStr;

/// A type of file, as `--type` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileType(&'static Row);

/// Name, `general.file_type`, and the matrices' format.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    name: &'static str,
    number: u32,
    format: Format,
}

const fn row(name: &'static str, number: u32, format: Format) -> Row {
    Row { name, number, format }
}

const TYPES: &[Row] = &[
    row("F32", 0, Format::F32),
    row("F16", 1, Format::F16),
    row("BF16", 32, Format::BF16),
    row("Q8_0", 7, Format::Q8_0),
];

impl FileType {
    /// The names of all.
    pub fn names() -> Vec<&'static str> {
        TYPES.iter().map(|t| t.name).collect()
    }

    pub(super) fn number(self) -> u32 {
        self.0.number
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl FromStr for FileType {
    type Err = String;

    fn from_str(name: &str) -> Result<FileType, String> {
        let found = TYPES.iter().find(|t| t.name.eq_ignore_ascii_case(name)).map(FileType);
        found.ok_or_else(|| format!("`{name}` is not one of {}", FileType::names().join(", ")))
    }
}

/// The format of each tensor. Vectors, norms and positions stay F32; a row that does not fill blocks becomes F16.
pub(super) fn choose(file_type: FileType, tensors: &[Tensor]) -> Result<Vec<Format>, String> {
    let of = |t: &Tensor| {
        let plain = t.shape.len() < 2 || t.name.ends_with("_norm.weight") || t.name == "position_embd.weight";
        let format = if plain { Format::F32 } else { file_type.0.format };
        if format.row_bytes(t.cols()).is_some() { format } else { Format::F16 }
    };
    Ok(tensors.iter().map(of).collect())
}

/// Encodes a row; `out` has [`Format::row_bytes`].
///
/// # Errors
/// When a value cannot be written.
pub(super) fn encode(format: Format, row: &[f32], out: &mut [u8]) -> Result<(), String> {
    let limit = if format == Format::F16 { 65504.0 } else { f32::MAX };
    if let Some(bad) = row.iter().find(|x| x.is_nan() || x.abs() > limit) {
        return Err(match bad.is_finite() {
            true => format!("holds {bad}, which F16 cannot; use BF16 or F32"),
            false => format!("holds {bad}; the checkpoint is damaged"),
        });
    }
    match kinglet_kernels::format::encode_row(format, row, out) {
        true => Ok(()),
        false => Err(format!("of {} values a row cannot be written as {format}", row.len())),
    }
}
