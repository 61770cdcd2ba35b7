//! The driver of the GEMM: panels of two tiles' rows, as in [`super::super::matmul`], times blocks of 16 columns.
//!
//! Panels are unpacked by `avx512_vnni`'s code, whose codes are unsigned. They serve the columns that are left over first; then
//! their offset is subtracted where they lie, which is 8 instructions for a tile instead of one for each tile and
//! column, and tile registers multiply the whole blocks.

#![allow(clippy::needless_range_loop, reason = "row and column index several arrays at once")]

use super::super::ahead::NextRows;
use super::super::dot::{Acc, Activations, accumulate_mins, mins_per_group, store};
use super::super::matmul::{self, Block, COLUMN_BLOCK, TILES, all_columns, sums_bytes, unpack_panels};
use super::super::simd::{Avx512Vnni, Simd};
use super::super::sums::{GroupSums, per_group};
use super::super::tile::{Codes, Tile, TileFormat, transpose16_of};
use super::kernel::{self, COLUMNS, ROWS, Sums};
use crate::format::GROUP;
use crate::list::tile;
use crate::matrix::{MatMut, Matrix, QuantizedRows};
use crate::table::Matmul;
use std::arch::x86_64::*;

/// The kernel of format `T`.
pub(super) const fn of<T: TileFormat<Avx512Vnni>>() -> Option<Matmul> {
    Some(Matmul { run: run::<T>, scratch: scratch_bytes::<T>, gemv: None, gemm: tile(ROWS, COLUMNS) })
}

/// From this many columns on a tile product takes less time than the same by `vpdpbusd`, whose time grows with the columns: as
/// measured, `bench/log/x86.md`. With sub-scales there are two, which pay from two whole blocks on.
pub(super) const fn fewest_columns<T: TileFormat<Avx512Vnni>>() -> usize {
    if T::Codes::SUB_SCALES { 32 } else { 14 }
}

/// Scales of the activations of a column block, by blocks of 16 columns.
fn dx_bytes(cols: usize) -> usize {
    // One value more, because the scratch may begin anywhere.
    (COLUMN_BLOCK * (cols / GROUP) + 1) * size_of::<f32>()
}

/// Bytes of scratch for a matrix with `cols` columns: at least those of `avx512_vnni`.
fn scratch_bytes<T: TileFormat<Avx512Vnni>>(cols: usize) -> usize {
    dx_bytes(cols) + matmul::scratch_bytes::<Avx512Vnni, T>(cols)
}

/// `w * x` into `y`; `scratch` has at least [`scratch_bytes`] bytes.
///
/// # Safety
/// As [`matmul::matmul`].
unsafe fn run<T: TileFormat<Avx512Vnni>>(
    w: &Matrix<'_>,
    x: &QuantizedRows<'_>,
    y: &mut MatMut<'_>,
    scratch: &mut [u8],
) {
    // Columns without a value can be any number.
    if w.rows() == 0 {
        return;
    }
    for first in (0..x.n()).step_by(COLUMN_BLOCK) {
        let rows = x.slice(first..first + COLUMN_BLOCK);
        let y = &mut y.slice_columns(first..first + COLUMN_BLOCK);
        // SAFETY: the caller's.
        unsafe {
            // Without groups there is nothing to multiply, and the assembler begins with a product.
            if rows.n() < fewest_columns::<T>() || w.cols() == 0 {
                matmul::matmul::<Avx512Vnni, T>(w, &rows, y, scratch);
            } else {
                gemm::<T>(w, rows, y, scratch);
            }
        }
    }
}

/// At most [`COLUMN_BLOCK`] columns.
///
/// # Safety
/// As [`run`].
unsafe fn gemm<T: TileFormat<Avx512Vnni>>(
    w: &Matrix<'_>,
    x: QuantizedRows<'_>,
    y: &mut MatMut<'_>,
    scratch: &mut [u8],
) {
    let groups = w.cols() / GROUP;
    let (room, rest) = scratch.split_at_mut(sums_bytes::<Avx512Vnni, T>(w.cols()));
    let (dx, tiles) = rest.split_at_mut(dx_bytes(w.cols()));
    // SAFETY: every bit pattern is an i32, an f32, or a tile: vectors of integers and floats.
    let (room, dx, tiles) = unsafe {
        (room.align_to_mut::<i32>().1, dx.align_to_mut::<f32>().1, tiles.align_to_mut::<Tile<Avx512Vnni>>().1)
    };
    let mut on_tiles = x.n() / COLUMNS * COLUMNS;
    if x.n() - on_tiles >= fewest_columns::<T>() {
        on_tiles = x.n();
    }
    let stride = groups * per_group::<Avx512Vnni, T::Codes>();
    // Tile registers have no use for what an offset adds.
    let first = if mins_per_group::<T::Codes>() > 0 { 0 } else { on_tiles };
    // SAFETY: the caller's tier; as many values as there are columns.
    unsafe {
        if stride > 0 {
            let room = &mut room[first * stride..x.n() * stride];
            Avx512Vnni::make_sums::<T::Codes>(&x.slice(first..x.n()), room);
        }
        arrange_scales(&x.slice(0..on_tiles), dx);
    }
    let group_sums = GroupSums { start: room.as_ptr(), stride };
    let left = Activations { rows: x.slice(on_tiles..x.n()), sums: group_sums.skip_columns(on_tiles) };

    let first = tiles[..TILES * groups].as_mut_ptr();
    let panels = [first, first.wrapping_add(groups)];
    let mut sums = Sums::ZERO;
    for row in (0..w.rows()).step_by(TILES * ROWS) {
        let live = (TILES * ROWS).min(w.rows() - row);
        let at = Block { groups, row, live, column: 0 };
        // SAFETY: the panels hold `groups` tiles each and follow each other, and those of `live` rows have been unpacked;
        // rows and columns exist; scales of the columns of whole blocks have been arranged.
        unsafe {
            let mut next = NextRows::new(w, row + live, TILES * ROWS, TILES);
            unpack_panels::<Avx512Vnni, T>(w, row, live, panels, &mut next);
            let y_left = &mut y.slice_columns(on_tiles..x.n());
            if live > ROWS {
                all_columns::<Avx512Vnni, T, 2, false>(
                    panels.map(<*mut _>::cast_const),
                    left,
                    y_left,
                    at,
                    &mut next,
                );
            } else {
                all_columns::<Avx512Vnni, T, 1, false>([panels[0]], left, y_left, at, &mut next);
            }
            make_signed::<T::Codes>(panels[0], groups * live.div_ceil(ROWS));
            on_tile_registers::<T::Codes>(panels[0], &x.slice(0..on_tiles), dx, y, at, &mut sums);
            if live > ROWS {
                let panels = panels.map(<*mut _>::cast_const);
                all_mins::<T::Codes, 2>(panels, group_sums, on_tiles, y, at);
            } else {
                all_mins::<T::Codes, 1>([panels[0]], group_sums, on_tiles, y, at);
            }
        }
    }
}

/// `dx[block][group][column]` of blocks of 16 columns. Absent columns have another's: nothing of theirs is stored.
///
/// # Safety
/// The tier's features.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn arrange_scales(x: &QuantizedRows<'_>, dx: &mut [f32]) {
    let groups = x.k() / GROUP;
    let blocks = x.d.chunks(COLUMNS * groups).zip(dx.chunks_exact_mut(COLUMNS * groups));
    for (from, to) in blocks {
        let columns = from.len() / groups;
        let start: [*const f32; COLUMNS] =
            std::array::from_fn(|c| from[c.min(columns - 1) * groups..].as_ptr());
        let whole = groups / 4 * 4;
        for g in (0..whole).step_by(4) {
            // SAFETY: four scales from `g` on are in each column.
            let four = unsafe { transpose16_of::<Avx512Vnni>(|c| start[c].wrapping_add(g).cast()) };
            for (to, group) in to[g * COLUMNS..].chunks_exact_mut(COLUMNS).zip(four) {
                // SAFETY: 16 values.
                unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), group) };
            }
        }
        for g in whole..groups {
            for c in 0..columns {
                to[g * COLUMNS + c] = from[c * groups + g];
            }
        }
    }
}

/// The columns of `x` on tile registers: whole blocks, then the last if it has less than 16 columns. Mins are not added.
///
/// # Safety
/// As [`kernel::multiply`].
unsafe fn on_tile_registers<C: Codes>(
    panel: *const Tile<Avx512Vnni>,
    x: &QuantizedRows<'_>,
    dx: &[f32],
    y: &mut MatMut<'_>,
    at: Block,
    sums: &mut Sums,
) {
    let panel = kernel::Panel { start: panel, groups: at.groups, live: at.live };
    let (blocks, rest) = (x.n() / COLUMNS, x.n() % COLUMNS);
    let y_stride = y.stride();
    let mut part = |block: usize, blocks: usize, columns: usize| {
        let first = block * COLUMNS;
        let operands = kernel::Operands {
            x: x.q.as_ptr().wrapping_add(first * x.k()),
            stride: x.k(),
            dx: dx.as_ptr().wrapping_add(first * at.groups),
            y: y.at(at.row, first),
            y_stride,
        };
        // SAFETY: the caller's; these columns exist.
        unsafe { kernel::multiply(C::SUB_SCALES, panel, operands, (blocks, columns), sums) }
    };
    if blocks > 0 {
        part(0, blocks, COLUMNS);
    }
    if rest > 0 {
        part(blocks, 1, rest);
    }
}

/// Codes with an offset become the signed codes they stand for.
///
/// # Safety
/// The tier's features; `tiles` points to `n` tiles.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn make_signed<C: Codes>(tiles: *mut Tile<Avx512Vnni>, n: usize) {
    let offset = match (C::SIGNED, C::OFFSET_LOG2) {
        (true, _) => -128,
        (false, 0) => return,
        (false, log2) => 1 << log2,
    };
    let offset = _mm512_set1_epi8(offset);
    for i in 0..n {
        // SAFETY: the caller's tiles.
        for code in unsafe { &mut (*tiles.add(i)).codes } {
            *code = _mm512_sub_epi8(*code, offset);
        }
    }
}

/// Adds the mins of the first `n` columns to `y`, if the format has mins.
///
/// # Safety
/// As [`accumulate_mins`]; `y` holds the sums without mins.
unsafe fn all_mins<C: Codes, const R: usize>(
    panels: [*const Tile<Avx512Vnni>; R],
    x: GroupSums,
    n: usize,
    y: &mut MatMut<'_>,
    at: Block,
) {
    if mins_per_group::<C>() == 0 {
        return;
    }
    let mut column = 0;
    while column < n {
        let at = Block { column, ..at };
        // SAFETY: the caller's; these columns exist.
        column += unsafe {
            match n - column {
                8.. => add_mins::<C, R, 8>(panels, x, y, at),
                4.. => add_mins::<C, R, 4>(panels, x, y, at),
                _ => add_mins::<C, R, 1>(panels, x, y, at),
            }
        };
    }
}

/// `N` columns of it, from `at.column` on; returns how many.
///
/// # Safety
/// As [`all_mins`].
#[target_feature(enable = "avx512f")]
unsafe fn add_mins<C: Codes, const R: usize, const N: usize>(
    panels: [*const Tile<Avx512Vnni>; R],
    x: GroupSums,
    y: &mut MatMut<'_>,
    at: Block,
) -> usize {
    let mut acc: Acc<Avx512Vnni, R, N> = [[_mm512_setzero_ps(); N]; R];
    let mut macc = acc;
    // SAFETY: the caller's; `live` rows from `at.row` on exist in each column.
    unsafe {
        accumulate_mins::<Avx512Vnni, C, R, N>(&mut macc, panels, x, (at.column, 0), at.groups);
        for r in 0..R {
            let live = ROWS.min(at.live - r * ROWS);
            let lanes = (u32::MAX >> (32 - live)) as __mmask16;
            for c in 0..N {
                acc[r][c] = _mm512_maskz_loadu_ps(lanes, y.at(at.row + r * ROWS, at.column + c));
            }
        }
        store::<Avx512Vnni, C, R, N>(acc, macc, y, at);
    }
    N
}
