//! GEMV and GEMM of the `avx2` tier, written once for all formats (contract section 2).
//!
//! *GEMV* (few columns): tiles are loaded from the GGUF blocks and used at once, with the next 8 rows prefetched line
//! by line. *GEMM* (many columns): 8 rows are unpacked into tiles in caller-provided scratch that stays in cache, and
//! every 4 columns run over them. Both do the same arithmetic in [`tile_columns`], so they return the same bits.

use super::tile::{Tile, TileFormat, isum};
use crate::format::{GROUP, Mins};
use crate::matrix::{MatMut, Matrix, QuantizedRows};
use std::arch::x86_64::*;

/// Rows per tile.
const MR: usize = 8;
/// Columns per pass over a tile row.
const NR: usize = 4;
/// From this many columns on, unpacking once pays.
const GEMM_FROM: usize = 5;

/// Bytes of scratch for a matrix with `cols` columns.
pub(crate) const fn scratch_bytes(cols: usize) -> usize {
    // One tile more, because the scratch may begin anywhere.
    (cols / GROUP + 1) * size_of::<Tile>()
}

/// Where tiles come from: blocks as they lie in the file, or already unpacked.
trait Source {
    unsafe fn tile(&self, g: usize) -> Tile;
}

struct Blocks<F> {
    rows: [*const u8; MR],
    /// Bytes after which the rows one tile ahead start, and how many of them belong to each group.
    ahead: usize,
    per_group: usize,
    format: std::marker::PhantomData<F>,
}

impl<F: TileFormat> Source for Blocks<F> {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn tile(&self, g: usize) -> Tile {
        let start = self.rows[0].wrapping_add(self.ahead + g * self.per_group);
        for line in (0..self.per_group).step_by(64) {
            // A prefetch of any address is harmless, also past the end of the mapping.
            _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line).cast());
        }
        // SAFETY: the caller's.
        unsafe { F::load(&self.rows, g) }
    }
}

struct Unpacked<'a>(&'a [Tile]);

impl Source for Unpacked<'_> {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn tile(&self, g: usize) -> Tile {
        // SAFETY: the panel holds every group.
        unsafe { *self.0.get_unchecked(g) }
    }
}

/// `w * x` into `y`; `scratch` has at least [`scratch_bytes`] bytes when there are [`GEMM_FROM`] columns or more.
///
/// # Safety
/// AVX2, FMA and F16C are usable; shapes have been checked: `w.cols() == x.k()`, `y` is `x.n()` columns of `w.rows()`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn matmul<F: TileFormat>(
    w: &Matrix<'_>,
    x: &QuantizedRows<'_>,
    y: &mut MatMut<'_>,
    scratch: &mut [u8],
) {
    let groups = w.cols() / GROUP;
    for r0 in (0..w.rows()).step_by(MR) {
        let live = MR.min(w.rows() - r0);
        // Past the last row the last row is repeated and its results are not stored.
        let rows =
            std::array::from_fn(|i| w.data().as_ptr().wrapping_add((r0 + i.min(live - 1)) * w.row_bytes()));
        let blocks = Blocks::<F> {
            rows,
            ahead: MR * w.row_bytes(),
            per_group: (MR * w.row_bytes()).div_ceil(groups.max(1)),
            format: std::marker::PhantomData,
        };
        // SAFETY: rows are within `data`, which holds `groups` groups per row; the rest is the caller's.
        unsafe {
            if x.n() < GEMM_FROM {
                columns::<F, _>(&blocks, groups, x, y, r0, live);
            } else {
                let (_, panel, _) = scratch.align_to_mut::<std::mem::MaybeUninit<Tile>>();
                let panel = &mut panel[..groups];
                for (g, tile) in panel.iter_mut().enumerate() {
                    tile.write(blocks.tile(g));
                }
                let panel = std::slice::from_raw_parts(panel.as_ptr().cast::<Tile>(), groups);
                columns::<F, _>(&Unpacked(panel), groups, x, y, r0, live);
            }
        }
    }
}

/// All columns over one row of tiles, [`NR`] at a time.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn columns<F: TileFormat, S: Source>(
    source: &S,
    groups: usize,
    x: &QuantizedRows<'_>,
    y: &mut MatMut<'_>,
    r0: usize,
    live: usize,
) {
    let mut c = 0;
    // SAFETY: `c + N <= x.n()` in every call; the rest is the caller's.
    unsafe {
        while c + NR <= x.n() {
            tile_columns::<F, S, NR>(source, groups, x, y, r0, live, c);
            c += NR;
        }
        match x.n() - c {
            3 => tile_columns::<F, S, 3>(source, groups, x, y, r0, live, c),
            2 => tile_columns::<F, S, 2>(source, groups, x, y, r0, live, c),
            1 => tile_columns::<F, S, 1>(source, groups, x, y, r0, live, c),
            _ => {}
        }
    }
}

/// 8 rows x N columns over all groups.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile_columns<F: TileFormat, S: Source, const N: usize>(
    source: &S,
    groups: usize,
    x: &QuantizedRows<'_>,
    y: &mut MatMut<'_>,
    r0: usize,
    live: usize,
    c0: usize,
) {
    let mut acc = [_mm256_setzero_ps(); N];
    let mut macc = [_mm256_setzero_ps(); N];
    for g in 0..groups {
        // SAFETY: g < groups and c0 + c < x.n(), so every index lies within the views.
        unsafe {
            let tile = source.tile(g);
            for c in 0..N {
                let at = (c0 + c) * groups + g;
                let dx = *x.d.as_ptr().add(at);
                let sums = x.sums.as_ptr().add(2 * at);
                let isum = isum::<F>(&tile, x.q.as_ptr().add(at * GROUP), sums);
                let scale = _mm256_mul_ps(tile.d, _mm256_set1_ps(dx));
                acc[c] = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(isum), acc[c]);
                match F::MINS {
                    Mins::None => {}
                    Mins::Per32 => {
                        let sum = dx * (i32::from(*sums) + i32::from(*sums.add(1))) as f32;
                        macc[c] = _mm256_fmadd_ps(tile.m[0], _mm256_set1_ps(sum), macc[c]);
                    }
                    Mins::Per16 => {
                        for h in 0..2 {
                            let sum = dx * f32::from(*sums.add(h));
                            macc[c] = _mm256_fmadd_ps(tile.m[h], _mm256_set1_ps(sum), macc[c]);
                        }
                    }
                }
            }
        }
    }
    for c in 0..N {
        let sum = if F::MINS == Mins::None { acc[c] } else { _mm256_add_ps(acc[c], macc[c]) };
        let mut out = [0.0f32; MR];
        // SAFETY: `out` is 32 bytes; `live` rows from r0 exist in column c0 + c of y.
        unsafe {
            _mm256_storeu_ps(out.as_mut_ptr(), sum);
            std::ptr::copy_nonoverlapping(out.as_ptr(), y.at(r0, c0 + c), live);
        }
    }
}
