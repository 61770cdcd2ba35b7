//! IQ3_XXS: a super-block of 256 weights, 4 at a time from a codebook of 256, one scale per 32,
//! `w = d / 4 * (2 * sc + 1) * ±grid`.
//!
//! ```text
//! byte 0    2                     66                                                      98
//!      d f16  qs[64]: an index per  per 32 weights a u32: bits 7l..7l+7 are the signs of 8
//!             4 weights             weights (the eighth by parity), bits 28-31 are sc
//! ```
//! Source: `block_iq3_xxs` in ggml's `ggml-common.h`. `|isum| <= 32 * 62 * 127`.

use super::{Block, Format, Group, SUPER_BLOCK, eighth_by_parity, f16, grids, join, signed};

/// One super-block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockIQ3_XXS {
    d: [u8; 2],
    qs: [[u8; 8]; 8],
    rest: [[u8; 4]; 8],
}

impl Block for BlockIQ3_XXS {
    const FORMAT: Format = Format::IQ3_XXS;
    const LEN: usize = SUPER_BLOCK;

    #[inline]
    fn group(&self, g: usize) -> Group {
        let rest = u32::from_le_bytes(self.rest[g]);
        let q = join(|l| {
            let four = |i: usize| grids::IQ3_XXS[usize::from(self.qs[g][i])];
            let eight = bytemuck::cast([four(2 * l), four(2 * l + 1)]);
            signed(eight, eighth_by_parity((rest >> (7 * l)) as u8))
        });
        let scale = (2 * (rest >> 28) + 1) as f32;
        Group { q, s: [1, 1], d: f16(self.d) * 0.25 * scale, m: [0.0; 2] }
    }
}
