//! One row of weights as f32: contract section 4. For embeddings; portable, and the same code on every tier.

use crate::error::message;
use crate::{Error, Format, Matrix};
use half::{bf16, f16};

/// Writes the weights in `row` (whole blocks of `w`'s format) to `out`, as many values.
pub(super) fn row(w: &Matrix<'_>, row: &[u8], out: &mut [f32]) -> Result<(), Error> {
    let halves = || row.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    match w.format() {
        Format::F32 => {
            for (out, b) in out.iter_mut().zip(row.chunks_exact(4)) {
                *out = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
        Format::F16 => out.iter_mut().zip(halves()).for_each(|(out, b)| *out = f16::from_bits(b).to_f32()),
        Format::BF16 => out.iter_mut().zip(halves()).for_each(|(out, b)| *out = bf16::from_bits(b).to_f32()),
        format => {
            if !crate::format::dequantize_row(format, row, out) {
                let what = message!("{} bytes of {format} for {} weights", row.len(), out.len());
                return Err(Error::Shape { what });
            }
        }
    }
    Ok(())
}
