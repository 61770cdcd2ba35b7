//! Q4_1: 32 weights of 4 bits, a scale and a min, `w = d * q + m`.
//!
//! ```text
//! byte 0    2    4                                     20
//!      d f16  m f16  qs[16]: low nibbles are weights 0..16, high nibbles 16..32
//! ```
//! Source: `block_q4_1` in ggml's `ggml-common.h`.

use super::{Block, Format, GROUP, Group, Mins, f16};

/// One block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ4_1 {
    d: [u8; 2],
    m: [u8; 2],
    qs: [u8; 16],
}

impl Block for BlockQ4_1 {
    const FORMAT: Format = Format::Q4_1;
    const MINS: Mins = Mins::Per32;
    const LEN: usize = GROUP;

    #[inline]
    fn group(&self, _: usize) -> Group {
        let q = super::nibbles(&self.qs).map(|q| q as i8);
        Group { q, s: [1, 1], d: f16(self.d), m: [f16(self.m); 2] }
    }
}
