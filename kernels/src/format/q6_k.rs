//! Q6_K: a super-block of 256 weights in 16 sub-blocks of 16, `w = d * sc * (q - 32)`.
//!
//! ```text
//! byte 0                    128                  192             208   210
//!      ql[128]: low 4 bits   qh[64]: high 2 bits  scales[16] i8   d f16
//! ```
//! Each half of 128 weights takes 64 bytes of `ql` and 32 of `qh`; within it, 32 weights each: low nibbles of
//! `ql[0..32]`, of `ql[32..64]`, high nibbles of `ql[0..32]`, of `ql[32..64]`, with bits 0-1, 2-3, 4-5, 6-7 of `qh`.
//! Source: `block_q6_K` in ggml's `ggml-common.h`.

use super::{Block, Format, Group, SUPER_BLOCK, f16};

/// One super-block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ6_K {
    ql: [[u8; 64]; 2],
    qh: [[u8; 32]; 2],
    scales: [i8; 16],
    d: [u8; 2],
}

impl Block for BlockQ6_K {
    const FORMAT: Format = Format::Q6_K;
    const SUB_SCALES: bool = true;
    const LEN: usize = SUPER_BLOCK;

    #[inline]
    fn group(&self, g: usize) -> Group {
        let (half, part) = (g / 4, g % 4);
        let q = std::array::from_fn(|i| {
            let low = (self.ql[half][32 * (part % 2) + i] >> (4 * (part / 2))) & 15;
            let high = (self.qh[half][i] >> (2 * part)) & 3;
            (low | high << 4) as i8 - 32
        });
        let s = [i16::from(self.scales[2 * g]), i16::from(self.scales[2 * g + 1])];
        Group { q, s, d: f16(self.d), m: [0.0; 2] }
    }
}
