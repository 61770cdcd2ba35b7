//! GEMV and GEMM of the tiers of x86-64, written once for all formats and tiers (contract section 2).
//!
//! *GEMV* (few columns): each block of `ROWS` rows is unpacked to tiles and used at once, with the next rows prefetched
//! line by line; rows that are less than a tile are left to the GEMM. *GEMM* (many columns): a panel of two tiles' rows is
//! unpacked into caller-provided scratch that stays in cache, and every `COLUMNS` columns run over it, while the next rows
//! are fetched. Both do the arithmetic of [`super::dot`], so they return the same bits.

use super::dot::{Acc, Activations, Columns, accumulate, accumulate_mins, store};
use super::halves::Halves;
use super::pairs;
use super::simd::Simd;
use super::sums::{GroupSums, per_group};
use super::tile::{HalfFormat, Head, MAX_ROWS, Rows, Tile, TileFormat};
use crate::format::GROUP;
use crate::list::tile;
use crate::matrix::{MatMut, Matrix, QuantizedRows};
use crate::prefetch::{self, LINE, STREAMS};
use crate::table::Matmul;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Tiles that share each broadcast of activations in the GEMM.
pub(crate) const TILES: usize = 2;

/// Up to so many columns are a GEMV: their products with a tile are in registers, on every tier.
const GEMV_COLUMNS: usize = 8;

/// With up to so many columns, a GEMM that has the registers for it fetches what is next while it multiplies, not between columns.
const FEW_COLUMNS: usize = 128;

/// Bytes of the window that a GEMV has fetched while it works on the one before, unless a tile's rows are more.
const WINDOW: usize = 32 << 10;

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

/// What to fetch into L2 while the tiles of a GEMV are used: the window after the one that they lie in, after the last window
/// that of the next matrix.
pub(crate) struct Ahead {
    /// The next line of the window's first stream, and from there to the same place of the next stream.
    next: *const u8,
    stream: usize,
    /// Lines of each stream that are left of the tile's share, and how many of them are due and become due with each group, times
    /// 2^16.
    left: usize,
    due: usize,
    per_group: usize,
    /// Where the next tile is, when it is in the first window, which nobody may have fetched, and its bytes for each group.
    near: Option<*const u8>,
    near_per_group: usize,
}

impl Ahead {
    /// For the tile of `n` rows from `r0` on.
    #[inline(always)]
    pub(crate) fn new(w: &Matrix<'_>, r0: usize, n: usize) -> Ahead {
        let (tile, groups) = (n * w.row_bytes(), (w.cols() / GROUP).max(1));
        let tiles = WINDOW.div_ceil(tile.max(1));
        let (window, within) = (r0 / n / tiles, r0 / n % tiles);
        let tiles_here = (w.rows().div_ceil(n) - window * tiles).min(tiles);
        let next = from_row(w, (window + 1) * tiles * n);
        let stream = next.len().min(tiles * tile) / STREAMS;
        let all = stream.div_ceil(LINE);
        let share = all.div_ceil(tiles_here);
        let done = (within * share).min(all);
        Ahead {
            next: next.as_ptr().wrapping_add(LINE * done),
            stream,
            left: share.min(all - done),
            due: 0,
            per_group: (share << 16).div_ceil(groups),
            near: (window == 0).then(|| tile_at(w, r0 + n)),
            near_per_group: tile.div_ceil(groups),
        }
    }

    /// Fetches the share of some groups, a few lines at a time: a burst per super-block would fill the queues of the cache.
    #[inline(always)]
    pub(crate) fn fetch(&mut self, groups: usize) {
        self.each_line(groups, prefetch::prefetch);
        if let Some(near) = &mut self.near {
            let bytes = groups * self.near_per_group;
            fetch_into_l1(*near, bytes);
            *near = near.wrapping_add(bytes);
        }
    }

    /// Calls `fetch` for an address in each line of the share of some groups.
    #[inline(always)]
    fn each_line(&mut self, groups: usize, mut fetch: impl FnMut(*const u8)) {
        self.due += groups * self.per_group;
        while self.due >= 1 << 16 && self.left > 0 {
            for stream in 0..STREAMS {
                fetch(self.next.wrapping_add(stream * self.stream));
            }
            self.next = self.next.wrapping_add(LINE);
            self.left -= 1;
            self.due -= 1 << 16;
        }
    }
}

/// The rows from `row` on, or else the next matrix.
#[inline(always)]
fn from_row<'a>(w: &Matrix<'a>, row: usize) -> &'a [u8] {
    match w.data().get(row * w.stride()..) {
        // Rows with gaps between them are no stream.
        Some(rest) if !rest.is_empty() && w.stride() == w.row_bytes() => rest,
        _ => w.next(),
    }
}

/// Where row `r` would begin, whether or not it exists.
#[inline(always)]
pub(crate) fn tile_at(w: &Matrix<'_>, r: usize) -> *const u8 {
    w.data().as_ptr().wrapping_add(r.wrapping_mul(w.stride()))
}

/// Fetches `bytes` from `start` on into L1.
#[inline(always)]
fn fetch_into_l1(start: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(LINE) {
        // SAFETY: part of every x86-64; a prefetch of any address is harmless, also past the end of the mapping.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line).cast()) };
    }
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
    for r0 in (0..w.rows() / S::ROWS * S::ROWS).step_by(S::ROWS) {
        let mut rows = Rows::new(tile_at(w, r0), w.stride());
        let mut columns = Columns::<N>::new::<S, T::Codes>(&x, 0);
        let mut ahead = Ahead::new(w, r0, S::ROWS);
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
                        ahead.fetch(T::WIDTH);
                        T::add_part(&mut acc, rows_b, 0, tiles, columns);
                        ahead.fetch(T::WIDTH);
                        T::add_part(&mut acc, rows_b, 1, tiles.add(T::WIDTH), columns.from(T::WIDTH));
                    } else {
                        for part in 0..T::GROUPS / T::WIDTH {
                            let first = part * T::WIDTH;
                            ahead.fetch(T::WIDTH);
                            T::add_part(&mut acc, rows_b, part, tiles.add(first), columns.from(first));
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
) {
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
) {
    // SAFETY: the caller's.
    unsafe {
        if N > 1 || T::FITS {
            return add_tiles::<S, T, N>(acc, rows, part, tiles, x);
        }
        let mut sums = [S::splat32(0); 4];
        for (i, sum) in sums.iter_mut().enumerate().take(T::WIDTH) {
            *sum = S::Halves::start::<T::Codes, N>(&*tiles.add(i), &x, i);
        }
        for half in 0..2 {
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

/// What to fetch into L2 while panels are made and used: what is multiplied next.
pub(crate) struct NextRows {
    ahead: prefetch::Ahead,
    /// Bytes that become due with each group that is unpacked or multiplied.
    per_group: usize,
}

impl NextRows {
    /// For the `n` rows from `row` on, or as much of the next matrix, to be fetched evenly in so many passes over all groups: with few columns
    /// a burst for each would wait for memory as long as all of it takes.
    pub(crate) fn new(w: &Matrix<'_>, row: usize, n: usize, passes: usize) -> NextRows {
        let next = next_rows(w, row, n);
        let per_group = next.len().div_ceil((passes * w.cols() / GROUP).max(1));
        NextRows { ahead: prefetch::Ahead::new(next.as_ptr(), next.len()), per_group }
    }

    /// Fetches the share of some groups.
    #[inline(always)]
    pub(crate) fn fetch(&mut self, groups: usize) {
        self.ahead.fetch(groups * self.per_group);
    }
}

/// What is multiplied after the rows before `row`: `n` rows from there on, or as much of the next matrix.
fn next_rows<'a>(w: &Matrix<'a>, row: usize, n: usize) -> &'a [u8] {
    let next = from_row(w, row);
    &next[..next.len().min(n * w.row_bytes())]
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

#[cfg(test)]
mod tests {
    use super::{Ahead, GROUP, LINE, NextRows, WINDOW, next_rows};
    use crate::{Format, Matrix};
    use std::collections::HashSet;
    use std::ops::Range;

    /// The lines that a GEMV over all of `w` fetches beside the near ones.
    fn fetched(w: &Matrix<'_>, n: usize) -> HashSet<usize> {
        let mut lines = HashSet::new();
        for r0 in (0..w.rows()).step_by(n) {
            let mut ahead = Ahead::new(w, r0, n);
            for _ in 0..w.cols() / GROUP {
                ahead.each_line(1, |line| _ = lines.insert(line.addr() / LINE));
            }
        }
        lines
    }

    #[test]
    fn what_a_gemm_fetches_is_shared_evenly_by_its_passes() {
        for (rows, cols) in [(64, 32), (40, 576), (64, 4864), (16, 896)] {
            let bytes = Format::Q4_0.row_bytes(cols).unwrap();
            let data = vec![0; rows * bytes];
            let w = Matrix::new(Format::Q4_0, &data, rows, cols).unwrap();
            for passes in [2, 3, 5, 88] {
                let next = NextRows::new(&w, 32, 32, passes);
                let (shares, all) = (passes * (cols / GROUP), rows.saturating_sub(32).min(32) * bytes);
                let due = shares * next.per_group;
                assert!(
                    (all..all + shares).contains(&due) || due == 0 && all == 0,
                    "{rows} x {cols}, {passes}"
                );
            }
        }
        // Without columns there is nothing to divide by.
        let next = NextRows::new(&Matrix::new(Format::Q4_0, &[], 64, 0).unwrap(), 32, 32, 2);
        assert_eq!(next.per_group, 0);
    }

    #[test]
    fn every_line_after_the_first_window_is_fetched_and_the_next_matrix_begun() {
        for (rows, cols) in [(1, 32), (100, 896), (896, 896), (905, 512), (333, 4864), (40, 16384)] {
            for n in [8, 16] {
                let bytes = Format::Q4_0.row_bytes(cols).unwrap();
                let (data, after) = (vec![0; rows * bytes], vec![0; 3 * WINDOW]);
                let next = Matrix::new(Format::F32, &after, 1, after.len() / 4).unwrap();
                let w = Matrix::new(Format::Q4_0, &data, rows, cols).unwrap();
                let window = WINDOW.div_ceil(n * bytes) * n * bytes;
                // Whole lines only: those at the ends may be fetched for what lies beside.
                let lines = |data: &[u8], part: Range<usize>| -> HashSet<usize> {
                    let start = data.as_ptr().addr();
                    let end = part.end.min(data.len());
                    ((start + part.start).div_ceil(LINE)..(start + end) / LINE).collect()
                };
                let case = format!("{rows} x {cols}, tiles of {n}");
                let alone = fetched(&w, n);
                assert!(lines(&data, window..data.len()).is_subset(&alone), "{case}");
                assert!(lines(&data, 0..window).is_disjoint(&alone), "{case}");
                assert!(lines(&after, 0..after.len()).is_disjoint(&alone), "{case}");
                let chained = fetched(&w.followed_by(&next), n);
                assert!(lines(&after, 0..window).is_subset(&chained), "{case}");
                assert!(lines(&after, window..after.len()).is_disjoint(&chained), "{case}");
                // The hint belongs to the end.
                let begin = w.followed_by(&next).slice_rows(0..rows - 1);
                assert!(lines(&after, 0..after.len()).is_disjoint(&fetched(&begin, n)), "{case}");
            }
        }
    }

    #[test]
    fn a_gemm_fetches_the_next_rows_or_the_next_matrix() {
        let (data, after) = (vec![0; 100 * 18], vec![0; 10 * 18]);
        let next = Matrix::new(Format::Q4_0, &after, 10, 32).unwrap();
        let w = Matrix::new(Format::Q4_0, &data, 100, 32).unwrap();
        let chained = w.followed_by(&next);
        assert_eq!(next_rows(&w, 32, 32).as_ptr_range(), data[32 * 18..64 * 18].as_ptr_range());
        assert_eq!(next_rows(&chained, 96, 32).as_ptr_range(), data[96 * 18..].as_ptr_range());
        assert!(next_rows(&w, 100, 32).is_empty());
        assert_eq!(next_rows(&chained, 100, 4).as_ptr_range(), after[..4 * 18].as_ptr_range());
        assert_eq!(next_rows(&chained, 100, 32).as_ptr_range(), after.as_ptr_range());
        let gaps = Matrix::with_stride(Format::Q4_0, &data, 50, 32, 36).unwrap();
        assert!(next_rows(&gaps, 32, 16).is_empty());
    }
}
