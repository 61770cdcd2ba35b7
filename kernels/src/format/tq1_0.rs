//! TQ1_0: a super-block of 256 ternary weights, five per byte, `w = d * (t - 1)`.
//!
//! ```text
//! byte 0                       32                       48                      52    54
//!      qs[32]: digit n of byte i  qs[16]: digit n of byte i  qh[4]: digit n of byte i   d f16
//!      is weight 32n + i          is weight 160 + 16n + i    is weight 240 + 4n + i
//! ```
//! A byte holds five base-3 digits (four in `qh`), the first one the most significant, as the fraction
//! `byte / 256`: digit n is `floor(3 * frac(byte * 3^n / 256))`.
//! Source: `block_tq1_0` in ggml's `ggml-common.h`. `|isum| <= 32 * 127`.

use super::{Block, Format, GROUP, Group, SUPER_BLOCK, f16};

/// One super-block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockTQ1_0 {
    qs: [u8; 48],
    qh: [u8; 4],
    d: [u8; 2],
}

/// Base-3 digit `n` of a byte, minus one.
fn trit(byte: u8, n: usize) -> i8 {
    const POW3: [u8; 5] = [1, 3, 9, 27, 81];
    let fraction = u16::from(byte.wrapping_mul(POW3[n]));
    ((fraction * 3) >> 8) as i8 - 1
}

impl Block for BlockTQ1_0 {
    const FORMAT: Format = Format::TQ1_0;
    const LEN: usize = SUPER_BLOCK;

    #[inline]
    fn group(&self, g: usize) -> Group {
        let mut q = [0; GROUP];
        for (i, q) in q.iter_mut().enumerate() {
            *q = match g {
                0..5 => trit(self.qs[i], g),
                5 | 6 => trit(self.qs[32 + i % 16], 2 * (g - 5) + i / 16),
                _ if i < 16 => trit(self.qs[32 + i], 4),
                _ => trit(self.qh[i % 4], (i - 16) / 4),
            };
        }
        Group { q, s: [1, 1], d: f16(self.d), m: [0.0; 2] }
    }
}
