//! IQ2_XS: a super-block of 256 weights, 8 at a time from a codebook of 512, one scale per 16,
//! `w = d / 8 * (2 * sc + 1) * ±grid`.
//!
//! ```text
//! byte 0    2                                              66                          74
//!      d f16  qs[32] u16, one per 8 weights: bits 0-8 index,  scales[8]: a nibble per 16
//!             9-15 signs (the eighth by parity)               weights, the low one first
//! ```
//! Source: `block_iq2_xs` in ggml's `ggml-common.h`. `|isum| <= 32 * 43 * 127 * 31`.

use super::{Block, Format, Group, SUPER_BLOCK, eighth_by_parity, f16, grids, join, odd_scales, signed};

/// One super-block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockIQ2_XS {
    d: [u8; 2],
    qs: [[[u8; 2]; 4]; 8],
    scales: [u8; 8],
}

impl Block for BlockIQ2_XS {
    const FORMAT: Format = Format::IQ2_XS;
    const SUB_SCALES: bool = true;
    const LEN: usize = SUPER_BLOCK;

    #[inline]
    fn group(&self, g: usize) -> Group {
        let q = join(|l| {
            let bits = u16::from_le_bytes(self.qs[g][l]);
            signed(grids::IQ2_XS[usize::from(bits & 511)], eighth_by_parity((bits >> 9) as u8))
        });
        Group { q, s: odd_scales(self.scales[g]), d: f16(self.d) * 0.125, m: [0.0; 2] }
    }
}
