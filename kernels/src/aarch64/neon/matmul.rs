//! GEMV and GEMM of the `neon` tier, written once for all formats (contract section 2).
//!
//! *GEMV* (few columns): tiles are loaded from the GGUF blocks and used at once, with the next 4 rows prefetched line by
//! line. *GEMM* (many columns): rows are unpacked into tiles in caller-provided scratch that stays in the second-level
//! cache, and every 8 columns run over all of them. Both do the same arithmetic, so they return the same bits.

use super::tile::{Class, Codes, MR, Rows, Tile, TileFormat, isum, to_float};
use crate::format::{GROUP, Mins};
use crate::matrix::{MatMut, Matrix, QuantizedRows};
use std::arch::aarch64::*;
use std::mem::MaybeUninit;

/// Columns per pass over the panel.
const NR: usize = 8;
/// From this many columns on, unpacking once pays (by counted instructions, it costs as much as it saves at 4).
const GEMM_FROM: usize = 3;
/// Aim for panels of this size: half of a Cortex-A72's second-level cache is for the panels of its four cores.
const PANEL_BYTES: usize = 128 << 10;
/// More rows than this per panel save nothing.
const PANEL_TILES: usize = 8;

/// Tiles of 4 rows that are unpacked together for a matrix of `groups` groups per row.
fn panel_tiles(groups: usize) -> usize {
    (PANEL_BYTES / (groups.max(1) * size_of::<Tile>())).clamp(1, PANEL_TILES)
}

/// What depends on a column and a group only, for up to [`NR`] columns: `[NR][groups]` of each, column after column.
#[derive(Clone, Copy)]
#[repr(C)]
struct Side {
    /// `dx * sum` of the group, or of its halves: what the mins are multiplied by.
    sums: [f32; 2],
    /// [`Codes::bias`].
    bias: i32,
    pad: i32,
}

/// Bytes of scratch for a matrix with `cols` columns: one row of `Side` per column, then the panel.
pub(crate) fn scratch_bytes(cols: usize) -> usize {
    let groups = cols / GROUP;
    // One tile more, because the scratch may begin anywhere.
    let tiles = panel_tiles(groups) * groups + 1;
    NR * groups * size_of::<Side>() + tiles * size_of::<Tile>()
}

/// `w * x` into `y`; `scratch` has at least [`scratch_bytes`] bytes.
///
/// # Safety
/// Shapes have been checked: `w.cols() == x.k()`, `y` is `x.n()` columns of `w.rows()`, `w` has format `F`.
pub(crate) unsafe fn matmul<F: TileFormat>(
    w: &Matrix<'_>,
    x: &QuantizedRows<'_>,
    y: &mut MatMut<'_>,
    scratch: &mut [u8],
) {
    let groups = w.cols() / GROUP;
    // SAFETY: uninitialized tiles and plain data may have any bytes.
    let (_, tiles, _) = unsafe { scratch.align_to_mut::<MaybeUninit<Tile>>() };
    let per_side = size_of::<Tile>() / size_of::<Side>();
    let (side, panel) = tiles.split_at_mut((NR * groups).div_ceil(per_side));
    let side: *mut Side = side.as_mut_ptr().cast();
    let step = if x.n() < GEMM_FROM { MR } else { MR * panel_tiles(groups) };
    // SAFETY: `side` holds NR * groups elements; the rest is the caller's.
    unsafe {
        if x.n() < GEMM_FROM {
            fill_side(x, 0, x.n(), F::MINS, Codes::loaded::<F>(), side);
            for r0 in (0..w.rows()).step_by(step) {
                match x.n() {
                    1 => gemv::<F, 1>(w, x, y, r0, side),
                    2 => gemv::<F, 2>(w, x, y, r0, side),
                    _ => {}
                }
            }
        } else {
            for r0 in (0..w.rows()).step_by(step) {
                let tiles = step.min(w.rows() - r0).div_ceil(MR);
                for t in 0..tiles {
                    let mut unpack = Unpack { panel: &mut panel[t * groups..(t + 1) * groups] };
                    each_tile::<F, _>(w, r0 + t * MR, &mut unpack);
                }
                gemm::<F>(panel.as_ptr().cast(), tiles, x, y, r0, side);
            }
        }
    }
}

/// Fills `side` for columns `c0 .. c0 + n`.
unsafe fn fill_side(x: &QuantizedRows<'_>, c0: usize, n: usize, mins: Mins, codes: Codes, side: *mut Side) {
    let groups = x.k() / GROUP;
    for i in 0..n * groups {
        let at = c0 * groups + i;
        let (dx, low, high) = (x.d[at], i32::from(x.sums[2 * at]), i32::from(x.sums[2 * at + 1]));
        let sums = match mins {
            Mins::None => [0.0; 2],
            Mins::Per32 => [dx * (low + high) as f32, 0.0],
            Mins::Per16 => [dx * low as f32, dx * high as f32],
        };
        // SAFETY: the caller's n * groups elements.
        unsafe { side.add(i).write(Side { sums, bias: codes.bias(low + high), pad: 0 }) };
    }
}

/// `e` for each column, written out: accumulators in a loop that is not unrolled would live in memory.
macro_rules! columns {
    ($n:expr, $c:ident => $e:expr) => { columns!(@ $n, $c => $e; 0 1 2 3 4 5 6 7) };
    (@ $n:expr, $c:ident => $e:expr; $($i:literal)*) => {$(
        if $i < $n {
            let $c: usize = $i;
            $e
        }
    )*};
}

/// What happens to the tiles of one row of tiles.
trait Sink<F: TileFormat> {
    unsafe fn tile(&mut self, g: usize, tile: Tile);
}

/// The 4 rows from `r0` on, tile after tile.
///
/// # Safety
/// `r0 < w.rows()`; `w` has format `F`.
#[inline(always)]
unsafe fn each_tile<F: TileFormat, S: Sink<F>>(w: &Matrix<'_>, r0: usize, sink: &mut S) {
    let per_block = F::LEN / GROUP;
    let blocks = w.cols() / F::LEN;
    let bytes = if F::BYTES == 0 { w.format().block_bytes() } else { F::BYTES };
    let live = MR.min(w.rows() - r0);
    // Past the last row the last row is repeated and its results are not stored.
    let mut rows: Rows =
        std::array::from_fn(|i| w.data().as_ptr().wrapping_add((r0 + i.min(live - 1)) * w.row_bytes()));
    // The next 4 rows begin here; they lie one after the other, so each block here stands for 4 blocks there.
    let mut ahead = w.data().as_ptr().wrapping_add((r0 + MR) * w.row_bytes());
    for b in 0..blocks {
        // SAFETY: rows point to block b of `blocks`; parts add up to the groups of a block.
        unsafe {
            let block = F::block(&rows, w.format());
            for g in (0..per_block).step_by(F::PARTS) {
                // Spread over the block: a burst per block would fill the line buffers.
                let lines = (MR * bytes * F::PARTS / per_block).div_ceil(64);
                for line in 0..lines {
                    prefetch(ahead.wrapping_add(MR * bytes * g / per_block + 64 * line));
                }
                macro_rules! part {
                    ($($p:literal)*) => {$(
                        if $p < F::PARTS {
                            sink.tile(b * per_block + g + $p, F::load(&rows, &block, g + $p, $p));
                        }
                    )*};
                }
                part!(0 1 2 3 4 5 6 7);
            }
        }
        rows = rows.map(|r| r.wrapping_add(bytes));
        ahead = ahead.wrapping_add(MR * bytes);
    }
}

/// Any address is harmless, also past the end of the mapping.
#[inline(always)]
fn prefetch(p: *const u8) {
    // SAFETY: prfm only hints.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) p, options(nostack, readonly, preserves_flags))
    }
}

/// Writes tiles to the panel, as signed codes.
struct Unpack<'a> {
    panel: &'a mut [MaybeUninit<Tile>],
}

impl<F: TileFormat> Sink<F> for Unpack<'_> {
    #[inline(always)]
    unsafe fn tile(&mut self, g: usize, tile: Tile) {
        self.panel[g].write(tile.signed::<F>());
    }
}

/// Multiplies tiles as they are loaded.
struct Multiply<'a, const N: usize> {
    x: &'a QuantizedRows<'a>,
    side: *const Side,
    acc: [float32x4_t; N],
    macc: [float32x4_t; N],
}

impl<F: TileFormat, const N: usize> Sink<F> for Multiply<'_, N> {
    #[inline(always)]
    unsafe fn tile(&mut self, g: usize, tile: Tile) {
        let codes = const { Codes::loaded::<F>() };
        // SAFETY: g < groups and N <= x.n(), so every column lies within the views and the side.
        unsafe {
            let mut at = Column::new(self.x, 0, g, self.side);
            columns!(N, c => {
                let isum = isum(codes, &tile, at.q(), at.sums(), at.side().bias);
                self.acc[c] = vfmaq_f32(self.acc[c], vmulq_n_f32(tile.d, at.d()), to_float(codes, isum));
                self.macc[c] = add_mins(F::MINS, self.macc[c], &tile.m, &at.side().sums);
                at.next(self.acc[c]);
            });
        }
    }
}

/// The min step of contract section 2.
#[inline(always)]
fn add_mins(mins: Mins, macc: float32x4_t, m: &[float32x4_t; 2], sums: &[f32; 2]) -> float32x4_t {
    // SAFETY: NEON is part of the aarch64 baseline.
    unsafe {
        match mins {
            Mins::None => macc,
            Mins::Per32 => vfmaq_n_f32(macc, m[0], sums[0]),
            Mins::Per16 => vfmaq_n_f32(vfmaq_n_f32(macc, m[0], sums[0]), m[1], sums[1]),
        }
    }
}

/// One group of one column.
struct Column<'a> {
    x: &'a QuantizedRows<'a>,
    /// Of the first column.
    side: *const Side,
    /// Group within all columns.
    at: usize,
    /// Group within the columns of `side`.
    side_at: usize,
}

impl<'a> Column<'a> {
    /// Group `g` of column `c`; `side` begins at column `c`.
    #[inline(always)]
    fn new(x: &'a QuantizedRows<'a>, c: usize, g: usize, side: *const Side) -> Column<'a> {
        Column { x, side, at: c * (x.k() / GROUP) + g, side_at: g }
    }

    /// The same group of the next column, once `done` is computed.
    ///
    /// Left alone, the compiler interleaves the columns and spills dozens of vectors. The empty assembly makes the next
    /// column's addresses depend on `done`, at the cost of no instruction; the CPU overlaps the columns all the same.
    #[inline(always)]
    fn next(&mut self, done: float32x4_t) {
        self.at += self.x.k() / GROUP;
        self.side_at += self.x.k() / GROUP;
        // SAFETY: no instruction; the index comes out as it went in.
        unsafe {
            std::arch::asm!("/* {0} {1:v} */", inout(reg) self.at, in(vreg) done,
                options(pure, nomem, nostack, preserves_flags));
        }
    }

    /// The 32 activations.
    #[inline(always)]
    unsafe fn q(&self) -> [int8x16_t; 2] {
        // SAFETY: the caller's group exists, and has 32 bytes.
        unsafe {
            let q = self.x.q.as_ptr().add(self.at * GROUP);
            [vld1q_s8(q), vld1q_s8(q.add(16))]
        }
    }

    #[inline(always)]
    unsafe fn d(&self) -> f32 {
        // SAFETY: the caller's group exists.
        unsafe { *self.x.d.as_ptr().add(self.at) }
    }

    /// Both half sums.
    #[inline(always)]
    unsafe fn sums(&self) -> i32 {
        // SAFETY: the caller's group exists.
        unsafe { self.x.sums.as_ptr().cast::<i32>().add(self.at).read_unaligned() }
    }

    #[inline(always)]
    unsafe fn side(&self) -> &Side {
        // SAFETY: the caller's group exists, and its side is filled.
        unsafe { &*self.side.add(self.side_at) }
    }
}

/// 4 rows from `r0` on times `N` columns.
#[inline(never)]
unsafe fn gemv<F: TileFormat, const N: usize>(
    w: &Matrix<'_>,
    x: &QuantizedRows<'_>,
    y: &mut MatMut<'_>,
    r0: usize,
    side: *const Side,
) {
    // SAFETY: the caller's; NEON is part of the aarch64 baseline.
    unsafe {
        let zero = [vdupq_n_f32(0.0); N];
        let mut sink = Multiply::<'_, N> { x, side, acc: zero, macc: zero };
        each_tile::<F, _>(w, r0, &mut sink);
        store(F::MINS, &sink.acc, &sink.macc, y, r0, 0);
    }
}

/// Writes `N` columns from `c0` on of up to 4 rows from `r0` on.
#[inline(always)]
unsafe fn store<const N: usize>(
    mins: Mins,
    acc: &[float32x4_t; N],
    macc: &[float32x4_t; N],
    y: &mut MatMut<'_>,
    r0: usize,
    c0: usize,
) {
    let live = MR.min(y.rows() - r0);
    for c in 0..N {
        // SAFETY: `live` rows from r0 exist in column c0 + c of y; NEON is part of the aarch64 baseline.
        unsafe {
            let sum = if mins == Mins::None { acc[c] } else { vaddq_f32(acc[c], macc[c]) };
            let out = y.at(r0, c0 + c);
            if live == MR {
                vst1q_f32(out, sum);
            } else {
                let mut lanes = [0.0f32; MR];
                vst1q_f32(lanes.as_mut_ptr(), sum);
                std::ptr::copy_nonoverlapping(lanes.as_ptr(), out, live);
            }
        }
    }
}

/// All columns over a panel of `tiles` rows of tiles, [`NR`] at a time.
unsafe fn gemm<F: TileFormat>(
    panel: *const Tile,
    tiles: usize,
    x: &QuantizedRows<'_>,
    y: &mut MatMut<'_>,
    r0: usize,
    side: *mut Side,
) {
    let groups = x.k() / GROUP;
    let mut c = 0;
    while c < x.n() {
        let n = [NR, 4, 2, 1].into_iter().find(|n| *n <= x.n() - c).unwrap_or(1);
        // SAFETY: `c + n <= x.n()`, n <= NR; the panel holds `tiles * groups` tiles.
        unsafe {
            if F::MINS != Mins::None {
                fill_side(x, c, n, F::MINS, const { Codes::signed::<F>() }, side);
            }
            for t in 0..tiles {
                let tiles = std::slice::from_raw_parts(panel.add(t * groups), groups);
                let r = r0 + t * MR;
                match n {
                    NR => gemm_tile::<F::Signed, NR>(F::MINS, tiles, x, y, r, c, side),
                    4 => gemm_tile::<F::Signed, 4>(F::MINS, tiles, x, y, r, c, side),
                    2 => gemm_tile::<F::Signed, 2>(F::MINS, tiles, x, y, r, c, side),
                    _ => gemm_tile::<F::Signed, 1>(F::MINS, tiles, x, y, r, c, side),
                }
            }
        }
        c += n;
    }
}

/// 4 unpacked rows times `N` columns.
#[inline(never)]
unsafe fn gemm_tile<C: Class, const N: usize>(
    mins: Mins,
    tiles: &[Tile],
    x: &QuantizedRows<'_>,
    y: &mut MatMut<'_>,
    r0: usize,
    c0: usize,
    side: *const Side,
) {
    // SAFETY: c0 + N <= x.n() and x has as many groups as there are tiles, so every index lies within the views and the
    // side; NEON is part of the aarch64 baseline.
    unsafe {
        let mut acc = [vdupq_n_f32(0.0); N];
        for (g, tile) in tiles.iter().enumerate() {
            let mut at = Column::new(x, c0, g, side);
            columns!(N, c => {
                let isum = isum(C::CODES, tile, at.q(), at.sums(), C::CODES.bias(0));
                acc[c] = vfmaq_f32(acc[c], vmulq_n_f32(tile.d, at.d()), to_float(C::CODES, isum));
                at.next(acc[c]);
            });
        }
        // The mins have a chain of their own, so they need not share the registers of the loop above.
        let macc = match mins {
            Mins::None => acc,
            Mins::Per32 => min_chains::<N>(Mins::Per32, tiles, side),
            Mins::Per16 => min_chains::<N>(Mins::Per16, tiles, side),
        };
        store(mins, &acc, &macc, y, r0, c0);
    }
}

/// The min chains of 4 rows and `N` columns.
#[inline(always)]
unsafe fn min_chains<const N: usize>(mins: Mins, tiles: &[Tile], side: *const Side) -> [float32x4_t; N] {
    // SAFETY: the side of N columns is filled; NEON is part of the aarch64 baseline.
    unsafe {
        let mut macc = [vdupq_n_f32(0.0); N];
        for (g, tile) in tiles.iter().enumerate() {
            columns!(N, c => {
                macc[c] = add_mins(mins, macc[c], &tile.m, &(*side.add(c * tiles.len() + g)).sums);
            });
        }
        macc
    }
}
