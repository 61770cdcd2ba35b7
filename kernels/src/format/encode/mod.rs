//! From f32 to what a file stores: the smallest squared error that a bounded search finds, not speed, is the aim.
//!
//! All arithmetic is IEEE 754 binary32 in a fixed order, without fma and without functions of a C library, so that a file
//! comes out the same on every CPU. Each format's error against llama.cpp's: `bench/peers/quantize.py`.

mod iq4_nl;
mod k;
mod minmax;
mod q6_k;
mod search;
mod symmetric;

use super::Format;
use std::fmt;

/// The largest magnitude that can be encoded where values or scales are stored as f16.
pub const MAX_F16: f32 = 65504.0;

/// Why a row could not be encoded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EncodeError {
    /// [`encodes`] says no.
    Format(Format),
    /// The row is not a whole number of blocks, or the output has another length than [`Format::row_bytes`].
    Length,
    /// A value that is not finite.
    NotFinite {
        /// Which of the row.
        at: usize,
        /// The value.
        value: f32,
    },
    /// A value beyond [`MAX_F16`], of a format whose values or scales are f16.
    TooLarge {
        /// Which of the row.
        at: usize,
        /// The value.
        value: f32,
    },
    /// The thread flushes denormals to zero or rounds other than to nearest: see [`Error::FloatEnvironment`](crate::Error).
    FloatEnvironment,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::Format(format) => write!(f, "{format} cannot be written"),
            EncodeError::Length => {
                f.write_str("the row and the output do not have the length of whole blocks")
            }
            EncodeError::NotFinite { at, value } => write!(f, "value {at} is {value}"),
            EncodeError::TooLarge { at, value } => write!(f, "value {at} is {value}, more than f16 holds"),
            EncodeError::FloatEnvironment => f.write_str(
                "this thread flushes denormals to zero or rounds other than to nearest; reset it around calls",
            ),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Whether [`encode_row`] can write `format`.
pub const fn encodes(format: Format) -> bool {
    use Format::*;
    matches!(format, F32 | F16 | BF16 | Q8_0 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | IQ4_NL | Q4_K | Q5_K | Q6_K)
}

/// Encodes `row`; `out` has [`Format::row_bytes`] bytes. The bytes depend on the values alone, not on the CPU.
///
/// ```
/// use kinglet_kernels::{Format, format::encode_row};
/// let mut block = [0u8; 34];
/// encode_row(Format::Q8_0, &[127.0; 32], &mut block)?;
/// assert_eq!(block[2..], [127; 32]); // after the scale, which is 1 as f16
/// # Ok::<(), kinglet_kernels::format::EncodeError>(())
/// ```
///
/// # Errors
/// See [`EncodeError`]; `out` is then as it was.
pub fn encode_row(format: Format, row: &[f32], out: &mut [u8]) -> Result<(), EncodeError> {
    if !encodes(format) {
        return Err(EncodeError::Format(format));
    }
    if format.row_bytes(row.len()) != Some(out.len()) {
        return Err(EncodeError::Length);
    }
    crate::host::check().map_err(|_| EncodeError::FloatEnvironment)?;
    let limit = if matches!(format, Format::F32 | Format::BF16) { f32::MAX } else { MAX_F16 };
    // NaN is not within either.
    let within = |x: &f32| x.abs() <= limit;
    // Without a branch for each value the usual case takes no time.
    if !row.iter().fold(true, |all, x| all & within(x)) {
        let at = row.iter().position(|x| !within(x)).unwrap_or(0);
        let value = row.get(at).copied().unwrap_or(0.0);
        return Err(match value.is_finite() {
            true => EncodeError::TooLarge { at, value },
            false => EncodeError::NotFinite { at, value },
        });
    }
    match format {
        Format::F32 => each(row, out, |x| x.to_le_bytes()),
        Format::F16 => each(row, out, |x| half::f16::from_f32(x).to_le_bytes()),
        Format::BF16 => each(row, out, |x| half::bf16::from_f32(x).to_le_bytes()),
        Format::Q8_0 => blocks(row, out, symmetric::q8_0),
        Format::Q4_0 => blocks(row, out, symmetric::q4_0),
        Format::Q5_0 => blocks(row, out, symmetric::q5_0),
        Format::Q4_1 => blocks(row, out, minmax::q4_1),
        Format::Q5_1 => blocks(row, out, minmax::q5_1),
        Format::IQ4_NL => blocks(row, out, iq4_nl::iq4_nl),
        Format::Q4_K => blocks(row, out, k::q4_k),
        Format::Q5_K => blocks(row, out, k::q5_k),
        Format::Q6_K => blocks(row, out, q6_k::q6_k),
        other => return Err(EncodeError::Format(other)),
    }
    Ok(())
}

fn each<const N: usize>(row: &[f32], out: &mut [u8], bytes: impl Fn(f32) -> [u8; N]) {
    out.as_chunks_mut::<N>().0.iter_mut().zip(row).for_each(|(o, x)| *o = bytes(*x));
}

fn blocks<const LEN: usize, const BYTES: usize>(
    row: &[f32],
    out: &mut [u8],
    block: impl Fn(&[f32; LEN]) -> [u8; BYTES],
) {
    let values = row.as_chunks::<LEN>().0.iter();
    out.as_chunks_mut::<BYTES>().0.iter_mut().zip(values).for_each(|(o, x)| *o = block(x));
}

/// `x` as f16, by value and by bytes. What a search extrapolates beyond f16 becomes f16's largest.
fn f16(x: f32) -> (f32, [u8; 2]) {
    let x = half::f16::from_f32(x.clamp(-MAX_F16, MAX_F16));
    (x.to_f32(), x.to_le_bytes())
}

/// [`f16`] of a scale, which does not become 0 unless it is: a coarse scale is better than none.
fn f16_scale(d: f32) -> (f32, [u8; 2]) {
    /// The smallest f16 above zero, 2^-24.
    const LEAST: f32 = 5.960_464_5e-8;
    if d != 0.0 && d.abs() < LEAST { f16(LEAST.copysign(d)) } else { f16(d) }
}

/// A block of 16 bytes whose low nibbles are the first 16 codes, and the high ones the others.
fn nibbles(codes: &[u8; 32]) -> [u8; 16] {
    std::array::from_fn(|i| (codes[i] & 15) | (codes[i + 16] << 4))
}

/// Bit `i` is the fifth bit of code `i`.
fn fifth_bits(codes: &[u8; 32]) -> [u8; 4] {
    (0u32..).zip(codes).fold(0, |bits, (i, q)| bits | u32::from(q >> 4 & 1) << i).to_le_bytes()
}
