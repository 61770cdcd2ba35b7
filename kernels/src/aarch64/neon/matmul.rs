//! GEMV and GEMM of the aarch64 tiers, written once for all formats (contract section 2).
//!
//! *GEMV* (few columns): tiles are loaded from the GGUF blocks and used at once, with the next 4 rows prefetched line by
//! line. *GEMM* (many columns): rows are unpacked into tiles in caller-provided scratch that stays in the second-level
//! cache, and a few columns at a time run over all of them. Both do the same arithmetic, so they return the same bits.

use super::columns::{Column, Side, columns, fill_side};
use super::dot::Dot;
use super::gemm::{add_mins, gemm, side_len, store};
use super::tile::{Codes, Kept, MR, Rows, Tile, TileFormat};
use crate::format::{GROUP, Mins};
use crate::matrix::{MatMut, Matrix, QuantizedRows};
use std::arch::aarch64::*;
use std::arch::asm;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// Rows of tiles that are unpacked together for a matrix of `groups` groups per row.
fn panel_tiles<D: Dot>(groups: usize) -> usize {
    (D::PANEL_BYTES / (groups.max(1) * size_of::<Tile>())).clamp(1, D::PANEL_TILES)
}

/// Bytes that the columns need, in GEMV or in one pass of GEMM.
const fn side_bytes<D: Dot>(groups: usize) -> usize {
    let gemv = (D::GEMM_FROM - 1) * groups * size_of::<Side>();
    let gemm = side_len::<D>(groups) * size_of::<f32>();
    if gemv > gemm { gemv } else { gemm }
}

/// Bytes of scratch for a matrix with `cols` columns: what the columns need, then the panel.
pub(crate) fn scratch_bytes<D: Dot>(cols: usize) -> usize {
    let groups = cols / GROUP;
    // Two tiles more, because the scratch may begin anywhere and the panel begins at a whole tile.
    side_bytes::<D>(groups) + (panel_tiles::<D>(groups) * groups + 2) * size_of::<Tile>()
}

/// `w * x` into `y`; `scratch` has at least [`scratch_bytes`] bytes.
///
/// # Safety
/// The tier of `D` is usable. Shapes have been checked: `w.cols() == x.k()`, `y` is `x.n()` columns of `w.rows()`, `w` has format `F`.
pub(crate) unsafe fn matmul<D: Dot, F: TileFormat>(
    w: &Matrix<'_>,
    x: &QuantizedRows<'_>,
    y: &mut MatMut<'_>,
    scratch: &mut [u8],
) {
    let groups = w.cols() / GROUP;
    // SAFETY: uninitialized tiles and plain data may have any bytes.
    let (_, tiles, _) = unsafe { scratch.align_to_mut::<MaybeUninit<Tile>>() };
    let (side, panel) = tiles.split_at_mut(side_bytes::<D>(groups).div_ceil(size_of::<Tile>()));
    let side = side.as_mut_ptr();
    // SAFETY: `side` has room for either; the rest is the caller's.
    unsafe {
        if x.n() < D::GEMM_FROM {
            let side: *mut Side = side.cast();
            fill_side::<D>(x, 0, x.n(), F::MINS, Codes::loaded::<F>(), side);
            match x.n() {
                1 => gemv::<D, F, 1>(w, x, y, side),
                2 => gemv::<D, F, 2>(w, x, y, side),
                _ => {}
            }
        } else {
            let step = MR * panel_tiles::<D>(groups);
            for r0 in (0..w.rows()).step_by(step) {
                let tiles = step.min(w.rows() - r0).div_ceil(MR);
                for t in 0..tiles {
                    let mut unpack =
                        Unpack::<'_, D> { dot: PhantomData, panel: &mut panel[t * groups..(t + 1) * groups] };
                    each_tile::<F, _>(w, r0 + t * MR, &mut unpack);
                }
                gemm::<D, F>(panel.as_ptr().cast(), tiles, x, y, r0, side.cast());
            }
        }
    }
}

/// What happens to the tiles of one row of tiles.
trait Sink<F: TileFormat> {
    /// Whether [`TileFormat::load_by_tables`] is the faster one.
    const TABLES: bool;
    /// Takes tile `g`, in ascending order, and returns something that is known only when it is done with.
    unsafe fn tile(&mut self, g: usize, tile: Tile) -> float32x4_t;

    /// Of a tile, what [`Sink::add`] adds.
    type Sums: AsRef<[float32x4_t]>;
    /// The first half of [`Sink::tile`], in any order.
    unsafe fn multiply(&mut self, g: usize, tile: &Tile) -> Self::Sums;
    /// The second half, in ascending order, which returns what [`Sink::tile`] does.
    unsafe fn add(&mut self, g: usize, tile: &Tile, sums: &Self::Sums) -> float32x4_t;
}

/// The 4 rows from `r0` on, tile after tile.
///
/// # Safety
/// `r0 < w.rows()`; `w` has format `F`.
#[inline(always)]
unsafe fn each_tile<F: TileFormat, S: Sink<F>>(w: &Matrix<'_>, r0: usize, sink: &mut S) {
    const { assert!(!F::PAIRED || F::PARTS.is_multiple_of(4)) }
    let per_block = F::LEN / GROUP;
    let blocks = w.cols() / F::LEN;
    let bytes = if F::BYTES == 0 { w.format().block_bytes() } else { F::BYTES };
    let live = MR.min(w.rows() - r0);
    // Past the last row the last row is repeated and its results are not stored.
    let mut rows: Rows =
        std::array::from_fn(|i| w.data().as_ptr().wrapping_add((r0 + i.min(live - 1)) * w.stride()));
    // The next 4 rows begin here; they lie one after the other, so each block here stands for 4 blocks there.
    let mut ahead = w.data().as_ptr().wrapping_add(w.stride().wrapping_mul(r0 + MR));
    for b in 0..blocks {
        // SAFETY: rows point to block b of `blocks`; parts add up to the groups of a block.
        unsafe {
            let block = F::block(&rows, w.format());
            for g in (0..per_block).step_by(F::PARTS) {
                // Spread over the block: a burst per block would fill the line buffers.
                let lines = (MR * bytes * F::PARTS / per_block).div_ceil(64);
                let ahead = ahead.wrapping_add(MR * bytes * g / per_block);
                macro_rules! line {
                    ($($l:literal)*) => {$(
                        if $l < lines {
                            prefetch::<{ 64 * $l }>(ahead);
                        }
                    )*};
                }
                line!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
                macro_rules! part {
                    ($($p:literal)*) => {$(
                        if $p < F::PARTS && !F::PAIRED {
                            let tile = F::load(&rows, &block, &mut nothing(), g + $p, $p);
                            let done = sink.tile(b * per_block + g + $p, tile);
                            if F::PARTS > 2 {
                                after(done, &mut rows);
                            }
                        }
                    )*};
                }
                part!(0 1 2 3 4 5 6 7);
                macro_rules! four {
                    ($($p:literal)*) => {$(
                        if $p < F::PARTS && F::PAIRED {
                            let mut kept = nothing();
                            let first = product::<F, S>(&rows, &block, &mut kept, b * per_block, g, $p, sink);
                            let done = first.add::<F, S>(sink);
                            // Four parts may leave their additions to the end, without running out of registers.
                            after(if F::PARTS == 4 { first.last() } else { done }, &mut rows);
                            let third = product::<F, S>(&rows, &block, &mut kept, b * per_block, g, $p + 2, sink);
                            after(third.last(), &mut rows);
                            let second = product::<F, S>(&rows, &block, &mut kept, b * per_block, g, $p + 1, sink);
                            second.add::<F, S>(sink);
                            let done = third.add::<F, S>(sink);
                            after(if F::PARTS == 4 { second.last() } else { done }, &mut rows);
                            let fourth = product::<F, S>(&rows, &block, &mut kept, b * per_block, g, $p + 3, sink);
                            let done = fourth.add::<F, S>(sink);
                            after(if F::PARTS == 4 { fourth.last() } else { done }, &mut rows);
                        }
                    )*};
                }
                four!(0 4);
            }
        }
        for row in &mut rows {
            *row = row.wrapping_add(bytes);
            // Or else the compiler keeps distances of rows, and adds them up again for every block.
            // SAFETY: no instruction; the pointer comes out as it went in.
            unsafe { asm!("/* {0} */", inout(reg) * row, options(pure, readonly, nostack, preserves_flags)) };
        }
        ahead = ahead.wrapping_add(MR * bytes);
    }
}

/// Before the first of two parts.
#[inline(always)]
fn nothing() -> Kept {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe { [[vdupq_n_u8(0); 2]; MR] }
}

/// A tile that is multiplied, and not yet added.
struct Product<Sums> {
    g: usize,
    tile: Tile,
    sums: Sums,
}

/// The product of part `part` of the parts from group `g` of a block on, whose groups begin at `block_at`.
///
/// # Safety
/// Those of [`TileFormat::load`] and [`Sink::multiply`].
#[inline(always)]
unsafe fn product<F: TileFormat, S: Sink<F>>(
    rows: &Rows,
    block: &F::Block,
    kept: &mut Kept,
    block_at: usize,
    g: usize,
    part: usize,
    sink: &mut S,
) -> Product<S::Sums> {
    // SAFETY: the caller's.
    unsafe {
        let tile = if S::TABLES {
            F::load_by_tables(rows, block, kept, g + part, part)
        } else {
            F::load(rows, block, kept, g + part, part)
        };
        let g = block_at + g + part;
        Product { g, sums: sink.multiply(g, &tile), tile }
    }
}

impl<Sums: AsRef<[float32x4_t]>> Product<Sums> {
    /// Known only when all is multiplied.
    #[inline(always)]
    fn last(&self) -> float32x4_t {
        self.sums.as_ref()[self.sums.as_ref().len() - 1]
    }

    #[inline(always)]
    unsafe fn add<F: TileFormat, S: Sink<F, Sums = Sums>>(&self, sink: &mut S) -> float32x4_t {
        // SAFETY: the caller's.
        unsafe { sink.add(self.g, &self.tile, &self.sums) }
    }
}

/// Hides from the compiler that `rows` were there before `done`.
///
/// Or else it loads what all parts of a block share before the first, interleaves the parts, and spills dozens of vectors;
/// the CPU overlaps them all the same.
#[inline(always)]
fn after(done: float32x4_t, rows: &mut Rows) {
    let [a, b, c, d] = rows;
    // SAFETY: no instruction; the pointers come out as they went in.
    unsafe {
        asm!("/* {0} {1} {2} {3} {4:v} */", inout(reg) *a, inout(reg) *b, inout(reg) *c, inout(reg) *d, in(vreg) done,
            options(pure, readonly, nostack, preserves_flags));
    }
}

/// The line at `p + OFFSET`; any address is harmless, also past the end of the mapping.
#[inline(always)]
fn prefetch<const OFFSET: usize>(p: *const u8) {
    // SAFETY: prfm only hints.
    unsafe {
        asm!("prfm pldl1keep, [{0}, {1}]", in(reg) p, const OFFSET, options(nostack, readonly, preserves_flags))
    }
}

/// Writes tiles to the panel, as signed codes in the layout of `D`.
struct Unpack<'a, D> {
    dot: PhantomData<D>,
    panel: &'a mut [MaybeUninit<Tile>],
}

impl<D: Dot, F: TileFormat> Sink<F> for Unpack<'_, D> {
    const TABLES: bool = D::TABLES;
    #[inline(always)]
    unsafe fn tile(&mut self, g: usize, tile: Tile) -> float32x4_t {
        let tile = self.panel[g].write(D::pack(tile.signed::<F>()));
        // SAFETY: NEON is part of the aarch64 baseline.
        unsafe { vreinterpretq_f32_s8(tile.codes[MR - 1][1]) }
    }

    type Sums = [float32x4_t; 1];
    #[inline(always)]
    unsafe fn multiply(&mut self, g: usize, tile: &Tile) -> [float32x4_t; 1] {
        // SAFETY: the caller's.
        [unsafe { Sink::<F>::tile(self, g, *tile) }]
    }
    #[inline(always)]
    unsafe fn add(&mut self, _: usize, _: &Tile, done: &[float32x4_t; 1]) -> float32x4_t {
        done[0]
    }
}

/// Multiplies tiles as they are loaded.
struct Multiply<'a, D, const N: usize> {
    dot: PhantomData<D>,
    x: &'a QuantizedRows<'a>,
    side: *const Side,
    acc: [float32x4_t; N],
    macc: [float32x4_t; N],
}

impl<D: Dot, F: TileFormat, const N: usize> Sink<F> for Multiply<'_, D, N> {
    const TABLES: bool = D::TABLES;
    #[inline(always)]
    unsafe fn tile(&mut self, g: usize, tile: Tile) -> float32x4_t {
        let codes = const { Codes::loaded::<F>() };
        // SAFETY: g < groups and N <= x.n(), so every column lies within the views and the side.
        unsafe {
            let mut at = Column::new(self.x, 0, g, self.side);
            columns!(N, c => {
                let sum = D::sum(codes, &tile, &at);
                self.acc[c] = vfmaq_f32(self.acc[c], vmulq_n_f32(tile.d, at.d()), sum);
                self.macc[c] = add_mins(F::MINS, self.macc[c], &tile.m, &at.side().sums);
                at.next(self.acc[c]);
            });
        }
        self.acc[N - 1]
    }

    type Sums = [float32x4_t; N];
    #[inline(always)]
    unsafe fn multiply(&mut self, g: usize, tile: &Tile) -> [float32x4_t; N] {
        let codes = const { Codes::loaded::<F>() };
        // SAFETY: as above; NEON is part of the aarch64 baseline.
        unsafe {
            let mut sums = [vdupq_n_f32(0.0); N];
            let mut at = Column::new(self.x, 0, g, self.side);
            columns!(N, c => {
                sums[c] = D::sum(codes, tile, &at);
                at.next(sums[c]);
            });
            sums
        }
    }
    #[inline(always)]
    unsafe fn add(&mut self, g: usize, tile: &Tile, sums: &[float32x4_t; N]) -> float32x4_t {
        // SAFETY: as above.
        unsafe {
            let mut at = Column::new(self.x, 0, g, self.side);
            columns!(N, c => {
                self.acc[c] = vfmaq_f32(self.acc[c], vmulq_n_f32(tile.d, at.d()), sums[c]);
                self.macc[c] = add_mins(F::MINS, self.macc[c], &tile.m, &at.side().sums);
                at.next(self.acc[c]);
            });
            self.acc[N - 1]
        }
    }
}

/// All rows times `N` columns.
#[inline(never)]
unsafe fn gemv<D: Dot, F: TileFormat, const N: usize>(
    w: &Matrix<'_>,
    x: &QuantizedRows<'_>,
    y: &mut MatMut<'_>,
    side: *const Side,
) {
    // SAFETY: the caller's; NEON is part of the aarch64 baseline.
    unsafe {
        let done = if N == 1 && F::CODES32.is_some() { D::gemv::<F>(w, x, y, side) } else { 0 };
        for r0 in (done..w.rows()).step_by(MR) {
            let zero = [vdupq_n_f32(0.0); N];
            let mut sink = Multiply::<'_, D, N> { dot: PhantomData, x, side, acc: zero, macc: zero };
            each_tile::<F, _>(w, r0, &mut sink);
            if F::MINS != Mins::None {
                for c in 0..N {
                    sink.acc[c] = vaddq_f32(sink.acc[c], sink.macc[c]);
                }
            }
            store(&sink.acc, y, r0, 0);
        }
    }
}
