//! IQ2_XXS: a super-block of 256 weights, 8 at a time from a codebook of 256, one scale per 32,
//! `w = d / 8 * (2 * sc + 1) * ±grid`.
//!
//! ```text
//! byte 0    2                                                                    66
//!      d f16  per 32 weights: index u8 x 4, then u32: bits 7l..7l+7 are the signs of
//!             8 weights (the eighth by parity), bits 28-31 are sc
//! ```
//! Source: `block_iq2_xxs` in ggml's `ggml-common.h`. `|isum| <= 32 * 43 * 127`.

use super::{Block, Format, Group, SUPER_BLOCK, eighth_by_parity, f16, grids, join, signed};

/// One super-block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockIQ2_XXS {
    d: [u8; 2],
    qs: [[[u8; 4]; 2]; 8],
}

impl Block for BlockIQ2_XXS {
    const FORMAT: Format = Format::IQ2_XXS;
    const LEN: usize = SUPER_BLOCK;

    #[inline]
    fn group(&self, g: usize) -> Group {
        let [indices, rest] = self.qs[g];
        let rest = u32::from_le_bytes(rest);
        let q = join(|l| {
            signed(grids::IQ2_XXS[usize::from(indices[l])], eighth_by_parity((rest >> (7 * l)) as u8))
        });
        let scale = (2 * (rest >> 28) + 1) as f32;
        Group { q, s: [1, 1], d: f16(self.d) * 0.125 * scale, m: [0.0; 2] }
    }
}
