//! GEMV and GEMM of the `avx2` and `avx_vnni` tiers, written once for all formats (contract section 2).
//!
//! *GEMV* (few columns): each block of 8 rows is unpacked to tiles and used at once, with the next 8 rows prefetched
//! line by line. *GEMM* (many columns): a panel of 16 rows is unpacked into caller-provided scratch that stays in
//! cache, and every 4 columns run over it. Both do the arithmetic of [`super::dot`], so they return the same bits.

use super::dot::{Acc, Columns, Dot, accumulate, accumulate_mins};
use super::tile::{Codes, Tile, TileFormat};
use crate::format::{GROUP, Mins};
use crate::matrix::{MatMut, Matrix, QuantizedRows};
use std::arch::x86_64::*;

/// Rows per tile.
const MR: usize = 8;
/// Tiles that share each broadcast of activations in the GEMM.
const TILES: usize = 2;
/// Columns per pass over a panel.
const NR: usize = 4;
/// From this many columns on, unpacking once pays.
const GEMM_FROM: usize = 5;

/// Bytes of scratch for a matrix with `cols` columns.
pub(crate) const fn scratch_bytes(cols: usize) -> usize {
    // One tile more, because the scratch may begin anywhere.
    (TILES * (cols / GROUP) + 1) * size_of::<Tile>()
}

/// `w * x` into `y`; `scratch` has at least [`scratch_bytes`] bytes.
///
/// # Safety
/// AVX2, FMA and F16C are usable; shapes have been checked: `w.cols() == x.k()`, `y` is `x.n()` columns of `w.rows()`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn matmul<D: Dot, F: TileFormat>(
    w: &Matrix<'_>,
    x: &QuantizedRows<'_>,
    y: &mut MatMut<'_>,
    scratch: &mut [u8],
) {
    const { assert!(GEMM_FROM == 5) };
    // SAFETY: the caller's.
    unsafe {
        match x.n() {
            0 => {}
            1 => gemv::<D, F, 1>(w, x, y),
            2 => gemv::<D, F, 2>(w, x, y),
            3 => gemv::<D, F, 3>(w, x, y),
            4 => gemv::<D, F, 4>(w, x, y),
            _ => gemm::<D, F>(w, x, y, scratch),
        }
    }
}

/// Eight rows of `w` from `r0` on, and what to prefetch while they are used.
struct Rows {
    start: [*const u8; MR],
    live: usize,
    /// Bytes from `start[0]` to the eight rows after these, and how many of them belong to each group.
    ahead: usize,
    per_group: usize,
}

impl Rows {
    #[inline]
    fn new(w: &Matrix<'_>, r0: usize) -> Rows {
        let live = MR.min(w.rows() - r0);
        // Past the last row the last row is repeated and its results are not stored.
        let row = |i: usize| w.data().as_ptr().wrapping_add((r0 + i.min(live - 1)) * w.row_bytes());
        let ahead = MR * w.row_bytes();
        let per_group = ahead.div_ceil((w.cols() / GROUP).max(1));
        Rows { start: std::array::from_fn(row), live, ahead, per_group }
    }

    /// Where block `b` of each row begins.
    #[inline]
    fn block<F: TileFormat>(&self, b: usize) -> [*const u8; MR] {
        self.start.map(|r| r.wrapping_add(b * F::BYTES))
    }

    /// Fetches group `g`'s share of the rows to come.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn prefetch(&self, g: usize) {
        let start = self.start[0].wrapping_add(self.ahead + g * self.per_group);
        for line in (0..self.per_group).step_by(64) {
            // A prefetch of any address is harmless, also past the end of the mapping.
            _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line).cast());
        }
    }
}

/// All rows times `N` columns, straight from the blocks.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn gemv<D: Dot, F: TileFormat, const N: usize>(
    w: &Matrix<'_>,
    x: &QuantizedRows<'_>,
    y: &mut MatMut<'_>,
) {
    let blocks = w.cols() / GROUP / F::GROUPS;
    let mut tiles: F::Tiles = bytemuck::Zeroable::zeroed();
    for r0 in (0..w.rows()).step_by(MR) {
        let rows = Rows::new(w, r0);
        let mut acc: Acc<1, N> = [[_mm256_setzero_ps(); N]];
        let mut macc = acc;
        for b in 0..blocks {
            let g = b * F::GROUPS;
            // SAFETY: block b lies within every row, its groups within every activation row.
            unsafe {
                F::unpack(&rows.block::<F>(b), &mut tiles);
                let tiles = (&raw const tiles).cast::<Tile>();
                for i in 0..F::GROUPS {
                    // A few lines at a time: a burst per super-block would fill the queues of the cache.
                    rows.prefetch(g + i);
                    accumulate::<D, F::Codes, 1, N>(&mut acc, [tiles.add(i)], &Columns::new(x, 0, g + i), 1);
                }
                accumulate_mins::<F::Codes, 1, N>(&mut macc, [tiles], &Columns::new(x, 0, g), F::GROUPS);
            }
        }
        store::<F::Codes, 1, N>(acc, macc, y, r0, rows.live, 0);
    }
}

/// All rows times all columns, 16 rows at a time through a panel of tiles in `scratch`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn gemm<D: Dot, F: TileFormat>(
    w: &Matrix<'_>,
    x: &QuantizedRows<'_>,
    y: &mut MatMut<'_>,
    scratch: &mut [u8],
) {
    let groups = w.cols() / GROUP;
    let (_, tiles, _) = bytemuck::pod_align_to_mut::<u8, Tile>(scratch);
    let (panels, _) = tiles.split_at_mut(TILES * groups);
    for r0 in (0..w.rows()).step_by(TILES * MR) {
        let live = (TILES * MR).min(w.rows() - r0);
        for (t, panel) in panels.chunks_exact_mut(groups.max(1)).take(live.div_ceil(MR)).enumerate() {
            let rows = Rows::new(w, r0 + t * MR);
            for (b, tiles) in bytemuck::cast_slice_mut::<Tile, F::Tiles>(panel).iter_mut().enumerate() {
                for g in b * F::GROUPS..(b + 1) * F::GROUPS {
                    rows.prefetch(g);
                }
                // SAFETY: block b lies within every row.
                unsafe { F::unpack(&rows.block::<F>(b), tiles) };
            }
        }
        // SAFETY: both panels hold `groups` tiles; one is enough for up to 8 rows.
        unsafe {
            let (first, second) = (panels.as_ptr(), panels.as_ptr().add(groups));
            if live > MR {
                multiply_panel::<D, F::Codes, 2>([first, second], groups, x, y, r0, live);
            } else {
                multiply_panel::<D, F::Codes, 1>([first], groups, x, y, r0, live);
            }
        }
    }
}

/// `R` panels of `groups` tiles times all columns.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn multiply_panel<D: Dot, C: Codes, const R: usize>(
    panel: [*const Tile; R],
    groups: usize,
    x: &QuantizedRows<'_>,
    y: &mut MatMut<'_>,
    r0: usize,
    live: usize,
) {
    macro_rules! columns {
        ($n:literal, $c0:expr) => {{
            let x = Columns::<$n>::new(x, $c0, 0);
            let mut acc: Acc<R, $n> = [[_mm256_setzero_ps(); $n]; R];
            let mut macc = acc;
            // SAFETY: the panels and the activations hold `groups` groups.
            unsafe {
                accumulate::<D, C, R, $n>(&mut acc, panel, &x, groups);
                accumulate_mins::<C, R, $n>(&mut macc, panel, &x, groups);
            }
            store::<C, R, $n>(acc, macc, y, r0, live, $c0);
        }};
    }
    let mut c = 0;
    while c + NR <= x.n() {
        columns!(4, c);
        c += NR;
    }
    match x.n() - c {
        3 => columns!(3, c),
        2 => columns!(2, c),
        1 => columns!(1, c),
        _ => {}
    }
}

/// `acc + macc` into rows `r0 .. r0 + live` of columns `c0 .. c0 + N`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store<C: Codes, const R: usize, const N: usize>(
    acc: Acc<R, N>,
    macc: Acc<R, N>,
    y: &mut MatMut<'_>,
    r0: usize,
    live: usize,
    c0: usize,
) {
    for r in 0..R {
        for c in 0..N {
            let sum = if C::MINS == Mins::None { acc[r][c] } else { _mm256_add_ps(acc[r][c], macc[r][c]) };
            let live = MR.min(live - r * MR);
            let to = y.at(r0 + r * MR, c0 + c);
            // SAFETY: `live` rows from there exist in this column of y; the copy on the stack has 8.
            unsafe {
                if live == MR {
                    _mm256_storeu_ps(to, sum);
                } else {
                    let mut out = [0.0f32; MR];
                    _mm256_storeu_ps(out.as_mut_ptr(), sum);
                    std::ptr::copy_nonoverlapping(out.as_ptr(), to, live);
                }
            }
        }
    }
}
