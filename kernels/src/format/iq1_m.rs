//! IQ1_M: as IQ1_S with a scale per 16 and a delta per 8 weights, `w = d * (2 * sc + 1) * (grid ± 1/8)`.
//!
//! ```text
//! byte 0                              32                              48                          56
//!      qs[32]: low 8 bits of an index   qh[16]: a nibble per index,     scales[4] u16: bits 3i..3i+3 are
//!      per 8 weights                    3 bits top it, 1 is the sign    sc, bits 12-15 of the four are d
//! ```
//! In eighths everything is an integer: `q = 8 * grid ± 1`, `s = 2 * sc + 1`, and `d / 8` is exact.
//! Source: `block_iq1_m` in ggml's `ggml-common.h`. `|isum| <= 32 * 9 * 127 * 15`.

use super::{Block, Format, Group, SUPER_BLOCK, f16, grids, join, shifted};

/// One super-block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockIQ1_M {
    qs: [[u8; 4]; 8],
    qh: [[u8; 2]; 8],
    scales: [[u8; 2]; 4],
}

impl Block for BlockIQ1_M {
    const FORMAT: Format = Format::IQ1_M;
    const SUB_SCALES: bool = true;
    const LEN: usize = SUPER_BLOCK;

    #[inline]
    fn group(&self, g: usize) -> Group {
        let q = join(|l| {
            let nibble = self.qh[g][l / 2] >> (4 * (l % 2));
            let index = usize::from(self.qs[g][l]) | usize::from(nibble & 7) << 8;
            let delta = if nibble & 8 == 0 { 1 } else { -1 };
            shifted(grids::IQ1_S[index], delta)
        });
        let scales = self.scales.map(u16::from_le_bytes);
        let d = (0..4).fold(0, |d, i| d | (scales[i] >> 12) << (4 * i));
        let scale = |i: usize| 2 * ((scales[i / 4] >> (3 * (i % 4))) & 7) as i16 + 1;
        let s = [scale(2 * g), scale(2 * g + 1)];
        Group { q, s, d: f16(d.to_le_bytes()) * 0.125, m: [0.0; 2] }
    }
}
