//! The arithmetic of contract section 2 over tiles: `R` tiles of `ROWS` rows times `N` columns. GEMV and GEMM both use it.
//!
//! | instruction, `vpmaddubsw` | per tile of 32 weights and column | note |
//! |---|---|---|
//! | vpbroadcastd (load) | 8 / R | 4 activations to every row |
//! | vpmaddubsw | 8 | unsigned codes x signed activations, i16 (vpsignb first for signed codes) |
//! | vpaddw | 8 - 8/STEPS | STEPS products fit an i16 |
//! | vpmaddwd, vpaddd | 8/STEPS | widen to i32; sub-scales ride along free |
//! | vcvtdq2ps, vmulps, vfmadd | 3 | the float step |
//!
//! | instruction, `vpdpbusd` | per tile of 32 weights and column | note |
//! |---|---|---|
//! | vpbroadcastd (load) | 8 / R | |
//! | vpdpbusd | 8 | unsigned codes x signed activations, summed in i32; nothing saturates |
//! | vcvtdq2ps, vmulps, vfmadd | 3 | twice the conversion, and a multiplication each, with sub-scales |

#![allow(clippy::needless_range_loop, reason = "row and column index several arrays at once")]

use super::ahead::NextRows;
use super::matmul::Block;
use super::simd::{Avx2, Dpbusd, Simd};
use super::sums::{self, GroupSums};
use super::tile::{Codes, Tile};
use crate::format::{GROUP, Mins};
use crate::matrix::{MatMut, QuantizedRows};
use crate::prefetch::prefetch_for_writing;
use std::arch::x86_64::*;

/// Quantized activations, and what is made of them once for all rows of weights.
#[derive(Clone, Copy)]
pub(crate) struct Activations<'a> {
    pub rows: QuantizedRows<'a>,
    pub sums: GroupSums,
}

/// Where `N` activation rows begin: codes, scales (one per group), half sums (two per group) and what the offset of codes adds.
#[derive(Clone, Copy)]
pub(crate) struct Columns<const N: usize> {
    q: *const i8,
    d: *const f32,
    half_sums: *const i16,
    /// [`sums::per_group`] values of [`GroupSums`].
    sums: *const i32,
    per_group: usize,
    /// Values per row.
    k: usize,
}

impl<const N: usize> Columns<N> {
    /// Columns `c0 .. c0 + N` of `x`, which has them.
    #[inline(always)]
    pub(crate) fn new<S: Simd, C: Codes>(x: &Activations<'_>, c0: usize) -> Self {
        let Activations { rows, sums } = x;
        debug_assert!(c0 + N <= rows.n());
        let at = c0 * (rows.k() / GROUP);
        Columns {
            q: rows.q.as_ptr().wrapping_add(at * GROUP),
            d: rows.d.as_ptr().wrapping_add(at),
            half_sums: rows.sums.as_ptr().wrapping_add(2 * at),
            sums: sums.skip_columns(c0).start,
            per_group: const { sums::per_group::<S, C>() },
            k: rows.k(),
        }
    }
    /// The same columns from group `g` of these on.
    #[inline(always)]
    pub(crate) fn from(self, g: usize) -> Self {
        Columns {
            q: self.q.wrapping_add(GROUP * g),
            d: self.d.wrapping_add(g),
            half_sums: self.half_sums.wrapping_add(2 * g),
            sums: self.sums.wrapping_add(self.per_group * g),
            ..self
        }
    }
    /// The scale of group `g` of column `c`.
    #[inline(always)]
    pub(crate) fn d(&self, c: usize, g: usize) -> *const f32 {
        self.d.wrapping_add(c * (self.k / GROUP) + g)
    }
    /// The two half sums of group `g` of column `c`.
    #[inline(always)]
    fn half_sums(&self, c: usize, g: usize) -> *const i16 {
        self.half_sums.wrapping_add(2 * (c * (self.k / GROUP) + g))
    }
    /// What the offset of the codes adds to the sums of group `g` of column `c`; with sub-scales, to those of half `h`.
    ///
    /// # Safety
    /// The tier's features; the columns have this group, and [`GroupSums`] for offsets.
    #[inline(always)]
    pub(crate) unsafe fn offset<S: Simd>(&self, c: usize, g: usize, h: usize) -> S::I {
        let at = (c * (self.k / GROUP) + g) * self.per_group + h;
        // SAFETY: the caller's.
        unsafe { S::splat32(*self.sums.wrapping_add(at)) }
    }
}

/// `N` accumulators for each of `R` tiles.
pub(crate) type Acc<S, const R: usize, const N: usize> = [[<S as Simd>::F; N]; R];

/// Adds the products of `groups` groups to `acc`, in order.
///
/// # Safety
/// The tier's features; each of `tiles` points to `groups` tiles, `x` to as many groups of activations, none of them -128.
#[inline(always)]
pub(crate) unsafe fn accumulate<S: Simd, C: Codes, const R: usize, const N: usize>(
    acc: &mut Acc<S, R, N>,
    tiles: [*const Tile<S>; R],
    x: &Columns<N>,
    groups: usize,
) {
    for g in 0..groups {
        // SAFETY: g < groups.
        unsafe {
            let tiles = tiles.map(|t| &*t.add(g));
            let products = S::products::<C, R, N>(tiles, x, g);
            for c in 0..N {
                let dx = S::splat(*x.d(c, g));
                for r in 0..R {
                    acc[r][c] = S::fma(S::mul(tiles[r].d, dx), products[r][c], acc[r][c]);
                }
            }
        }
    }
}

/// `body` for each `j` of a range: where `written_out`, the range being 0..8, without a loop, whose additions of addresses take turns on the
/// ports that multiply. A macro, because a closure that is called in eight places is not inlined.
macro_rules! steps {
    ($written_out:expr, $range:expr, |$j:ident| $body:block) => {
        if const { $written_out } {
            steps!(@ $j $body 0 1 2 3 4 5 6 7);
        } else {
            for $j in $range $body
        }
    };
    (@ $j:ident $body:block $($i:literal)*) => {
        $({
            let $j = $i;
            $body
        })*
    };
}

/// Activations `4j .. 4j + 4` of group `g` of column `c`, for every row.
#[inline(always)]
pub(crate) unsafe fn activations<S: Simd, const N: usize>(
    x: &Columns<N>,
    c: usize,
    g: usize,
    j: usize,
) -> S::I {
    // SAFETY: the caller's column and group have these 4 bytes.
    unsafe { S::splat32(x.q.wrapping_add(c * x.k + 32 * g + 4 * j).cast::<i32>().read_unaligned()) }
}

/// The exact integer sums of group `g`, as floats, by `vpdpbusd`.
///
/// Sub-scales multiply in f32, which is exact: sums of integers below 2^24.
///
/// # Safety
/// As [`accumulate`].
#[inline(always)]
pub(crate) unsafe fn dpbusd_products<S: Dpbusd, C: Codes, const R: usize, const N: usize>(
    tiles: [&Tile<S>; R],
    x: &Columns<N>,
    g: usize,
) -> Acc<S, R, N> {
    // SAFETY: the caller's group and columns.
    unsafe {
        let mut products = [[S::splat(0.0); N]; R];
        let halves = if C::SUB_SCALES { 2 } else { 1 };
        for h in 0..halves {
            let mut sums = [[S::splat32(0); N]; R];
            if offset::<C>() > 0 {
                for c in 0..N {
                    let first = x.offset::<S>(c, g, h);
                    for r in 0..R {
                        sums[r][c] = first;
                    }
                }
            }
            // A second sum for the odd products: with one column a single chain of them would be the longest wait.
            let mut odd = S::splat32(0);
            steps!(R > 1 && !C::SUB_SCALES, h * 8 / halves..(h + 1) * 8 / halves, |j| {
                for c in 0..N {
                    let xj = activations::<S, N>(x, c, g, j);
                    for r in 0..R {
                        if R * N == 1 && j % 2 == 1 {
                            odd = S::dpbusd(odd, tiles[r].codes[j], xj);
                            continue;
                        }
                        sums[r][c] = S::dpbusd(sums[r][c], tiles[r].codes[j], xj);
                        if R > 1 {
                            S::pin(&mut sums[r][c]);
                        }
                    }
                }
            });
            if R * N == 1 {
                sums[0][0] = S::add32(sums[0][0], odd);
            }
            for c in 0..N {
                for r in 0..R {
                    let sum = S::to_f32(sums[r][c]);
                    products[r][c] = match (C::SUB_SCALES, h) {
                        (false, _) => sum,
                        (true, 0) => S::mul(S::as_f32(tiles[r].s[0]), sum),
                        (true, _) => S::fma(S::as_f32(tiles[r].s[1]), sum, products[r][c]),
                    };
                }
            }
        }
        products
    }
}

/// What the offset of the codes adds to the sums of group `g` of column `c`, to i32 or to the i16 that hold all 8 products.
///
/// # Safety
/// As [`accumulate`].
#[inline(always)]
pub(crate) unsafe fn maddubs_first<C: Codes, const N: usize>(
    tile: &Tile<Avx2>,
    x: &Columns<N>,
    c: usize,
    g: usize,
) -> __m256i {
    // SAFETY: the caller's group and column.
    unsafe {
        if !C::SUB_SCALES {
            return x.offset::<Avx2>(c, g, 0);
        }
        let sums = _mm256_set1_epi32(x.half_sums(c, g).cast::<i32>().read_unaligned());
        _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_madd_epi16(tile.o, sums))
    }
}

/// Codes times activations, neighbours summed as i16.
///
/// # Safety
/// AVX2.
#[inline(always)]
pub(crate) unsafe fn maddubs<C: Codes>(codes: __m256i, x: __m256i) -> __m256i {
    // SAFETY: the caller's.
    unsafe {
        if C::SIGNED {
            _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes))
        } else {
            _mm256_maddubs_epi16(codes, x)
        }
    }
}

/// The exact integer sums of group `g`, as floats, by `vpmaddubsw` and `vpmaddwd`.
///
/// # Safety
/// As [`accumulate`].
#[inline(always)]
pub(crate) unsafe fn maddubs_products<C: Codes, const R: usize, const N: usize>(
    tiles: [&Tile<Avx2>; R],
    x: &Columns<N>,
    g: usize,
) -> Acc<Avx2, R, N> {
    // SAFETY: the caller's group and columns.
    unsafe {
        let zero = [[_mm256_setzero_si256(); N]; R];
        let mut total = zero;
        let mut first = zero;
        if C::OFFSET_LOG2 > 0 {
            let to = if C::STEPS == 8 { &mut first } else { &mut total };
            for c in 0..N {
                for r in 0..R {
                    to[r][c] = maddubs_first::<C, N>(tiles[r], x, c, g);
                }
            }
        }
        for part in 0..8 / C::STEPS {
            let mut products = if part == 0 { first } else { zero };
            steps!(R * N > 4 && C::STEPS == 8, part * C::STEPS..(part + 1) * C::STEPS, |j| {
                for c in 0..N {
                    let xj = activations::<Avx2, N>(x, c, g, j);
                    for r in 0..R {
                        let product = maddubs::<C>(tiles[r].codes[j], xj);
                        products[r][c] = _mm256_add_epi16(products[r][c], product);
                        if R * N > 4 {
                            Avx2::pin(&mut products[r][c]);
                        }
                    }
                }
            });
            for c in 0..N {
                for r in 0..R {
                    let s =
                        if C::SUB_SCALES { tiles[r].s[part * C::STEPS / 4] } else { _mm256_set1_epi16(1) };
                    total[r][c] = _mm256_add_epi32(total[r][c], _mm256_madd_epi16(products[r][c], s));
                }
            }
        }
        let mut products = [[_mm256_setzero_ps(); N]; R];
        for r in 0..R {
            for c in 0..N {
                products[r][c] = _mm256_cvtepi32_ps(total[r][c]);
            }
        }
        products
    }
}

/// What `vpdpbusd`'s codes are more than the weights.
pub(crate) const fn offset<C: Codes>() -> i32 {
    if C::SIGNED {
        128
    } else if C::OFFSET_LOG2 > 0 {
        1 << C::OFFSET_LOG2
    } else {
        0
    }
}

/// How many mins each group of 32 has.
pub(crate) const fn mins_per_group<C: Codes>() -> usize {
    match C::MINS {
        Mins::None => 0,
        Mins::Per32 => 1,
        Mins::Per16 => 2,
    }
}

/// Adds the products of the mins of `groups` groups with the sums of `N` columns, from column `c0` and group `g0` on, to
/// `macc`, in order.
///
/// # Safety
/// As [`accumulate`]; `x` has these columns and groups.
#[inline(always)]
pub(crate) unsafe fn accumulate_mins<S: Simd, C: Codes, const R: usize, const N: usize>(
    macc: &mut Acc<S, R, N>,
    tiles: [*const Tile<S>; R],
    x: GroupSums,
    (c0, g0): (usize, usize),
    groups: usize,
) {
    let halves = mins_per_group::<C>();
    if halves == 0 {
        return;
    }
    let start = x.skip_columns(c0).start.cast::<f32>().wrapping_add(g0 * halves);
    for g in 0..groups {
        for h in 0..halves {
            for c in 0..N {
                // SAFETY: the caller's columns and groups; g < groups.
                unsafe {
                    let sum = S::splat(*start.wrapping_add(c * x.stride + g * halves + h));
                    for r in 0..R {
                        macc[r][c] = S::fma((*tiles[r].add(g)).m[h], sum, macc[r][c]);
                    }
                }
            }
        }
    }
}

/// So many groups are multiplied from one time that something is fetched to the next.
const FETCHED: usize = 8;

/// `R` panels of `at.groups` tiles times columns `at.column .. at.column + N`, with `FETCH` while `next` is fetched.
///
/// # Safety
/// The tier's features; panels and columns exist; `y` has `at.live` rows from `at.row` on.
#[inline(always)]
pub(crate) unsafe fn multiply<S: Simd, C: Codes, const R: usize, const N: usize, const FETCH: bool>(
    panels: [*const Tile<S>; R],
    x: Activations<'_>,
    y: &mut MatMut<'_>,
    at: Block,
    next: &mut NextRows,
) {
    let columns = Columns::<N>::new::<S, C>(&x, at.column);
    // A result is often larger than L2, and each column of it in another page.
    for c in 0..N {
        for r in 0..R {
            prefetch_for_writing(y.at(at.row + r * S::ROWS, at.column + c).cast());
        }
    }
    // SAFETY: the caller's.
    unsafe {
        let mut acc: Acc<S, R, N> = [[S::splat(0.0); N]; R];
        let mut macc = acc;
        if FETCH {
            for g in 0..at.groups {
                if g % FETCHED == 0 {
                    next.fetch(FETCHED);
                }
                accumulate::<S, C, R, N>(&mut acc, panels.map(|p| p.add(g)), &columns.from(g), 1);
            }
        } else {
            accumulate::<S, C, R, N>(&mut acc, panels, &columns, at.groups);
        }
        accumulate_mins::<S, C, R, N>(&mut macc, panels, x.sums, (at.column, 0), at.groups);
        store::<S, C, R, N>(acc, macc, y, at);
    }
}

/// `acc + macc` into rows `at.row .. at.row + at.live` of columns `at.column .. at.column + N`.
///
/// # Safety
/// The tier's features; the rows and columns exist in `y`.
#[inline(always)]
pub(crate) unsafe fn store<S: Simd, C: Codes, const R: usize, const N: usize>(
    acc: Acc<S, R, N>,
    macc: Acc<S, R, N>,
    y: &mut MatMut<'_>,
    at: Block,
) {
    for r in 0..R {
        for c in 0..N {
            let live = S::ROWS.min(at.live - r * S::ROWS);
            let to = y.at(at.row + r * S::ROWS, at.column + c);
            // SAFETY: `live` rows from there exist in this column of y; the copy on the stack has 16.
            unsafe {
                let sum = if C::MINS == Mins::None { acc[r][c] } else { S::add(acc[r][c], macc[r][c]) };
                if live == S::ROWS {
                    S::store(to, sum);
                } else {
                    let mut out = [0.0f32; 16];
                    S::store(out.as_mut_ptr(), sum);
                    std::ptr::copy_nonoverlapping(out.as_ptr(), to, live);
                }
            }
        }
    }
}
