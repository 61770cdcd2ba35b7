//! Q2_K: a super-block of 256 weights in 16 sub-blocks of 16, `w = d * sc * q - dmin * min`.
//!
//! ```text
//! byte 0                            16                      80    82       84
//!      scales[16]: low nibble scale,  qs[64]: 2-bit codes     d f16  dmin f16
//!      high nibble min
//! ```
//! Each half of 128 weights takes 32 bytes of `qs`; its four groups of 32 are bits 0-1, 2-3, 4-5, 6-7.
//! Source: `block_q2_K` in ggml's `ggml-common.h`.

use super::{Block, Format, Group, Mins, SUPER_BLOCK, f16};

/// One super-block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ2_K {
    scales: [u8; 16],
    qs: [[u8; 32]; 2],
    d: [u8; 2],
    dmin: [u8; 2],
}

impl Block for BlockQ2_K {
    const FORMAT: Format = Format::Q2_K;
    const MINS: Mins = Mins::Per16;
    const SUB_SCALES: bool = true;
    const LEN: usize = SUPER_BLOCK;

    #[inline]
    fn group(&self, g: usize) -> Group {
        let q = self.qs[g / 4].map(|b| ((b >> (2 * (g % 4))) & 3) as i8);
        let scales = [self.scales[2 * g], self.scales[2 * g + 1]];
        let m = scales.map(|s| -(f16(self.dmin) * f32::from(s >> 4)));
        Group { q, s: scales.map(|s| i16::from(s & 15)), d: f16(self.d), m }
    }
}
