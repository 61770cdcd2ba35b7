//! IQ3_S: a super-block of 256 weights, 4 at a time from a codebook of 512, one scale per 32,
//! `w = d * (2 * sc + 1) * ±grid`.
//!
//! ```text
//! byte 0    2                       66                    74                   106                     110
//!      d f16  qs[64]: low 8 bits of   qh[8]: bit i of byte g  signs[32]: one bit   scales[4]: a nibble per
//!             an index per 4 weights  tops index i of group g per weight           32 weights
//! ```
//! Source: `block_iq3_s` in ggml's `ggml-common.h`. `|isum| <= 32 * 15 * 127`.

use super::{Block, Format, Group, SUPER_BLOCK, f16, grids, join, signed};

/// One super-block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockIQ3_S {
    d: [u8; 2],
    qs: [[u8; 8]; 8],
    qh: [u8; 8],
    signs: [[u8; 4]; 8],
    scales: [u8; 4],
}

impl Block for BlockIQ3_S {
    const FORMAT: Format = Format::IQ3_S;
    const LEN: usize = SUPER_BLOCK;

    #[inline]
    fn group(&self, g: usize) -> Group {
        let q = join(|l| {
            let four = |i: usize| {
                let index = usize::from(self.qs[g][i]) | usize::from((self.qh[g] >> i) & 1) << 8;
                grids::IQ3_S[index]
            };
            signed(bytemuck::cast([four(2 * l), four(2 * l + 1)]), self.signs[g][l])
        });
        let scale = f32::from(2 * ((self.scales[g / 2] >> (4 * (g % 2))) & 15) + 1);
        Group { q, s: [1, 1], d: f16(self.d) * scale, m: [0.0; 2] }
    }
}
