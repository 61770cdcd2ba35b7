//! GEMV and GEMM of the tiers of x86-64, written once for all formats and tiers (contract section 2).
//!
//! *GEMV* (few columns): each block of `ROWS` rows is unpacked to tiles and used at once, with the next rows prefetched
//! line by line; rows that are less than a tile are left to the GEMM. *GEMM* (many columns): a panel of two tiles' rows is
//! unpacked into caller-provided scratch that stays in cache, and every `COLUMNS` columns run over it, while the next rows
//! are fetched. Both do the arithmetic of [`super::dot`], so they return the same bits.

use super::ahead::{Ahead, NextRows, Reach};
use super::dot::{Acc, Activations, Columns, accumulate, accumulate_mins, store};
use super::halves::Halves;
use super::pairs;
use super::simd::Simd;
use super::sums::{GroupSums, per_group};
use super::tile::{HalfFormat, Head, MAX_ROWS, Rows, Tile, TileFormat};
use crate::format::GROUP;
use crate::list::tile;
use crate::matrix::{MatMut, Matrix, QuantizedRows};
use crate::table::Matmul;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Tiles that share each broadcast of activations in the GEMM.
pub(crate) const TILES: usize = 2;

/// Up to so many columns are a GEMV: their products with a tile are in registers, on every tier.
const GEMV_COLUMNS: usize = 8;

/// With up to so many columns, a GEMM that has the registers for it fetches what is next while it multiplies, not between columns.
const FEW_COLUMNS: usize = 128;

/// So many blocks ahead a GEMV stages heads.
pub(crate) const AHEAD: usize = 4;

/// The kernel of format `T` on tier `S`.
pub(crate) const fn of<S: Simd, T: TileFormat<S>>() -> Option<Matmul> {
    let (gemv, gemm) = (tile(S::ROWS, GEMV_COLUMNS), tile(TILES * S::ROWS, S::COLUMNS));
    Some(Matmul { run: matmul::<S, T>, scratch: scratch_bytes::<S, T>, gemv, gemm })
}

/// So many columns at a time where [`GroupSums`] of them are in scratch.
pub(crate) const COLUMN_BLOCK: usize = 512;

/// Bytes of scratch for a matrix with `cols` columns.
pub(crate) fn scratch_bytes<S: Simd, T: TileFormat<S>>(cols: usize) -> usize {
    // A tile more, because the scratch may begin anywhere.
    sums_bytes::<S, T>(cols) + (TILES * (cols / GROUP) + 1) * size_of::<Tile<S>>()
}

/// Those for [`GroupSums`].
pub(crate) fn sums_bytes<S: Simd, T: TileFormat<S>>(cols: usize) -> usize {
    match per_group::<S, T::Codes>() {
        0 => 0,
        // One value more, as above.
        per_group => (COLUMN_BLOCK * (cols / GROUP) * per_group + 1) * size_of::<i32>(),
    }
}

/// Which part of the result a step of the GEMM makes.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    /// Groups of 32 along K.
    pub groups: usize,
    /// The first row, and how many of the rows from there on exist.
    pub row: usize,
    pub live: usize,
    /// The first column.
    pub column: usize,
}

/// `w * x` into `y`; `scratch` has at least [`scratch_bytes`] bytes.
///
/// # Safety
/// The tier is usable; shapes have been checked: `w.cols() == x.k()`, `y` is `x.n()` columns of `w.rows()`.
pub(crate) unsafe fn matmul<S: Simd, T: TileFormat<S>>(
    w: &Matrix<'_>,
    x: &QuantizedRows<'_>,
    y: &mut MatMut<'_>,
    scratch: &mut [u8],
) {
    let (sums, tiles) = scratch.split_at_mut(sums_bytes::<S, T>(w.cols()));
    // SAFETY: every bit pattern is an i32, or a tile: vectors of integers and floats.
    let (sums, tiles) = unsafe { (sums.align_to_mut::<i32>().1, tiles.align_to_mut::<Tile<S>>().1) };
    let per_column = w.cols() / GROUP * per_group::<S, T::Codes>();
    let block = if per_column == 0 { x.n().max(1) } else { COLUMN_BLOCK };
    for first in (0..x.n()).step_by(block) {
        let rows = x.slice(first..first + block);
        let y = &mut y.slice_columns(first..first + block);
        // SAFETY: the caller's.
        unsafe {
            if per_column > 0 {
                S::make_sums::<T::Codes>(&rows, &mut sums[..rows.n() * per_column]);
            }
            let x = Activations { rows, sums: GroupSums { start: sums.as_ptr(), stride: per_column } };
            let by_pairs = pairs::pay::<S, T::Codes>(rows.n());
            match rows.n() {
                1 => S::gemv::<T, 1>(w, x, y),
                2 => S::gemv::<T, 2>(w, x, y),
                3 if const { pairs::pay::<S, T::Codes>(3) } => S::gemv_pairs::<T, 3, 0>(w, x, y),
                4 if const { pairs::pay::<S, T::Codes>(4) } => S::gemv_pairs::<T, 4, 0>(w, x, y),
                5 if const { pairs::pay::<S, T::Codes>(5) } => S::gemv_pairs::<T, 3, 2>(w, x, y),
                6 if const { pairs::pay::<S, T::Codes>(6) } => S::gemv_pairs::<T, 3, 3>(w, x, y),
                7 if const { pairs::pay::<S, T::Codes>(7) } => S::gemv_pairs::<T, 4, 3>(w, x, y),
                8 if const { pairs::pay::<S, T::Codes>(8) } => S::gemv_pairs::<T, 4, 4>(w, x, y),
                3 => S::gemv::<T, 3>(w, x, y),
                4 => S::gemv::<T, 4>(w, x, y),
                5 => S::gemv::<T, 5>(w, x, y),
                6 => S::gemv::<T, 6>(w, x, y),
                7 => S::gemv::<T, 7>(w, x, y),
                8 => S::gemv::<T, 8>(w, x, y),
                _ => {}
            }
            // What a GEMV leaves is less than a tile of rows, or than two.
            let tile = if by_pairs { TILES * S::ROWS } else { S::ROWS };
            let done = if rows.n() <= GEMV_COLUMNS { w.rows() / tile * tile } else { 0 };
            gemm::<S, T>(w, x, y, tiles, done);
        }
    }
}

/// Where row `r` would begin, whether or not it exists.
#[inline(always)]
pub(crate) fn tile_at(w: &Matrix<'_>, r: usize) -> *const u8 {
    w.data().as_ptr().wrapping_add(r.wrapping_mul(w.stride()))
}

/// Whole tiles of rows times `N` columns, straight from the blocks. What rows are left is for [`gemm`].
///
/// # Safety
/// As [`matmul`], and `N` columns.
#[inline(always)]
pub(crate) unsafe fn gemv<S: Simd, T: TileFormat<S>, const N: usize>(
    w: &Matrix<'_>,
    x: Activations<'_>,
    y: &mut MatMut<'_>,
) {
    let groups = w.cols() / GROUP;
    let blocks = groups / T::GROUPS;
    let mut tiles = [const { MaybeUninit::<Tile<S>>::uninit() }; 8];
    let tiles: *mut Tile<S> = tiles.as_mut_ptr().cast();
    let mut heads = [Head::EMPTY; 2 * AHEAD];
    let reach = Reach::of::<S, T, N>();
    for r0 in (0..w.rows() / S::ROWS * S::ROWS).step_by(S::ROWS) {
        let mut rows = Rows::new(tile_at(w, r0), w.stride());
        let mut columns = Columns::<N>::new::<S, T::Codes>(&x, 0);
        let mut ahead = Ahead::new(w, r0, S::ROWS, reach);
        // SAFETY: block b lies within every row, its groups within every activation row, and `unpack` writes all fields
        // of its at most 8 tiles that are read.
        unsafe {
            let mut acc: Acc<S, 1, N> = [[S::splat(0.0); N]];
            let mut macc = acc;
            if T::HEAD > 0 {
                let mut rows = rows;
                for head in &mut heads[..AHEAD.min(blocks)] {
                    T::stage(rows, 0, head);
                    rows = rows.skip(T::BYTES);
                    // Of the dwords of several blocks the compiler makes gathers where it has them, which are slower.
                    if S::ROWS == MAX_ROWS && T::HEAD > 2 {
                        rows = rows.pinned();
                    }
                }
            }
            for b in 0..blocks {
                if T::HEAD > 0 && b + AHEAD < blocks {
                    T::stage(rows, AHEAD * T::BYTES, &mut heads[(b + AHEAD) % (2 * AHEAD)]);
                }
                let rows_b = rows.with_head(&heads[b % (2 * AHEAD)]);
                // What is long and not in parts is a function: inlined for each N it is larger and slower.
                if T::GROUPS > 1 && T::WIDTH == T::GROUPS {
                    S::unpack::<T>(rows_b, 1, tiles);
                    for i in 0..T::GROUPS {
                        ahead.fetch(1);
                        accumulate::<S, T::Codes, 1, N>(&mut acc, [tiles.add(i)], &columns.from(i), 1);
                    }
                } else {
                    T::scales(rows_b, tiles);
                    // As two parts are written out, they share what their codes share, such as the high bits of Q3_K.
                    if const { T::GROUPS / T::WIDTH == 2 } {
                        T::add_part(&mut acc, rows_b, 0, tiles, columns, &mut ahead);
                        let (tiles, columns) = (tiles.add(T::WIDTH), columns.from(T::WIDTH));
                        T::add_part(&mut acc, rows_b, 1, tiles, columns, &mut ahead);
                    } else {
                        for part in 0..T::GROUPS / T::WIDTH {
                            let first = part * T::WIDTH;
                            let (tiles, columns) = (tiles.add(first), columns.from(first));
                            T::add_part(&mut acc, rows_b, part, tiles, columns, &mut ahead);
                        }
                    }
                }
                accumulate_mins::<S, T::Codes, 1, N>(
                    &mut macc,
                    [tiles],
                    x.sums,
                    (0, b * T::GROUPS),
                    T::GROUPS,
                );
                rows = rows.skip(T::BYTES);
                columns = columns.from(T::GROUPS);
            }
            let at = Block { groups, row: r0, live: S::ROWS, column: 0 };
            store::<S, T::Codes, 1, N>(acc, macc, y, at);
        }
    }
}

/// [`TileFormat::add_part`] by tiles.
///
/// # Safety
/// As it (here and below).
#[inline(always)]
pub(crate) unsafe fn add_tiles<S: Simd, T: TileFormat<S>, const N: usize>(
    acc: &mut Acc<S, 1, N>,
    rows: Rows<'_>,
    part: usize,
    tiles: *const Tile<S>,
    x: Columns<N>,
    ahead: &mut Ahead,
) {
    ahead.fetch(T::WIDTH);
    // Tiles of their own, so that codes need not be in memory at all.
    let mut own = [const { MaybeUninit::<Tile<S>>::uninit() }; 8];
    let own: *mut Tile<S> = own.as_mut_ptr().cast();
    // SAFETY: the caller's; `codes` and `take_scales` write all that is read.
    unsafe {
        T::codes(rows, part, own);
        for i in 0..T::WIDTH {
            (*own.add(i)).take_scales::<T::Codes>(&*tiles.add(i));
            accumulate::<S, T::Codes, 1, N>(acc, [own.add(i)], &x.from(i), 1);
        }
    }
}

/// [`TileFormat::add_part`] by halves of tiles where whole ones would take all registers, and one column: with more, codes are worth
/// writing to memory.
#[inline(always)]
pub(crate) unsafe fn add_halves<S: Simd, T: HalfFormat<S>, const N: usize>(
    acc: &mut Acc<S, 1, N>,
    rows: Rows<'_>,
    part: usize,
    tiles: *const Tile<S>,
    x: Columns<N>,
    ahead: &mut Ahead,
) {
    // SAFETY: the caller's.
    unsafe {
        if N > 1 || T::FITS {
            return add_tiles::<S, T, N>(acc, rows, part, tiles, x, ahead);
        }
        // A part's lines at once are more than the cache's queues take, and what they do not take is lost (on Zen 4). With 16 registers
        // it costs more than it saves.
        let twice = const { S::REGISTERS > 16 && T::WIDTH.is_multiple_of(2) };
        if !twice {
            ahead.fetch(T::WIDTH);
        }
        let mut sums = [S::splat32(0); 4];
        for (i, sum) in sums.iter_mut().enumerate().take(T::WIDTH) {
            *sum = S::Halves::start::<T::Codes, N>(&*tiles.add(i), &x, i);
        }
        for half in 0..2 {
            if twice {
                ahead.fetch(T::WIDTH / 2);
            }
            let codes = T::dwords::<4>(rows, part, 4 * half);
            for (i, sum) in sums.iter_mut().enumerate().take(T::WIDTH) {
                *sum = S::Halves::half::<T::Codes, N>(*sum, &codes[i], &*tiles.add(i), &x, i, half);
            }
        }
        for (i, sum) in sums.into_iter().enumerate().take(T::WIDTH) {
            let d = S::mul((*tiles.add(i)).d, S::splat(*x.d(0, i)));
            acc[0][0] = S::fma(d, S::Halves::finish::<T::Codes>(sum), acc[0][0]);
        }
    }
}

/// The rows from `first` on times all columns, two tiles of rows at a time through panels in `tiles`, of which there are enough.
///
/// # Safety
/// As [`matmul`].
unsafe fn gemm<S: Simd, T: TileFormat<S>>(
    w: &Matrix<'_>,
    x: Activations<'_>,
    y: &mut MatMut<'_>,
    tiles: &mut [Tile<S>],
    first: usize,
) {
    let groups = w.cols() / GROUP;
    let (low, high) = tiles.split_at_mut(groups);
    let panels = [low.as_mut_ptr(), high[..groups].as_mut_ptr()];
    for row in (first..w.rows()).step_by(TILES * S::ROWS) {
        let live = (TILES * S::ROWS).min(w.rows() - row);
        let at = Block { groups, row, live, column: 0 };
        let mut next = NextRows::new(w, row + live, TILES * S::ROWS, TILES + x.rows.n().div_ceil(S::COLUMNS));
        // SAFETY: both panels hold `groups` tiles; one is enough for the rows of one tile.
        unsafe {
            unpack_panels::<S, T>(w, row, live, panels, &mut next);
            let both = panels.map(<*mut _>::cast_const);
            if live <= S::ROWS {
                all_columns::<S, T, 1, false>([both[0]], x, y, at, &mut next);
            } else if const { S::REGISTERS > 16 } && x.rows.n() <= FEW_COLUMNS {
                all_columns::<S, T, 2, true>(both, x, y, at, &mut next);
            } else {
                all_columns::<S, T, 2, false>(both, x, y, at, &mut next);
            }
        }
    }
}

/// The tiles of `live` rows from `row` on, as many panels of them as there are tiles, while `next` is fetched.
///
/// # Safety
/// The tier is usable; the rows exist; each panel has room for a tile of each group.
pub(crate) unsafe fn unpack_panels<S: Simd, T: TileFormat<S>>(
    w: &Matrix<'_>,
    row: usize,
    live: usize,
    panels: [*mut Tile<S>; TILES],
    next: &mut NextRows,
) {
    let blocks = w.cols() / GROUP / T::GROUPS;
    let at_once = const {
        assert!(UNPACKED / T::GROUPS * T::BYTES <= MAX_COPY);
        UNPACKED / T::GROUPS
    };
    for (t, panel) in panels.into_iter().enumerate().take(live.div_ceil(S::ROWS)) {
        let first = row + t * S::ROWS;
        let rows = Rows::new(tile_at(w, first), w.stride());
        for b in (0..blocks).step_by(at_once) {
            let n = at_once.min(blocks - b);
            next.fetch(n * T::GROUPS);
            // SAFETY: `n` blocks from block b on lie within every row, or in the copy; their tiles within the panel.
            unsafe {
                let tiles = panel.add(b * T::GROUPS);
                if row + live - first < S::ROWS {
                    let copy = copy_blocks(w, first, b * T::BYTES..(b + n) * T::BYTES);
                    S::unpack::<T>(Rows::new(copy.as_ptr().cast(), MAX_COPY), n, tiles);
                } else {
                    S::unpack::<T>(rows.skip(b * T::BYTES), n, tiles);
                }
            }
        }
    }
}

/// Groups that are unpacked in one call.
const UNPACKED: usize = 8;

/// The most bytes of so many groups of a row in any format: Q8_0.
const MAX_COPY: usize = UNPACKED * 34;

/// Those `bytes` of the rows from `first` on, which are less than a tile's: of rows that do not exist there are zeros, whose results
/// are not stored.
#[cold]
fn copy_blocks(w: &Matrix<'_>, first: usize, bytes: Range<usize>) -> [[u8; MAX_COPY]; MAX_ROWS] {
    let mut copy = [[0; MAX_COPY]; MAX_ROWS];
    let rows = (first..w.rows()).filter_map(|r| w.row(r));
    for (to, row) in copy.iter_mut().zip(rows) {
        to[..bytes.len()].copy_from_slice(&row[bytes.clone()]);
    }
    copy
}

/// `R` panels times all columns, while `next` is fetched.
///
/// # Safety
/// As [`Simd::multiply`].
pub(crate) unsafe fn all_columns<S: Simd, T: TileFormat<S>, const R: usize, const FETCH: bool>(
    panels: [*const Tile<S>; R],
    x: Activations<'_>,
    y: &mut MatMut<'_>,
    at: Block,
    next: &mut NextRows,
) {
    for column in (0..x.rows.n()).step_by(S::COLUMNS) {
        let at = Block { column, ..at };
        if !FETCH {
            next.fetch(at.groups);
        }
        // SAFETY: the caller's.
        unsafe {
            match S::COLUMNS.min(x.rows.n() - column) {
                1 => S::multiply::<T::Codes, R, 1, FETCH>(panels, x, y, at, next),
                2 => S::multiply::<T::Codes, R, 2, FETCH>(panels, x, y, at, next),
                3 => S::multiply::<T::Codes, R, 3, FETCH>(panels, x, y, at, next),
                4 => S::multiply::<T::Codes, R, 4, FETCH>(panels, x, y, at, next),
                5 if const { S::COLUMNS >= 5 } => {
                    S::multiply::<T::Codes, R, 5, FETCH>(panels, x, y, at, next)
                }
                6 if const { S::COLUMNS >= 6 } => {
                    S::multiply::<T::Codes, R, 6, FETCH>(panels, x, y, at, next)
                }
                7 if const { S::COLUMNS >= 7 } => {
                    S::multiply::<T::Codes, R, 7, FETCH>(panels, x, y, at, next)
                }
                8 if const { S::COLUMNS >= 8 } => {
                    S::multiply::<T::Codes, R, 8, FETCH>(panels, x, y, at, next)
                }
                _ => {}
            }
        }
    }
}
