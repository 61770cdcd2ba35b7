//! Which type each tensor gets.

use super::plan::Tensor;
use kinglet_kernels::Format;
use kinglet_kernels::format::EncodeError;
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
    mix: Mix,
}

/// Which tensors of the layers get more bits than the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mix {
    /// None.
    Plain,
    /// Values (also where they are one matrix with queries and keys) and what leads out of the feed-forward network, in the first layers.
    Small,
    /// The same in more layers, by more bits.
    Medium,
}

const fn row(name: &'static str, number: u32, format: Format, mix: Mix) -> Row {
    Row { name, number, format, mix }
}

const TYPES: &[Row] = &[
    row("F32", 0, Format::F32, Mix::Plain),
    row("F16", 1, Format::F16, Mix::Plain),
    row("BF16", 32, Format::BF16, Mix::Plain),
    row("Q8_0", 7, Format::Q8_0, Mix::Plain),
    row("Q6_K", 18, Format::Q6_K, Mix::Plain),
    row("Q5_K_M", 17, Format::Q5_K, Mix::Medium),
    row("Q5_K_S", 16, Format::Q5_K, Mix::Small),
    row("Q4_K_M", 15, Format::Q4_K, Mix::Medium),
    row("Q4_K_S", 14, Format::Q4_K, Mix::Small),
    row("IQ4_NL", 25, Format::IQ4_NL, Mix::Plain),
    row("Q5_1", 9, Format::Q5_1, Mix::Plain),
    row("Q5_0", 8, Format::Q5_0, Mix::Plain),
    row("Q4_1", 3, Format::Q4_1, Mix::Plain),
    row("Q4_0", 2, Format::Q4_0, Mix::Plain),
];

/// What llama.cpp calls these mixes too.
const ALIASES: &[(&str, &str)] = &[("Q4_K", "Q4_K_M"), ("Q5_K", "Q5_K_M")];

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
        let alias = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name));
        let name = alias.map_or(name, |(_, whole)| whole);
        let found = TYPES.iter().find(|t| t.name.eq_ignore_ascii_case(name)).map(FileType);
        found.ok_or_else(|| format!("`{name}` is not one of {}", FileType::names().join(", ")))
    }
}

/// The format of each tensor, by llama.cpp's rules without an importance matrix. Vectors, norms and positions stay F32. In a
/// quantized file the output, or the embedding in its place, is finer than the rest, and so are some of the layers' tensors.
///
/// `shared` is how many heads of queries share one of keys.
pub(super) fn choose(file_type: FileType, tensors: &[Tensor], shared: u32) -> Vec<Format> {
    let FileType(Row { format: wanted, mix, .. }) = file_type;
    let (wanted, mix) = (*wanted, *mix);
    let tied = !tensors.iter().any(|t| t.name == "output.weight");
    let n_layers = tensors.iter().filter_map(|t| layer(&t.name)).max().map_or(0, |last| last + 1);
    let of = |t: &Tensor| {
        if t.shape.len() < 2 || t.name.ends_with("_norm.weight") || t.name == "position_embd.weight" {
            return Format::F32;
        }
        let first = |n: usize| layer(&t.name).is_some_and(|i| i < n);
        let more = layer(&t.name).is_some_and(|i| more_bits(i, n_layers));
        let is = |part: &str| t.name.ends_with(part);
        let format = if is("output.weight") && !is("attn_output.weight") || tied && is("token_embd.weight") {
            match wanted {
                Format::F32 | Format::F16 | Format::BF16 | Format::Q8_0 => wanted,
                _ if wanted.row_bytes(t.cols()).is_none() => Format::Q8_0,
                _ => Format::Q6_K,
            }
        } else if is(".attn_v.weight") || is(".attn_qkv.weight") {
            match mix {
                Mix::Medium if more => Format::Q6_K,
                Mix::Small if wanted == Format::Q4_K && first(4) => Format::Q5_K,
                // Of the models with 80 layers and shared values, which cost little there.
                _ if wanted == Format::Q4_K && n_layers == 80 && shared > 1 => Format::Q5_K,
                _ if wanted == Format::IQ4_NL && shared >= 4 => Format::Q5_K,
                _ => wanted,
            }
        } else if is(".ffn_down.weight") {
            match mix {
                Mix::Medium if more => Format::Q6_K,
                Mix::Small if wanted == Format::Q4_K && first(n_layers / 8) => Format::Q5_K,
                _ if wanted == Format::IQ4_NL && first(n_layers / 8) => Format::Q5_K,
                _ => wanted,
            }
        } else {
            wanted
        };
        fitting(format, t.cols())
    };
    tensors.iter().map(of).collect()
}

/// The layer that a tensor belongs to.
fn layer(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

/// The first and last eighth of the layers, and every third between.
fn more_bits(i: usize, n_layers: usize) -> bool {
    let eighth = n_layers / 8;
    i < eighth || i >= 7 * n_layers / 8 || (i - eighth) % 3 == 2
}

/// `format`, or for rows that do not fill its blocks one of smaller blocks and no fewer bits.
fn fitting(format: Format, cols: usize) -> Format {
    let fits = |format: Format| format.row_bytes(cols).is_some();
    let smaller = match format {
        Format::Q4_K => Format::Q5_0,
        Format::Q5_K => Format::Q5_1,
        Format::Q6_K => Format::Q8_0,
        _ => format,
    };
    if fits(format) {
        format
    } else if fits(smaller) {
        smaller
    } else {
        Format::F16
    }
}

/// Encodes a row; `out` has [`Format::row_bytes`].
///
/// # Errors
/// When a value cannot be written.
pub(super) fn encode(format: Format, row: &[f32], out: &mut [u8]) -> Result<(), String> {
    kinglet_kernels::format::encode_row(format, row, out).map_err(|e| match e {
        EncodeError::TooLarge { value, .. } => {
            format!("holds {value}, and {format} no value beyond 65504; use --type BF16 or F32")
        }
        EncodeError::NotFinite { value, .. } => format!("holds {value}; the checkpoint is damaged"),
        other => format!("cannot be written as {format}: {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_with_more_bits() {
        let of = |n: usize| (0..n).filter(|i| more_bits(*i, n)).collect::<Vec<_>>();
        assert_eq!(of(24), [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23]);
        assert_eq!(of(2), [1]);
    }

    #[test]
    fn rows_that_do_not_fill_blocks() {
        for (format, cols, want) in [
            (Format::Q4_K, 512, Format::Q4_K),
            (Format::Q4_K, 96, Format::Q5_0),
            (Format::Q5_K, 96, Format::Q5_1),
            (Format::Q6_K, 96, Format::Q8_0),
            (Format::IQ4_NL, 96, Format::IQ4_NL),
            (Format::Q6_K, 90, Format::F16),
            (Format::Q4_0, 90, Format::F16),
            (Format::BF16, 90, Format::BF16),
        ] {
            assert_eq!(fitting(format, cols), want, "{format} {cols}");
        }
    }
}
