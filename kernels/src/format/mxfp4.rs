//! MXFP4: 32 weights of 4 bits (e2m1 floats), one power-of-two scale, `w = 2^(e - 128) * CODEBOOK[q]`.
//!
//! ```text
//! byte 0     1                                     17
//!      e u8   qs[16]: low nibbles are weights 0..16, high nibbles 16..32
//! ```
//! Source: `block_mxfp4` in ggml's `ggml-common.h` and the OCP Microscaling Formats (MX) specification 1.0. As in ggml, the
//! codebook holds the e2m1 values doubled, hence 128 and not 127 as the bias, and `e == 255` is a number like any other.
//! `|isum| <= 32 * 12 * 127`.

use super::{Block, Format, GROUP, Group};

/// The 16 values of e2m1, doubled. Negative zero is zero.
pub const CODEBOOK: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// One block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockMXFP4 {
    e: u8,
    qs: [u8; 16],
}

/// `2^(e - 128)`, which is subnormal for the two smallest exponents.
fn half_e8m0(e: u8) -> f32 {
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (u32::from(e) - 1) << 23 })
}

impl Block for BlockMXFP4 {
    const FORMAT: Format = Format::MXFP4;
    const LEN: usize = GROUP;

    #[inline]
    fn group(&self, _: usize) -> Group {
        let q = super::nibbles(&self.qs).map(|q| CODEBOOK[usize::from(q)]);
        Group { q, s: [1, 1], d: half_e8m0(self.e), m: [0.0; 2] }
    }
}
