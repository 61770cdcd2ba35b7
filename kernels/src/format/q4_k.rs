//! Q4_K: a super-block of 256 weights in 8 sub-blocks of 32, `w = d * sc * q - dmin * min`.
//!
//! ```text
//! byte 0    2       4                            16                                   144
//!      d f16  dmin f16  scales[12]: 8 x (6-bit scale,  qs[128]: 32 bytes per pair of sub-blocks,
//!                       6-bit min), packed             low nibbles the even, high the odd one
//! ```
//! Source: `block_q4_K` in ggml's `ggml-common.h`.

use super::{Block, Format, Group, Mins, SUPER_BLOCK, f16, scale_min};

/// One super-block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ4_K {
    d: [u8; 2],
    dmin: [u8; 2],
    scales: [u8; 12],
    qs: [[u8; 32]; 4],
}

impl Block for BlockQ4_K {
    const FORMAT: Format = Format::Q4_K;
    const MINS: Mins = Mins::Per32;
    const LEN: usize = SUPER_BLOCK;

    #[inline]
    fn group(&self, g: usize) -> Group {
        let (sc, min) = scale_min(&self.scales, g);
        let q = self.qs[g / 2].map(|b| ((b >> (4 * (g % 2))) & 15) as i8);
        let m = -(f16(self.dmin) * f32::from(min));
        Group { q, s: [1, 1], d: f16(self.d) * f32::from(sc), m: [m; 2] }
    }
}
