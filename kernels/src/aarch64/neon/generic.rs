//! Any format through its portable decoder: the default of formats without hand-written NEON code.

use super::tile::{Byte, ByteSub, MR, Rows, Tile, TileFormat};
use crate::Format;
use crate::format::{Block, GROUP, Group, SUPER_BLOCK, with_block};
use std::arch::aarch64::*;
use std::mem::MaybeUninit;

/// Blocks of [`GROUP`] weights.
pub(crate) struct Generic32;
/// Super-blocks without sub-scales.
pub(crate) struct Generic;
/// Super-blocks with sub-scales.
pub(crate) struct GenericSub;

/// The tiles of a block.
type Tiles = MaybeUninit<[Tile; SUPER_BLOCK / GROUP]>;

macro_rules! generic {
    ($name:ident, $len:expr, $class:ident, $max_scale:literal) => {
        impl TileFormat for $name {
            const MAX_SCALE: i32 = $max_scale;
            const LEN: usize = $len;
            const MAX: i32 = 128;
            type Signed = $class;
            type Block = Tiles;

            #[inline(always)]
            unsafe fn block(rows: &Rows, format: Format) -> Tiles {
                let mut tiles = Tiles::uninit();
                // SAFETY: the caller's block, and room for the tiles of any block.
                unsafe { decoder(format)(rows, tiles.as_mut_ptr().cast()) }
                tiles
            }

            #[inline(always)]
            unsafe fn load(_: &Rows, block: &Tiles, g: usize, _: usize) -> Tile {
                // SAFETY: `block` has written the groups of a block, and g is one.
                unsafe { block.as_ptr().cast::<Tile>().add(g).read() }
            }
        }
    };
}
generic!(Generic32, GROUP, Byte, 0);
generic!(Generic, SUPER_BLOCK, Byte, 0);
generic!(GenericSub, SUPER_BLOCK, ByteSub, 128);

/// [`decode`] for the block type of `format`.
fn decoder(format: Format) -> unsafe fn(&Rows, *mut Tile) {
    with_block!(format, B => decode::<B>, else => unreachable!("float formats have no blocks"))
}

/// Decodes 4 rows of one block with [`Block::group`]; the arithmetic is still NEON.
///
/// # Safety
/// A block is readable in each row; `tiles` has room for its groups.
#[inline(never)]
unsafe fn decode<B: Block>(rows: &Rows, tiles: *mut Tile) {
    // SAFETY: the caller's; blocks are plain data.
    let blocks = rows.map(|row| unsafe { row.cast::<B>().read_unaligned() });
    for g in 0..B::LEN / GROUP {
        let groups: [Group; MR] = std::array::from_fn(|r| blocks[r].group(g));
        let halves: [i16; 2 * MR] = std::array::from_fn(|i| groups[i / 2].s[i % 2]);
        let d: [f32; MR] = std::array::from_fn(|r| groups[r].d);
        // SAFETY: arrays as long as a vector; room for tile g.
        unsafe {
            let zero = vdupq_n_f32(0.0);
            tiles.add(g).write(Tile {
                codes: std::array::from_fn(|r| [0, 16].map(|h| vld1q_s8(groups[r].q.as_ptr().add(h)))),
                d: vld1q_f32(d.as_ptr()),
                s: vld1q_s16(halves.as_ptr()),
                m: [zero, zero],
            });
        }
    }
}
