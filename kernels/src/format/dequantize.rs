//! Quantized rows back to f32, contract section 4.

use super::{Block, Format, GROUP, Mins, with_block};

/// Decodes the blocks in `bytes` into `out`: `v = (d * s) * q`, then `+ m` for formats with mins.
///
/// `bytes` holds as many whole blocks as `out` holds weights. Returns `false`, with `out` untouched, when the lengths
/// do not fit together or `format` is a float format.
pub fn dequantize_row(format: Format, bytes: &[u8], out: &mut [f32]) -> bool {
    if format.row_bytes(out.len()) != Some(bytes.len()) {
        return false;
    }
    with_block!(format, B => blocks::<B>(bytes, out), else => return false);
    true
}

fn blocks<B: Block>(bytes: &[u8], out: &mut [f32]) {
    for (bytes, out) in bytes.chunks_exact(size_of::<B>()).zip(out.chunks_exact_mut(B::LEN)) {
        let block: B = bytemuck::pod_read_unaligned(bytes);
        for (g, out) in out.chunks_exact_mut(GROUP).enumerate() {
            let group = block.group(g);
            for (i, out) in out.iter_mut().enumerate() {
                let v = (group.d * f32::from(group.s[i / 16])) * f32::from(group.q[i]);
                *out = if B::MINS == Mins::None { v } else { v + group.m[i / 16] };
            }
        }
    }
}
