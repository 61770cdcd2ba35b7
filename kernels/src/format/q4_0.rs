//! Q4_0: 32 weights of 4 bits, one scale, `w = d * (q - 8)`.
//!
//! ```text
//! byte 0    2                                     18
//!      d f16  qs[16]: low nibbles are weights 0..16, high nibbles 16..32
//! ```
//! Source: `block_q4_0` in ggml's `ggml-common.h`.

use super::{Block, Format, GROUP, Group, f16};

/// One block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ4_0 {
    d: [u8; 2],
    qs: [u8; 16],
}

impl Block for BlockQ4_0 {
    const FORMAT: Format = Format::Q4_0;
    const LEN: usize = GROUP;

    #[inline]
    fn group(&self, _: usize) -> Group {
        let q = super::nibbles(&self.qs).map(|q| q as i8 - 8);
        Group { q, s: [1, 1], d: f16(self.d), m: [0.0; 2] }
    }
}
