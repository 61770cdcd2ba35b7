//! IQ2_S: a super-block of 256 weights, 8 at a time from a codebook of 1024, one scale per 16,
//! `w = d / 8 * (2 * sc + 1) * ±grid`.
//!
//! ```text
//! byte 0    2                       34                   66                     74                     82
//!      d f16  qs[32]: low 8 bits of   signs[32]: one bit   qh[8]: 2 bits top      scales[8]: a nibble per
//!             an index per 8 weights  per weight           each of four indices   16 weights
//! ```
//! Source: `block_iq2_s` in ggml's `ggml-common.h`. `|isum| <= 32 * 43 * 127 * 31`.

use super::{Block, Format, Group, SUPER_BLOCK, f16, grids, join, odd_scales, signed};

/// One super-block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockIQ2_S {
    d: [u8; 2],
    qs: [[u8; 4]; 8],
    signs: [[u8; 4]; 8],
    qh: [u8; 8],
    scales: [u8; 8],
}

impl Block for BlockIQ2_S {
    const FORMAT: Format = Format::IQ2_S;
    const SUB_SCALES: bool = true;
    const LEN: usize = SUPER_BLOCK;

    #[inline]
    fn group(&self, g: usize) -> Group {
        let q = join(|l| {
            let index = usize::from(self.qs[g][l]) | usize::from((self.qh[g] >> (2 * l)) & 3) << 8;
            signed(grids::IQ2_S[index], self.signs[g][l])
        });
        Group { q, s: odd_scales(self.scales[g]), d: f16(self.d) * 0.125, m: [0.0; 2] }
    }
}
