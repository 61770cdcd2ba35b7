//! Whole rows through the portable decoders: as groups, or back to f32 (contract section 4).

use super::{Block, Format, GROUP, Group, Mins, with_block};

/// Calls `visit(g, group)` for every group of 32 weights in `bytes`, a whole number of blocks of `format`, in order.
///
/// Returns `false`, without a call, when `bytes` is no whole number of blocks or `format` is a float format.
pub fn decode_groups(format: Format, bytes: &[u8], visit: impl FnMut(usize, &Group)) -> bool {
    fn blocks<B: Block>(bytes: &[u8], mut visit: impl FnMut(usize, &Group)) {
        for (b, bytes) in bytes.chunks_exact(size_of::<B>()).enumerate() {
            let block: B = bytemuck::pod_read_unaligned(bytes);
            for g in 0..B::LEN / GROUP {
                visit(b * (B::LEN / GROUP) + g, &block.group(g));
            }
        }
    }
    if !bytes.len().is_multiple_of(format.block_bytes()) {
        return false;
    }
    with_block!(format, B => blocks::<B>(bytes, visit), else => return false);
    true
}

/// Decodes the blocks in `bytes` into `out`: `v = (d * s) * q`, then `+ m` for formats with mins.
///
/// `bytes` holds as many whole blocks as `out` holds weights. Returns `false`, with `out` untouched, when the lengths
/// do not fit together or `format` is a float format.
pub fn dequantize_row(format: Format, bytes: &[u8], out: &mut [f32]) -> bool {
    if format.row_bytes(out.len()) != Some(bytes.len()) {
        return false;
    }
    let mins = format.mins() != Mins::None;
    decode_groups(format, bytes, |g, group| {
        for (i, out) in out[g * GROUP..][..GROUP].iter_mut().enumerate() {
            let v = (group.d * f32::from(group.s[i / 16])) * f32::from(group.q[i]);
            *out = if mins { v + group.m[i / 16] } else { v };
        }
    })
}
