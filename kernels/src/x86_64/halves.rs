//! The arithmetic of [`super::dot`] for one column by half tiles, so that a GEMV can use codes as soon as they are unpacked.
//!
//! It has a form of its own because sums of a GEMM and of a GEMV want another order: with these steps for all, and the same bits, the GEMM of
//! signed codes and some GEMVs were slower (`bench/log/x86.md`, "One form for both").

use super::dot::{Columns, activations, maddubs, maddubs_first, offset};
use super::simd::{Avx2, Dpbusd, Simd};
use super::tile::{Codes, Tile};
use std::arch::x86_64::*;

/// The exact integer sums of one group and the first of `N` columns: from [`start`](Halves::start) over both [`half`](Halves::half)s to
/// [`finish`](Halves::finish), what [`Simd::products`] returns.
pub(crate) trait Halves<S: Simd> {
    /// The sum before any product.
    ///
    /// # Safety
    /// As [`accumulate`](super::dot::accumulate) (here and below).
    unsafe fn start<C: Codes, const N: usize>(tile: &Tile<S>, x: &Columns<N>, g: usize) -> S::I;
    /// Adds the products of half `h`; of `tile`, only scales are read.
    unsafe fn half<C: Codes, const N: usize>(
        sum: S::I,
        codes: &[S::I; 4],
        tile: &Tile<S>,
        x: &Columns<N>,
        g: usize,
        h: usize,
    ) -> S::I;
    /// As a float.
    unsafe fn finish<C: Codes>(sum: S::I) -> S::F;
}

/// By `vpmaddubsw`: the steps of [`maddubs_products`](super::dot::maddubs_products).
pub(crate) struct Maddubs;
impl Halves<Avx2> for Maddubs {
    #[inline(always)]
    unsafe fn start<C: Codes, const N: usize>(tile: &Tile<Avx2>, x: &Columns<N>, g: usize) -> __m256i {
        // SAFETY: the caller's.
        unsafe {
            if C::OFFSET_LOG2 == 0 { _mm256_setzero_si256() } else { maddubs_first::<C, N>(tile, x, 0, g) }
        }
    }

    #[inline(always)]
    unsafe fn half<C: Codes, const N: usize>(
        mut sum: __m256i,
        codes: &[__m256i; 4],
        tile: &Tile<Avx2>,
        x: &Columns<N>,
        g: usize,
        h: usize,
    ) -> __m256i {
        // SAFETY: the caller's.
        unsafe {
            let s = if C::SUB_SCALES { tile.s[h] } else { _mm256_set1_epi16(1) };
            let mut product = [_mm256_setzero_si256(); 4];
            for (j, product) in product.iter_mut().enumerate() {
                *product = maddubs::<C>(codes[j], activations::<Avx2, N>(x, 0, g, 4 * h + j));
            }
            let [a, b, c, d] = product;
            match C::STEPS {
                1 => {
                    for product in [a, b, c, d] {
                        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(product, s));
                    }
                    sum
                }
                2 => {
                    let (a, b) = (_mm256_add_epi16(a, b), _mm256_add_epi16(c, d));
                    let both = _mm256_add_epi32(_mm256_madd_epi16(a, s), _mm256_madd_epi16(b, s));
                    _mm256_add_epi32(sum, both)
                }
                _ => {
                    let all = _mm256_add_epi16(_mm256_add_epi16(a, b), _mm256_add_epi16(c, d));
                    if C::STEPS == 8 {
                        _mm256_add_epi16(sum, all)
                    } else {
                        _mm256_add_epi32(sum, _mm256_madd_epi16(all, s))
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn finish<C: Codes>(sum: __m256i) -> __m256 {
        // SAFETY: the caller's.
        unsafe {
            let sum = if C::STEPS == 8 { _mm256_madd_epi16(sum, _mm256_set1_epi16(1)) } else { sum };
            _mm256_cvtepi32_ps(sum)
        }
    }
}

/// By `vpdpbusd`: the steps of [`dpbusd_products`](super::dot::dpbusd_products).
pub(crate) struct ByDpbusd;
impl<S: Dpbusd> Halves<S> for ByDpbusd {
    #[inline(always)]
    unsafe fn start<C: Codes, const N: usize>(_: &Tile<S>, x: &Columns<N>, g: usize) -> S::I {
        // SAFETY: the caller's.
        unsafe { if C::SUB_SCALES || offset::<C>() == 0 { S::splat32(0) } else { x.offset::<S>(0, g, 0) } }
    }

    #[inline(always)]
    unsafe fn half<C: Codes, const N: usize>(
        sum: S::I,
        codes: &[S::I; 4],
        tile: &Tile<S>,
        x: &Columns<N>,
        g: usize,
        h: usize,
    ) -> S::I {
        // SAFETY: the caller's.
        unsafe {
            // The halves are two chains: a single one would be the longest wait.
            let mut own = if C::SUB_SCALES && offset::<C>() > 0 {
                x.offset::<S>(0, g, h)
            } else if h == 0 {
                sum
            } else {
                S::splat32(0)
            };
            for (j, code) in codes.iter().enumerate() {
                own = S::dpbusd(own, *code, activations::<S, N>(x, 0, g, 4 * h + j));
            }
            match (C::SUB_SCALES, h) {
                (false, 0) => own,
                (false, _) => S::add32(sum, own),
                (true, 0) => S::as_i32(S::mul(S::as_f32(tile.s[0]), S::to_f32(own))),
                (true, _) => S::as_i32(S::fma(S::as_f32(tile.s[1]), S::to_f32(own), S::as_f32(sum))),
            }
        }
    }

    #[inline(always)]
    unsafe fn finish<C: Codes>(sum: S::I) -> S::F {
        // SAFETY: the caller's.
        unsafe { if C::SUB_SCALES { S::as_f32(sum) } else { S::to_f32(sum) } }
    }
}
