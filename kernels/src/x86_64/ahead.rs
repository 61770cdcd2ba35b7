//! What is fetched while something else is multiplied: windows of a matrix during its GEMV, the next rows during a GEMM.
//!
//! Nothing here changes a result: a prefetch is a hint.

use super::simd::Simd;
use super::tile::{MAX_ROWS, TileFormat};
use crate::format::GROUP;
use crate::matrix::Matrix;
use crate::prefetch::{self, LINE, STREAMS};
use crate::tier::cpuid;
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

/// Bytes of a page, in which the cache's own prefetcher begins anew.
const PAGE: usize = 4 << 10;

/// How far ahead a GEMV fetches.
#[derive(Clone, Copy)]
pub(crate) struct Reach {
    /// Bytes of the window that is fetched into L2 while the one before it is used, unless a tile's rows are more.
    window: usize,
    /// Tiles of at most so many bytes are fetched from there into L1, too, each while the one before it is used.
    near: usize,
}

impl Reach {
    /// For Intel's CPUs, where fetching into L1 besides was slower, and for what waits more for arithmetic than for memory.
    pub(crate) const SHORT: Reach = Reach { window: 32 << 10, near: 0 };
    /// For one column on AMD's CPUs with 16 rows in a tile, more than L1 follows by itself on Zen 4, where two small tiles are at home.
    /// With more columns, or 8 rows, it loses (`bench/log/x86.md`).
    const LONG: Reach = Reach { window: 64 << 10, near: 16 << 10 };

    /// For `N` columns and weights of `T` on tier `S`.
    #[inline(always)]
    pub(crate) fn of<S: Simd, T: TileFormat<S>, const N: usize>() -> Reach {
        let long = const { S::ROWS == MAX_ROWS && N == 1 && T::NEAR };
        if long && cpuid::is_amd() { Reach::LONG } else { Reach::SHORT }
    }

    /// Tiles of a window, each of so many bytes. Streams that are whole pages apart would come to the ends of their pages together.
    #[inline(always)]
    fn tiles(self, tile: usize) -> usize {
        let tiles = self.window.div_ceil(tile.max(1));
        if (tiles * tile).is_multiple_of(STREAMS * PAGE) { tiles + 1 } else { tiles }
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
    /// What is left of the next tile to be fetched into L1, and how much of it for each group.
    near: *const u8,
    near_per_group: usize,
}

impl Ahead {
    /// For the tile of `n` rows from `r0` on.
    #[inline(always)]
    pub(crate) fn new(w: &Matrix<'_>, r0: usize, n: usize, reach: Reach) -> Ahead {
        let (tile, groups) = (n * w.row_bytes(), (w.cols() / GROUP).max(1));
        let tiles = reach.tiles(tile);
        let (window, within) = (r0 / n / tiles, r0 / n % tiles);
        let tiles_here = (w.rows().div_ceil(n) - window * tiles).min(tiles);
        let next = from_row(w, (window + 1) * tiles * n);
        let stream = next.len().min(tiles * tile) / STREAMS;
        let all = stream.div_ceil(LINE);
        let share = all.div_ceil(tiles_here);
        let done = (within * share).min(all);
        // Of the first window nobody may have fetched anything.
        let near = if window == 0 || tile <= reach.near { from_row(w, r0 + n) } else { &[] };
        Ahead {
            next: next.as_ptr().wrapping_add(LINE * done),
            stream,
            left: share.min(all - done),
            due: 0,
            per_group: (share << 16).div_ceil(groups),
            near: near.as_ptr(),
            near_per_group: near.len().min(tile).div_ceil(groups),
        }
    }

    /// Fetches the share of some groups, a few lines at a time: a burst per super-block would fill the queues of the cache.
    #[inline(always)]
    pub(crate) fn fetch(&mut self, groups: usize) {
        self.each_line(groups, prefetch::prefetch);
        let bytes = groups * self.near_per_group;
        fetch_into_l1(self.near, bytes);
        self.near = self.near.wrapping_add(bytes);
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

/// Fetches `bytes` from `start` on into L1.
#[inline(always)]
fn fetch_into_l1(start: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(LINE) {
        // SAFETY: part of every x86-64; a prefetch of any address is harmless, also past the end of the mapping.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line).cast()) };
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

#[cfg(test)]
mod tests {
    use super::{Ahead, GROUP, LINE, NextRows, PAGE, Reach, STREAMS, next_rows};
    use crate::{Format, Matrix};
    use std::collections::HashSet;
    use std::ops::Range;

    /// The lines that a GEMV over all of `w` fetches beside the near ones.
    fn fetched(w: &Matrix<'_>, n: usize, reach: Reach) -> HashSet<usize> {
        let mut lines = HashSet::new();
        for r0 in (0..w.rows()).step_by(n) {
            let mut ahead = Ahead::new(w, r0, n, reach);
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
            for (n, reach) in [(8, Reach::SHORT), (16, Reach::SHORT), (16, Reach::LONG)] {
                let bytes = Format::Q4_0.row_bytes(cols).unwrap();
                let (data, after) = (vec![0; rows * bytes], vec![0; 3 * reach.window]);
                let next = Matrix::new(Format::F32, &after, 1, after.len() / 4).unwrap();
                let w = Matrix::new(Format::Q4_0, &data, rows, cols).unwrap();
                let window = reach.tiles(n * bytes) * n * bytes;
                // Whole lines only: those at the ends may be fetched for what lies beside.
                let lines = |data: &[u8], part: Range<usize>| -> HashSet<usize> {
                    let start = data.as_ptr().addr();
                    let end = part.end.min(data.len());
                    ((start + part.start).div_ceil(LINE)..(start + end) / LINE).collect()
                };
                let case = format!("{rows} x {cols}, tiles of {n}, windows of {}", reach.window);
                let alone = fetched(&w, n, reach);
                assert!(lines(&data, window..data.len()).is_subset(&alone), "{case}");
                assert!(lines(&data, 0..window).is_disjoint(&alone), "{case}");
                assert!(lines(&after, 0..after.len()).is_disjoint(&alone), "{case}");
                let chained = fetched(&w.followed_by(&next), n, reach);
                assert!(lines(&after, 0..window).is_subset(&chained), "{case}");
                assert!(lines(&after, window..after.len()).is_disjoint(&chained), "{case}");
                // The hint belongs to the end.
                let begin = w.followed_by(&next).slice_rows(0..rows - 1);
                assert!(lines(&after, 0..after.len()).is_disjoint(&fetched(&begin, n, reach)), "{case}");
            }
        }
    }

    #[test]
    fn streams_do_not_come_to_the_ends_of_their_pages_together() {
        for reach in [Reach::SHORT, Reach::LONG] {
            for tile in (1..=2 * reach.window).filter(|tile| !tile.is_multiple_of(STREAMS * PAGE)) {
                let window = reach.tiles(tile) * tile;
                assert!((reach.window..reach.window + 2 * tile).contains(&window), "tiles of {tile} bytes");
                assert!(!window.is_multiple_of(STREAMS * PAGE), "tiles of {tile} bytes");
            }
        }
        // 16 rows of 2048 weights of Q4_1.
        assert_eq!(Reach::LONG.tiles(20480), 5);
    }

    #[test]
    fn the_next_tile_is_fetched_into_l1_if_both_have_room_there() {
        let near = |reach, r0, cols| {
            let data = vec![0; 512 * Format::Q8_0.row_bytes(cols).unwrap()];
            let w = Matrix::new(Format::Q8_0, &data, 512, cols).unwrap();
            Ahead::new(&w, r0, 16, reach).near_per_group > 0
        };
        // Of the first window always, of later ones where the tile is small enough.
        assert!(near(Reach::SHORT, 0, 896) && near(Reach::LONG, 0, 4864));
        assert!(near(Reach::LONG, 256, 896) && !near(Reach::LONG, 256, 4864));
        assert!(!near(Reach::SHORT, 256, 896) && !near(Reach::LONG, 496, 896));
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
