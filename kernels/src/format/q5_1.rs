//! Q5_1: 32 weights of 5 bits, a scale and a min, `w = d * q + m`.
//!
//! ```text
//! byte 0    2    4                8                      24
//!      d f16  m f16  qh u32: bit i   qs[16]: low nibbles are weights 0..16, high nibbles 16..32
//!                    tops weight i
//! ```
//! Source: `block_q5_1` in ggml's `ggml-common.h`.

use super::{Block, Format, GROUP, Group, Mins, f16};

/// One block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ5_1 {
    d: [u8; 2],
    m: [u8; 2],
    qh: [u8; 4],
    qs: [u8; 16],
}

impl Block for BlockQ5_1 {
    const FORMAT: Format = Format::Q5_1;
    const MINS: Mins = Mins::Per32;
    const LEN: usize = GROUP;

    #[inline]
    fn group(&self, _: usize) -> Group {
        let q = super::with_fifth_bit(&self.qs, self.qh).map(|q| q as i8);
        Group { q, s: [1, 1], d: f16(self.d), m: [f16(self.m); 2] }
    }
}
