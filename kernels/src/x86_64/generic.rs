//! Any format through its portable decoder: the default of formats without hand-written code.

use super::simd::Simd;
use super::tile::{I8, I8Sub, MAX_ROWS, Rows, Tile, TileFormat, signed, sub_scale, transpose32};
use crate::format::{Block, GROUP, Group, Mins};
use std::marker::PhantomData;

/// Unpacks super-blocks of `B` by decoding each row with [`Block::group`]; the arithmetic is still the tier's.
pub(crate) struct Generic<B>(PhantomData<B>);
/// As [`Generic`], for formats with sub-scales.
pub(crate) struct GenericSub<B>(PhantomData<B>);

macro_rules! generic {
    ($name:ident, $codes:ty, $sub:literal) => {
        impl<S: Simd, B: Block + 'static> TileFormat<S> for $name<B> {
            type Codes = $codes;
            const BYTES: usize = size_of::<B>();
            const GROUPS: usize = 8;
            #[inline(always)]
            unsafe fn scales(_: Rows<'_>, _: *mut Tile<S>) {}
            #[inline(always)]
            unsafe fn codes(rows: Rows<'_>, _: usize, tiles: *mut Tile<S>) {
                const {
                    assert!(
                        align_of::<B>() == 1
                            && B::LEN == 8 * GROUP
                            && B::SUB_SCALES == $sub
                            && matches!(B::MINS, Mins::None)
                    )
                };
                // SAFETY: the caller's.
                unsafe { unpack::<S, B>(rows, tiles) }
            }
        }
    };
}
generic!(Generic, I8, false);
generic!(GenericSub, I8Sub, true);

/// # Safety
/// As [`TileFormat::unpack`].
#[inline(always)]
unsafe fn unpack<S: Simd, B: Block>(rows: Rows<'_>, tiles: *mut Tile<S>) {
    for g in 0..8 {
        let mut groups = [Group { q: [0; GROUP], s: [1; 2], d: 0.0, m: [0.0; 2] }; MAX_ROWS];
        for (i, group) in groups.iter_mut().enumerate().take(S::ROWS) {
            // SAFETY: the caller's; blocks are plain data without alignment.
            *group = unsafe { (*rows.at(i, 0).cast::<B>()).group(g) };
        }
        let d: [f32; MAX_ROWS] = std::array::from_fn(|i| groups[i].d);
        let codes: [*const u8; MAX_ROWS] = std::array::from_fn(|i| groups[i].q.as_ptr().cast());
        // SAFETY: the caller's tile g; 32 bytes of codes and 4 of each scale per row.
        unsafe {
            let tile = &mut *tiles.add(g);
            tile.d = S::as_f32(S::load(d.as_ptr().cast()));
            tile.codes = transpose32::<S>(Rows { start: &codes, offset: 0 }, 0);
            for code in &mut tile.codes {
                *code = signed::<S>(*code);
            }
            if B::SUB_SCALES {
                for h in 0..2 {
                    let s: [[i16; 2]; MAX_ROWS] = std::array::from_fn(|i| [groups[i].s[h]; 2]);
                    tile.s[h] = sub_scale::<S>(S::load(s.as_ptr().cast()));
                }
            }
        }
    }
}
