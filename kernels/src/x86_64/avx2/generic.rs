//! Any format through its portable decoder: the default of formats without hand-written AVX2 code.

use super::tile::{Tile, TileFormat};
use crate::format::{Block, GROUP, Group, Mins};
use std::arch::x86_64::*;
use std::marker::PhantomData;

/// Loads tiles of `B` by decoding 8 groups with [`Block::group`]; the arithmetic is still AVX2.
pub(crate) struct Generic<B>(PhantomData<B>);

impl<B: Block> TileFormat for Generic<B> {
    const MINS: Mins = B::MINS;
    const SUB_SCALES: bool = B::SUB_SCALES;
    const SIGNED: bool = true;
    const STEPS: usize = 1;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(rows: &[*const u8; 8], g: usize) -> Tile {
        let (block, part) = (g * GROUP / B::LEN, g % (B::LEN / GROUP));
        let groups: [Group; 8] = std::array::from_fn(|i| {
            // SAFETY: every row holds group g, so also the block it lies in; blocks are plain data.
            unsafe { rows[i].add(block * size_of::<B>()).cast::<B>().read_unaligned() }.group(part)
        });
        let mut codes = [_mm256_setzero_si256(); 8];
        for (j, codes) in codes.iter_mut().enumerate() {
            let dwords: [i32; 8] = std::array::from_fn(|i| {
                let q = &groups[i].q[4 * j..4 * j + 4];
                i32::from_le_bytes([q[0] as u8, q[1] as u8, q[2] as u8, q[3] as u8])
            });
            // SAFETY: 32 bytes.
            *codes = unsafe { _mm256_loadu_si256(dwords.as_ptr().cast()) };
        }
        let floats = |f: &dyn Fn(&Group) -> f32| -> __m256 {
            let values: [f32; 8] = std::array::from_fn(|i| f(&groups[i]));
            // SAFETY: 32 bytes.
            unsafe { _mm256_loadu_ps(values.as_ptr()) }
        };
        let pairs = |h: usize| -> __m256i {
            let values: [i32; 8] = std::array::from_fn(|i| {
                let s = groups[i].s[h];
                (i32::from(s) << 16) | i32::from(s as u16)
            });
            // SAFETY: 32 bytes.
            unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
        };
        Tile {
            codes,
            d: floats(&|g| g.d),
            s: [pairs(0), pairs(1)],
            m: [floats(&|g| g.m[0]), floats(&|g| g.m[1])],
        }
    }
}
