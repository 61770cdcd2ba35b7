//! Any format through its portable decoder: the default of formats without hand-written AVX2 code.

use super::tile::{I8, I8Sub, Tile, TileFormat, transpose16};
use crate::format::{Block, GROUP, Group, Mins};
use std::arch::x86_64::*;
use std::marker::PhantomData;

/// Unpacks super-blocks of `B` by decoding 8 rows with [`Block::group`]; the arithmetic is still AVX2.
pub(crate) struct Generic<B>(PhantomData<B>);
/// As [`Generic`], for formats with sub-scales.
pub(crate) struct GenericSub<B>(PhantomData<B>);

macro_rules! generic {
    ($name:ident, $codes:ty, $sub:literal) => {
        impl<B: Block> TileFormat for $name<B> {
            type Codes = $codes;
            type Tiles = [Tile; 8];
            const BYTES: usize = size_of::<B>();
            #[inline]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn unpack(rows: &[*const u8; 8], tiles: &mut [Tile; 8]) {
                const {
                    assert!(
                        align_of::<B>() == 1
                            && B::LEN == 8 * GROUP
                            && B::SUB_SCALES == $sub
                            && matches!(B::MINS, Mins::None)
                    )
                };
                // SAFETY: the caller's.
                unsafe { unpack::<B>(rows, tiles) }
            }
        }
    };
}
generic!(Generic, I8, false);
generic!(GenericSub, I8Sub, true);

/// # Safety
/// AVX2; one block is readable at each of `rows`.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn unpack<B: Block>(rows: &[*const u8; 8], tiles: &mut [Tile; 8]) {
    for (g, tile) in tiles.iter_mut().enumerate() {
        let mut groups = [Group { q: [0; GROUP], s: [1; 2], d: 0.0, m: [0.0; 2] }; 8];
        for (group, row) in groups.iter_mut().zip(rows) {
            // SAFETY: the caller's; blocks are plain data without alignment.
            *group = unsafe { (*row.cast::<B>()).group(g) };
        }
        let d: [f32; 8] = std::array::from_fn(|i| groups[i].d);
        let codes: [*const u8; 8] = std::array::from_fn(|i| groups[i].q.as_ptr().cast());
        // SAFETY: 32 bytes each.
        unsafe {
            tile.d = _mm256_loadu_ps(d.as_ptr());
            let (low, high) = (transpose16(&codes, 0), transpose16(&codes, 16));
            tile.codes = [low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]];
        }
        if B::SUB_SCALES {
            for h in 0..2 {
                let s: [[i16; 2]; 8] = std::array::from_fn(|i| [groups[i].s[h]; 2]);
                // SAFETY: 32 bytes.
                tile.s[h] = unsafe { _mm256_loadu_si256(s.as_ptr().cast()) };
            }
        }
    }
}
