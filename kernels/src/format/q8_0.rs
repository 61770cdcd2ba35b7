//! Q8_0: 32 weights of 8 bits, one scale, `w = d * q`; a file may hold -128.
//!
//! ```text
//! byte 0    2                34
//!      d f16  qs[32] i8
//! ```
//! Source: `block_q8_0` in ggml's `ggml-common.h`.

use super::{Block, Format, GROUP, Group, f16};

/// One block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ8_0 {
    d: [u8; 2],
    qs: [i8; 32],
}

impl Block for BlockQ8_0 {
    const FORMAT: Format = Format::Q8_0;
    const LEN: usize = GROUP;

    #[inline]
    fn group(&self, _: usize) -> Group {
        Group { q: self.qs, s: [1, 1], d: f16(self.d), m: [0.0; 2] }
    }
}
