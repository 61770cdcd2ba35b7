//! TQ2_0: a super-block of 256 ternary weights of 2 bits, `w = d * (q - 1)`.
//!
//! ```text
//! byte 0               64    66
//!      qs[64]: 2-bit codes   d f16
//! ```
//! Each half of 128 weights takes 32 bytes of `qs`; its four groups of 32 are bits 0-1, 2-3, 4-5, 6-7. A file may hold the
//! fourth code, which is 2.
//! Source: `block_tq2_0` in ggml's `ggml-common.h`. `|isum| <= 32 * 2 * 127`.

use super::{Block, Format, Group, SUPER_BLOCK, f16};

/// One super-block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockTQ2_0 {
    qs: [[u8; 32]; 2],
    d: [u8; 2],
}

impl Block for BlockTQ2_0 {
    const FORMAT: Format = Format::TQ2_0;
    const LEN: usize = SUPER_BLOCK;

    #[inline]
    fn group(&self, g: usize) -> Group {
        let q = self.qs[g / 4].map(|b| ((b >> (2 * (g % 4))) & 3) as i8 - 1);
        Group { q, s: [1, 1], d: f16(self.d), m: [0.0; 2] }
    }
}
