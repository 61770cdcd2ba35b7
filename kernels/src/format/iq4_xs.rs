//! IQ4_XS: a super-block of 256 weights of 4 bits through IQ4_NL's codebook, one 6-bit scale per 32,
//! `w = d * (sc - 32) * CODEBOOK[q]`.
//!
//! ```text
//! byte 0    2              4              8                                       136
//!      d f16  scales_h u16:  scales_l[4]:   qs[8][16]: per group of 32, low nibbles
//!             bits 2g, 2g+1  nibble g       are weights 0..16, high nibbles 16..32
//! ```
//! Source: `block_iq4_xs` in ggml's `ggml-common.h`. `|isum| <= 32 * 127 * 127`.

use super::iq4_nl::CODEBOOK;
use super::{Block, Format, Group, SUPER_BLOCK, f16};

/// One super-block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockIQ4_XS {
    d: [u8; 2],
    scales_h: [u8; 2],
    scales_l: [u8; 4],
    qs: [[u8; 16]; 8],
}

impl Block for BlockIQ4_XS {
    const FORMAT: Format = Format::IQ4_XS;
    const LEN: usize = SUPER_BLOCK;

    #[inline]
    fn group(&self, g: usize) -> Group {
        let low = (self.scales_l[g / 2] >> (4 * (g % 2))) & 15;
        let high = (u16::from_le_bytes(self.scales_h) >> (2 * g)) as u8 & 3;
        let scale = (low | high << 4) as i8 - 32;
        let q = super::nibbles(&self.qs[g]).map(|q| CODEBOOK[usize::from(q)]);
        Group { q, s: [1, 1], d: f16(self.d) * f32::from(scale), m: [0.0; 2] }
    }
}
