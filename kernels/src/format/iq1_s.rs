//! IQ1_S: a super-block of 256 weights, 8 at a time from a codebook of 2048, `w = d * (2 * sc + 1) * (grid ± 1/8)`.
//!
//! ```text
//! byte 0    2                                      34                                          50
//!      d f16  qs[32]: low 8 bits of an index per 8   qh[8] u16, one per 32 weights: bits 3l..3l+3
//!             weights                                top index l, 12-14 are sc, 15 the sign of 1/8
//! ```
//! In eighths everything is an integer: `q = 8 * grid ± 1`, and `d / 8 * (2 * sc + 1)` is exact.
//! Source: `block_iq1_s` in ggml's `ggml-common.h`. `|isum| <= 32 * 9 * 127`.

use super::{Block, Format, Group, SUPER_BLOCK, f16, grids, join, shifted};

/// One super-block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockIQ1_S {
    d: [u8; 2],
    qs: [[u8; 4]; 8],
    qh: [[u8; 2]; 8],
}

impl Block for BlockIQ1_S {
    const FORMAT: Format = Format::IQ1_S;
    const LEN: usize = SUPER_BLOCK;

    #[inline]
    fn group(&self, g: usize) -> Group {
        let qh = usize::from(u16::from_le_bytes(self.qh[g]));
        let delta = if qh & 0x8000 == 0 { 1 } else { -1 };
        let q = join(|l| {
            let index = usize::from(self.qs[g][l]) | ((qh >> (3 * l)) & 7) << 8;
            shifted(grids::IQ1_S[index], delta)
        });
        let scale = (2 * ((qh >> 12) & 7) + 1) as f32;
        Group { q, s: [1, 1], d: f16(self.d) * 0.125 * scale, m: [0.0; 2] }
    }
}
