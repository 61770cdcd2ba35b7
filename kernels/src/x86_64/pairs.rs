//! A GEMV of several columns by two tiles of rows at a time, so that each broadcast of activations serves both.
//!
//! It pays where a broadcast is an instruction of its own, beside two for its product (`vpmaddubsw`, `vpaddw`).

use super::ahead::{Ahead, Reach};
use super::dot::{Acc, Activations, Columns, accumulate, accumulate_mins, store};
use super::matmul::{AHEAD, Block, TILES, tile_at};
use super::simd::Simd;
use super::sums::GroupSums;
use super::tile::{Codes, Head, Rows, Tile, TileFormat};
use crate::format::GROUP;
use crate::matrix::{MatMut, Matrix};
use std::mem::MaybeUninit;

/// Whether it pays for `n` columns. Signed codes have five instructions for each product, and some of them once more for each share of the
/// columns; where an i16 holds less than four products, what they are added to takes registers too, for which shares of four columns have none.
pub(crate) const fn pay<S: Simd, C: Codes>(n: usize) -> bool {
    !S::VNNI && !C::SIGNED && n > 2 && (n < 7 || C::STEPS > 2)
}

/// Products of both tiles with `N` of the columns, as many as there are registers for.
struct Share<S: Simd, const N: usize> {
    first: usize,
    columns: Columns<N>,
    sums: GroupSums,
    acc: Acc<S, TILES, N>,
    macc: Acc<S, TILES, N>,
}

impl<S: Simd, const N: usize> Share<S, N> {
    /// Columns `first .. first + N`.
    ///
    /// # Safety
    /// The tier's features (here and below).
    #[inline(always)]
    unsafe fn new<C: Codes>(x: &Activations<'_>, first: usize) -> Self {
        // SAFETY: the caller's.
        let zero = unsafe { [[S::splat(0.0); N]; TILES] };
        Share { first, columns: Columns::new::<S, C>(x, first), sums: x.sums, acc: zero, macc: zero }
    }

    /// Adds the products of group `g`, whose tiles these are.
    ///
    /// # Safety
    /// The columns have this group (here and below).
    #[inline(always)]
    unsafe fn add<C: Codes>(&mut self, tiles: [*mut Tile<S>; TILES], g: usize) {
        // SAFETY: the caller's.
        unsafe {
            accumulate::<S, C, TILES, N>(
                &mut self.acc,
                tiles.map(<*mut _>::cast_const),
                &self.columns.from(g),
                1,
            )
        }
    }

    /// Adds those of the mins of a block, whose first group is `g` and whose tiles these are.
    #[inline(always)]
    unsafe fn add_mins<C: Codes>(&mut self, tiles: [*mut Tile<S>; TILES], g: usize, groups: usize) {
        let tiles = tiles.map(<*mut _>::cast_const);
        // SAFETY: the caller's.
        unsafe {
            accumulate_mins::<S, C, TILES, N>(&mut self.macc, tiles, self.sums, (self.first, g), groups)
        }
    }

    /// Stores the results of rows from `at.row` on.
    #[inline(always)]
    unsafe fn store<C: Codes>(self, y: &mut MatMut<'_>, at: Block) {
        // SAFETY: the caller's.
        unsafe { store::<S, C, TILES, N>(self.acc, self.macc, y, Block { column: self.first, ..at }) }
    }
}

/// Whole pairs of tiles of rows times `A + B` columns, straight from the blocks.
///
/// # Safety
/// As [`super::matmul::matmul`], and so many columns.
#[inline(always)]
pub(crate) unsafe fn gemv<S: Simd, T: TileFormat<S>, const A: usize, const B: usize>(
    w: &Matrix<'_>,
    x: Activations<'_>,
    y: &mut MatMut<'_>,
) {
    let groups = w.cols() / GROUP;
    let blocks = groups / T::GROUPS;
    // What is long and not in parts is a function, as for single tiles.
    let whole = const { T::GROUPS > 1 && T::WIDTH == T::GROUPS };
    let mut tiles = [const { [const { MaybeUninit::<Tile<S>>::uninit() }; 8] }; TILES];
    let tiles: [*mut Tile<S>; TILES] = tiles.each_mut().map(|tiles| tiles.as_mut_ptr().cast());
    let mut heads = [[Head::EMPTY; 2 * AHEAD]; TILES];
    let live = TILES * S::ROWS;
    for row in (0..w.rows() / live * live).step_by(live) {
        let mut rows = [0, S::ROWS].map(|r| Rows::new(tile_at(w, row + r), w.stride()));
        let mut ahead = Ahead::new(w, row, live, Reach::SHORT);
        // SAFETY: block b lies within every row, its groups within every activation row; all fields of the tiles that are read are written.
        unsafe {
            let (mut a, mut b) =
                (Share::<S, A>::new::<T::Codes>(&x, 0), Share::<S, B>::new::<T::Codes>(&x, A));
            for t in 0..TILES {
                for (i, head) in heads[t].iter_mut().enumerate().take(AHEAD.min(blocks)) {
                    T::stage(rows[t], i * T::BYTES, head);
                }
            }
            for block in 0..blocks {
                let g = block * T::GROUPS;
                for t in 0..TILES {
                    if whole {
                        S::unpack::<T>(rows[t], 1, tiles[t]);
                        continue;
                    }
                    if T::HEAD > 0 && block + AHEAD < blocks {
                        T::stage(rows[t], AHEAD * T::BYTES, &mut heads[t][(block + AHEAD) % (2 * AHEAD)]);
                    }
                    T::scales(rows[t].with_head(&heads[t][block % (2 * AHEAD)]), tiles[t]);
                }
                for part in 0..T::GROUPS / T::WIDTH {
                    for t in 0..TILES {
                        if !whole {
                            let rows = rows[t].with_head(&heads[t][block % (2 * AHEAD)]);
                            T::codes(rows, part, tiles[t].add(part * T::WIDTH));
                        }
                    }
                    for i in part * T::WIDTH..(part + 1) * T::WIDTH {
                        ahead.fetch(1);
                        a.add::<T::Codes>(tiles.map(|tile| tile.add(i)), g + i);
                        b.add::<T::Codes>(tiles.map(|tile| tile.add(i)), g + i);
                    }
                }
                a.add_mins::<T::Codes>(tiles, g, T::GROUPS);
                b.add_mins::<T::Codes>(tiles, g, T::GROUPS);
                rows = rows.map(|rows| rows.skip(T::BYTES));
            }
            let at = Block { groups, row, live, column: 0 };
            a.store::<T::Codes>(y, at);
            b.store::<T::Codes>(y, at);
        }
    }
}
