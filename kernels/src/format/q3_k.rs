//! Q3_K: a super-block of 256 weights in 16 sub-blocks of 16, `w = d * (sc - 32) * (q - 4)`.
//!
//! ```text
//! byte 0                          32                    96                          108   110
//!      hmask[32]: bit g of byte i    qs[64]: low 2 bits    scales[12]: 16 x 6 bits     d f16
//!      tops weight i of group g
//! ```
//! Source: `block_q3_K` in ggml's `ggml-common.h`.

use super::{Block, Format, Group, SUPER_BLOCK, f16};

/// One super-block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ3_K {
    hmask: [u8; 32],
    qs: [[u8; 32]; 2],
    scales: [u8; 12],
    d: [u8; 2],
}

impl BlockQ3_K {
    /// The `i`-th 6-bit scale, signed: low nibbles in bytes 0..8, high pairs of bits in bytes 8..12.
    fn scale(&self, i: usize) -> i16 {
        let low = (self.scales[i % 8] >> (4 * (i / 8))) & 15;
        let high = (self.scales[8 + i % 4] >> (2 * (i / 4))) & 3;
        i16::from(low | high << 4) - 32
    }
}

impl Block for BlockQ3_K {
    const FORMAT: Format = Format::Q3_K;
    const SUB_SCALES: bool = true;
    const LEN: usize = SUPER_BLOCK;

    #[inline]
    fn group(&self, g: usize) -> Group {
        let q = std::array::from_fn(|i| {
            let low = (self.qs[g / 4][i] >> (2 * (g % 4))) & 3;
            let high = (self.hmask[i] >> g) & 1;
            (low | high << 2) as i8 - 4
        });
        Group { q, s: [self.scale(2 * g), self.scale(2 * g + 1)], d: f16(self.d), m: [0.0; 2] }
    }
}
