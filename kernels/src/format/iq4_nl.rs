//! IQ4_NL: 32 weights of 4 bits through a codebook, one scale, `w = d * CODEBOOK[q]`.
//!
//! ```text
//! byte 0    2                                     18
//!      d f16  qs[16]: low nibbles are weights 0..16, high nibbles 16..32
//! ```
//! Source: `block_iq4_nl` in ggml's `ggml-common.h`.

use super::{Block, Format, GROUP, Group, f16};

/// The 16 values of IQ4_NL and IQ4_XS (`kvalues_iq4nl`).
pub const CODEBOOK: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// One block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockIQ4_NL {
    d: [u8; 2],
    qs: [u8; 16],
}

impl Block for BlockIQ4_NL {
    const FORMAT: Format = Format::IQ4_NL;
    const LEN: usize = GROUP;

    #[inline]
    fn group(&self, _: usize) -> Group {
        let q = super::nibbles(&self.qs).map(|q| CODEBOOK[usize::from(q)]);
        Group { q, s: [1, 1], d: f16(self.d), m: [0.0; 2] }
    }
}
