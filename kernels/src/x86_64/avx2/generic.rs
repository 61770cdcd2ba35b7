//! Any format through its portable decoder: the default of formats without hand-written AVX2 code.

use super::tile::{I8, I8Sub, Tile, TileFormat};
use crate::format::{Block, GROUP, Group, Mins};
use std::arch::x86_64::*;
use std::marker::PhantomData;

/// Unpacks super-blocks of `B` by decoding 8 rows with [`Block::group`]; the arithmetic is still AVX2.
pub(crate) struct Generic<B>(PhantomData<B>);
/// As [`Generic`], for formats with sub-scales.
pub(crate) struct GenericSub<B>(PhantomData<B>);
/// As [`Generic`], for blocks of 32 weights.
pub(crate) struct Generic32<B>(PhantomData<B>);

macro_rules! generic {
    ($name:ident, $codes:ty, $sub:literal, $tiles:literal) => {
        impl<B: Block> TileFormat for $name<B> {
            type Codes = $codes;
            type Tiles = [Tile; $tiles];
            const BYTES: usize = size_of::<B>();
            #[inline]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn unpack(rows: &[*const u8; 8], tiles: &mut Self::Tiles) {
                const {
                    assert!(
                        B::LEN == $tiles * GROUP && B::SUB_SCALES == $sub && matches!(B::MINS, Mins::None)
                    )
                };
                // SAFETY: the caller's.
                unsafe { unpack::<B>(rows, tiles) }
            }
        }
    };
}
generic!(Generic, I8, false, 8);
generic!(GenericSub, I8Sub, true, 8);
generic!(Generic32, I8, false, 1);

/// # Safety
/// AVX2; one block is readable at each of `rows`.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn unpack<B: Block>(rows: &[*const u8; 8], tiles: &mut [Tile]) {
    // SAFETY: the caller's; blocks are plain data.
    let blocks = rows.map(|row| unsafe { row.cast::<B>().read_unaligned() });
    for (g, tile) in tiles.iter_mut().enumerate() {
        let groups: [Group; 8] = std::array::from_fn(|i| blocks[i].group(g));
        for (j, codes) in tile.codes.iter_mut().enumerate() {
            let dwords: [i32; 8] = std::array::from_fn(|i| {
                let q = &groups[i].q[4 * j..4 * j + 4];
                i32::from_le_bytes([q[0] as u8, q[1] as u8, q[2] as u8, q[3] as u8])
            });
            // SAFETY: 32 bytes.
            *codes = unsafe { _mm256_loadu_si256(dwords.as_ptr().cast()) };
        }
        let d: [f32; 8] = std::array::from_fn(|i| groups[i].d);
        // SAFETY: 32 bytes.
        tile.d = unsafe { _mm256_loadu_ps(d.as_ptr()) };
        if B::SUB_SCALES {
            for h in 0..2 {
                let s: [[i16; 2]; 8] = std::array::from_fn(|i| [groups[i].s[h]; 2]);
                // SAFETY: 32 bytes.
                tile.s[h] = unsafe { _mm256_loadu_si256(s.as_ptr().cast()) };
            }
        }
    }
}
