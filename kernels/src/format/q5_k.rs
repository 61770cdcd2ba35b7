//! Q5_K: as Q4_K with a fifth bit, `w = d * sc * q - dmin * min`.
//!
//! ```text
//! byte 0    2       4             16                     48                             176
//!      d f16  dmin f16  scales[12]   qh[32]: bit g of byte i   qs[128]: as Q4_K
//!                                    tops weight i of sub-block g
//! ```
//! Source: `block_q5_K` in ggml's `ggml-common.h`.

use super::{Block, Format, Group, Mins, SUPER_BLOCK, f16, scale_min};

/// One super-block on disk.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ5_K {
    d: [u8; 2],
    dmin: [u8; 2],
    scales: [u8; 12],
    qh: [u8; 32],
    qs: [[u8; 32]; 4],
}

impl Block for BlockQ5_K {
    const FORMAT: Format = Format::Q5_K;
    const MINS: Mins = Mins::Per32;
    const LEN: usize = SUPER_BLOCK;

    #[inline]
    fn group(&self, g: usize) -> Group {
        let (sc, min) = scale_min(&self.scales, g);
        let q = std::array::from_fn(|i| {
            let low = (self.qs[g / 2][i] >> (4 * (g % 2))) & 15;
            (low | ((self.qh[i] >> g) & 1) << 4) as i8
        });
        let m = -(f16(self.dmin) * f32::from(min));
        Group { q, s: [1, 1], d: f16(self.d) * f32::from(sc), m: [m; 2] }
    }
}
