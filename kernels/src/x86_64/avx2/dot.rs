//! The arithmetic of contract section 2 over tiles: `R` tiles of 8 rows times `N` columns. GEMV and GEMM both use it.
//!
//! | instruction | per 8 x 32 weights and column | note |
//! |---|---|---|
//! | vpbroadcastd (load) | 8 / R | 4 activations to every row |
//! | vpmaddubsw | 8 | unsigned codes x signed activations, i16 (vpsignb first for signed codes) |
//! | vpaddw | 8 - 8/STEPS | STEPS products fit an i16 |
//! | vpmaddwd, vpaddd | 8/STEPS | widen to i32; sub-scales ride along free |
//! | vcvtdq2ps, vmulps, vfmadd | 3 | the float step |

#![allow(clippy::needless_range_loop, reason = "row and column index several arrays at once")]

use super::tile::{Codes, Tile};
use crate::format::{GROUP, Mins};
use crate::matrix::QuantizedRows;
use std::arch::x86_64::*;

/// Where `N` activation rows begin: codes, scales (one per group) and half sums (two per group).
#[derive(Clone, Copy)]
pub(crate) struct Columns<const N: usize> {
    q: [*const i8; N],
    d: [*const f32; N],
    sums: [*const i16; N],
}

impl<const N: usize> Columns<N> {
    /// Columns `c0 .. c0 + N` of `x`, which has them, from group `g0` on.
    #[inline]
    pub(crate) fn new(x: &QuantizedRows<'_>, c0: usize, g0: usize) -> Self {
        debug_assert!(c0 + N <= x.n() && g0 * GROUP <= x.k());
        let at = |c: usize| (c0 + c) * (x.k() / GROUP) + g0;
        Columns {
            q: std::array::from_fn(|c| x.q.as_ptr().wrapping_add(at(c) * GROUP)),
            d: std::array::from_fn(|c| x.d.as_ptr().wrapping_add(at(c))),
            sums: std::array::from_fn(|c| x.sums.as_ptr().wrapping_add(2 * at(c))),
        }
    }
}

/// How 4 unsigned codes times 4 signed activations are summed per dword: all in which the 256-bit tiers differ.
pub(crate) trait Dot {
    /// `vpdpbusd` (AVX-VNNI) instead of `vpmaddubsw`; the CPU must have it.
    const VNNI: bool;
}

/// `vpmaddubsw` and `vpmaddwd`.
pub(crate) struct Avx2;
impl Dot for Avx2 {
    const VNNI: bool = false;
}

/// `vpdpbusd`, VEX encoded.
pub(crate) struct AvxVnni;
impl Dot for AvxVnni {
    const VNNI: bool = true;
}

/// `N` accumulators for each of `R` tiles.
pub(crate) type Acc<const R: usize, const N: usize> = [[__m256; N]; R];

/// Adds the products of `groups` groups to `acc`, in order.
///
/// # Safety
/// AVX2 and FMA; each of `tiles` points to `groups` tiles, `x` to as many groups of activations, none of them -128.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn accumulate<D: Dot, C: Codes, const R: usize, const N: usize>(
    acc: &mut Acc<R, N>,
    tiles: [*const Tile; R],
    x: &Columns<N>,
    groups: usize,
) {
    for g in 0..groups {
        // SAFETY: g < groups.
        unsafe {
            let tiles = tiles.map(|t| &*t.add(g));
            let isum = isum::<D, C, R, N>(tiles, x, g);
            for c in 0..N {
                let dx = _mm256_set1_ps(*x.d[c].add(g));
                for r in 0..R {
                    let scale = _mm256_mul_ps(tiles[r].d, dx);
                    acc[r][c] = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(isum[r][c]), acc[r][c]);
                }
            }
        }
    }
}

/// The exact integer sums of group `g`.
///
/// # Safety
/// As [`accumulate`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn isum<D: Dot, C: Codes, const R: usize, const N: usize>(
    tiles: [&Tile; R],
    x: &Columns<N>,
    g: usize,
) -> [[__m256i; N]; R] {
    let zero = [[_mm256_setzero_si256(); N]; R];
    // SAFETY: the two half sums of group g of column c.
    let sums = |c: usize| unsafe { _mm256_set1_epi32(x.sums[c].add(2 * g).cast::<i32>().read_unaligned()) };
    let activations = |c: usize, j: usize| {
        // SAFETY: j < 8, so these 4 bytes are within the 32 activations of group g.
        unsafe { _mm256_set1_epi32(x.q[c].add(32 * g + 4 * j).cast::<i32>().read_unaligned()) }
    };

    if D::VNNI {
        // Exact in i32: no product of 4 codes below 256 saturates. Signed codes become w + 128.
        let offset = if C::SIGNED {
            128
        } else if C::OFFSET_LOG2 > 0 {
            1 << C::OFFSET_LOG2
        } else {
            0
        };
        let mut halves = [zero; 2];
        for c in 0..N {
            for r in 0..R {
                if offset == 0 {
                } else if C::SUB_SCALES {
                    for h in 0..2 {
                        // SAFETY: the half sums of group g.
                        let sum = unsafe { i32::from(*x.sums[c].add(2 * g + h)) };
                        halves[h][r][c] = _mm256_set1_epi32(-offset * sum);
                    }
                } else {
                    halves[0][r][c] = _mm256_madd_epi16(_mm256_set1_epi16(-offset as i16), sums(c));
                }
            }
        }
        for j in 0..8 {
            let h = if C::SUB_SCALES { j / 4 } else { 0 };
            for c in 0..N {
                let xj = activations(c, j);
                for r in 0..R {
                    let w = tiles[r].codes[j];
                    let w = if C::SIGNED { _mm256_xor_si256(w, _mm256_set1_epi8(-128)) } else { w };
                    dpbusd(&mut halves[h][r][c], w, xj);
                }
            }
        }
        if C::SUB_SCALES {
            for c in 0..N {
                for r in 0..R {
                    // The pairs (s, s) of i16, widened.
                    let s = tiles[r].s.map(|s| _mm256_srai_epi32::<16>(s));
                    let low = _mm256_mullo_epi32(halves[0][r][c], s[0]);
                    halves[0][r][c] = _mm256_add_epi32(low, _mm256_mullo_epi32(halves[1][r][c], s[1]));
                }
            }
        }
        return halves[0];
    }

    let mut total = zero;
    // The offset of the codes, `- OFFSET * (sum_0 + sum_1)`, starts the sums. With all 8 products in one i16 it fits in
    // there: of the 16 activations in an i16 of one parity, 8 also lie in the half whose sum it subtracts, so that it
    // is at most 127 * (8 * 15 + 8 * 8 + 8 * 8) = 31496.
    let mut first = zero;
    if C::OFFSET_LOG2 > 0 {
        for c in 0..N {
            let sums = sums(c);
            for r in 0..R {
                if C::STEPS == 8 {
                    let scaled = _mm256_sll_epi16(sums, _mm_cvtsi32_si128(C::OFFSET_LOG2));
                    first[r][c] = _mm256_sub_epi16(_mm256_setzero_si256(), scaled);
                } else {
                    let o = if C::SUB_SCALES { tiles[r].o } else { _mm256_set1_epi16(1 << C::OFFSET_LOG2) };
                    total[r][c] = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_madd_epi16(o, sums));
                }
            }
        }
    }
    for part in 0..8 / C::STEPS {
        let mut products = if part == 0 { first } else { zero };
        for j in part * C::STEPS..(part + 1) * C::STEPS {
            for c in 0..N {
                let xj = activations(c, j);
                for r in 0..R {
                    let w = tiles[r].codes[j];
                    let product = if C::SIGNED {
                        _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(xj, w))
                    } else {
                        _mm256_maddubs_epi16(w, xj)
                    };
                    products[r][c] = _mm256_add_epi16(products[r][c], product);
                    if R * N > 4 {
                        pin(&mut products[r][c]);
                    }
                }
            }
        }
        for c in 0..N {
            for r in 0..R {
                let s = if C::SUB_SCALES { tiles[r].s[part * C::STEPS / 4] } else { _mm256_set1_epi16(1) };
                total[r][c] = _mm256_add_epi32(total[r][c], _mm256_madd_epi16(products[r][c], s));
            }
        }
    }
    total
}

/// `sum += w * x`: 4 unsigned bytes of `w` times 4 signed ones of `x` per dword.
///
/// Assembler, so that it inlines into the code that both tiers share, which is compiled for AVX2 alone; reached only
/// where [`Dot::VNNI`]. It pins `sum` to a register as [`pin`] does.
#[inline]
#[target_feature(enable = "avx2")]
fn dpbusd(sum: &mut __m256i, w: __m256i, x: __m256i) {
    // SAFETY: registers only; the tier's table is handed out only where the CPU has AVX-VNNI.
    unsafe {
        std::arch::asm!("{{vex}} vpdpbusd {}, {}, {}", inout(ymm_reg) * sum, in(ymm_reg) w, in(ymm_reg) x,
            options(pure, nomem, nostack, preserves_flags));
    }
}

/// Keeps `v` in a register here, between what comes before and after, at no cost.
///
/// Left alone, the compiler finishes one sum after the other and, for that, spills all of the weights and activations
/// instead of holding the sums in registers and loading each weight once.
#[inline]
#[target_feature(enable = "avx2")]
fn pin(v: &mut __m256i) {
    // SAFETY: no instruction.
    unsafe { std::arch::asm!("/* {} */", inout(ymm_reg) * v, options(nomem, nostack, preserves_flags)) }
}

/// Adds the products of the mins of `groups` groups with the sums of activations to `macc`, in order.
///
/// # Safety
/// As [`accumulate`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn accumulate_mins<C: Codes, const R: usize, const N: usize>(
    macc: &mut Acc<R, N>,
    tiles: [*const Tile; R],
    x: &Columns<N>,
    groups: usize,
) {
    let halves = match C::MINS {
        Mins::None => return,
        Mins::Per32 => 1,
        Mins::Per16 => 2,
    };
    for g0 in (0..groups).step_by(8) {
        let count = 8.min(groups - g0);
        let mut scaled = [[0.0f32; 16]; N];
        for c in 0..N {
            // SAFETY: `count` groups from g0 on.
            unsafe { scale_sums::<C>(x.d[c].add(g0), x.sums[c].add(2 * g0), count, &mut scaled[c]) };
        }
        for g in 0..count {
            for h in 0..halves {
                for c in 0..N {
                    let sum = _mm256_set1_ps(scaled[c][halves * g + h]);
                    for r in 0..R {
                        // SAFETY: g0 + g < groups.
                        let m = unsafe { (*tiles[r].add(g0 + g)).m[h] };
                        macc[r][c] = _mm256_fmadd_ps(m, sum, macc[r][c]);
                    }
                }
            }
        }
    }
}

/// `dx * sum` of `count <= 8` groups of one column: one per group, or with mins per 16 one per half.
///
/// # Safety
/// AVX2; `d` and `sums` point to `count` and `2 * count` values.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn scale_sums<C: Codes>(d: *const f32, sums: *const i16, count: usize, out: &mut [f32; 16]) {
    // SAFETY: all reads are within `count` groups, writes within 16 floats.
    unsafe {
        if count < 8 {
            for g in 0..count {
                let (low, high) = (i32::from(*sums.add(2 * g)), i32::from(*sums.add(2 * g + 1)));
                if C::MINS == Mins::Per32 {
                    out[g] = *d.add(g) * (low + high) as f32;
                } else {
                    out[2 * g] = *d.add(g) * low as f32;
                    out[2 * g + 1] = *d.add(g) * high as f32;
                }
            }
            return;
        }
        let (d, sums) = (_mm256_loadu_ps(d), _mm256_loadu_si256(sums.cast()));
        if C::MINS == Mins::Per32 {
            let both = _mm256_cvtepi32_ps(_mm256_madd_epi16(sums, _mm256_set1_epi16(1)));
            _mm256_storeu_ps(out.as_mut_ptr(), _mm256_mul_ps(d, both));
        } else {
            for (i, half) in
                [_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums)].into_iter().enumerate()
            {
                let i = i as i32;
                let group =
                    _mm256_add_epi32(_mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3), _mm256_set1_epi32(4 * i));
                let d = _mm256_permutevar8x32_ps(d, group);
                let halves = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(half));
                _mm256_storeu_ps(out.as_mut_ptr().add(8 * i as usize), _mm256_mul_ps(d, halves));
            }
        }
    }
}
