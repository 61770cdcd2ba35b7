//! From f32 to what a file stores. Not on any hot path: quality first.

use super::Format;

/// Whether [`encode_row`] can write `format`.
pub const fn encodes(format: Format) -> bool {
    matches!(format, Format::F32 | Format::F16 | Format::BF16 | Format::Q8_0)
}

/// Encodes a row of finite values; `out` has [`Format::row_bytes`] bytes. `false`, with `out` as it was, when `out` has another
/// length or the format is one that cannot be written ([`encodes`]).
#[must_use]
pub fn encode_row(format: Format, row: &[f32], out: &mut [u8]) -> bool {
    if format.row_bytes(row.len()) != Some(out.len()) {
        return false;
    }
    match format {
        Format::F32 => each(row, out, |x| x.to_le_bytes()),
        Format::F16 => each(row, out, |x| half::f16::from_f32(x).to_le_bytes()),
        Format::BF16 => each(row, out, |x| half::bf16::from_f32(x).to_le_bytes()),
        Format::Q8_0 => blocks(row, out, q8_0),
        _ => return false,
    }
    true
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

/// `w = d * q`, `q` up to 127.
fn q8_0(x: &[f32; 32]) -> [u8; 34] {
    let largest = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let d = half::f16::from_f32(largest / 127.0);
    // Of the scale as it is stored, so that its own rounding is made up for.
    let inverse = if d.to_f32() > 0.0 { 1.0 / d.to_f32() } else { 0.0 };
    let mut out = [0; 34];
    let (scale, codes) = out.split_at_mut(2);
    scale.copy_from_slice(&d.to_le_bytes());
    codes.iter_mut().zip(x).for_each(|(q, v)| *q = (v * inverse).round().clamp(-127.0, 127.0) as i8 as u8);
    out
}
