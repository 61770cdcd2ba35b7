//! Any format through its portable decoder: the default of formats without hand-written NEON code.

use super::tile::{MR, Rows, Tile, TileFormat};
use crate::format::{Block, GROUP, Group, Mins};
use std::arch::aarch64::*;
use std::marker::PhantomData;

/// Loads tiles of `B` by decoding 4 groups with [`Block::group`]; the arithmetic is still NEON.
pub(crate) struct Generic<B>(PhantomData<B>);

impl<B: Block> TileFormat for Generic<B> {
    const MINS: Mins = B::MINS;
    const MAX_SCALE: i32 = if B::SUB_SCALES { 128 } else { 0 };
    const LEN: usize = B::LEN;
    const BYTES: usize = size_of::<B>();
    const MAX: i32 = 128;
    type Block = ();

    #[inline(always)]
    unsafe fn block(_: &Rows) {}

    #[inline(always)]
    unsafe fn load(rows: &Rows, (): &(), g: usize, _: usize) -> Tile {
        let groups: [Group; MR] = std::array::from_fn(|r| {
            // SAFETY: the caller's block; blocks are plain data.
            unsafe { rows[r].cast::<B>().read_unaligned() }.group(g % (B::LEN / GROUP))
        });
        let halves: [i16; 8] = std::array::from_fn(|i| groups[i / 2].s[i % 2]);
        let floats = |f: &dyn Fn(&Group) -> f32| -> float32x4_t {
            let values: [f32; MR] = std::array::from_fn(|r| f(&groups[r]));
            // SAFETY: 16 bytes.
            unsafe { vld1q_f32(values.as_ptr()) }
        };
        Tile {
            // SAFETY: two halves of 16 within 32 bytes.
            codes: std::array::from_fn(|r| [0, 16].map(|h| unsafe { vld1q_s8(groups[r].q.as_ptr().add(h)) })),
            d: floats(&|g| g.d),
            // SAFETY: 16 bytes.
            s: unsafe { vld1q_s16(halves.as_ptr()) },
            m: [floats(&|g| g.m[0]), floats(&|g| g.m[1])],
        }
    }
}
