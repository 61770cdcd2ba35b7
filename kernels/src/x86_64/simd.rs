//! What the tiers of x86-64 differ in: a vector has one dword for each row of a tile, 8 rows in a ymm register or 16 in a
//! zmm register, and four bytes times four bytes are summed by `vpmaddubsw` or by `vpdpbusd`.
//!
//! Formats, dot products and drivers are written once over [`Simd`], as `#[inline(always)]` functions. The methods that
//! [`entry_points!`] defines are the only ones compiled with a tier's `#[target_feature]`s; all else is inlined into them.

use super::ahead::NextRows;
use super::dot::{self, Acc, Activations, Columns};
use super::halves;
use super::matmul::{self, Block};
use super::pairs;
use super::sums;
use super::tile::{Codes, Rows, Tile, TileFormat, transpose16_of};
use crate::matrix::{MatMut, Matrix, QuantizedRows};
use std::arch::x86_64::*;

/// AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;
/// [`Avx2`] and AVX-VNNI.
#[derive(Clone, Copy)]
pub(crate) struct AvxVnni;
/// AVX-512 F, BW, DQ, VL and VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Avx512Vnni;

/// The vectors of a tier, and what is done with them.
///
/// Methods are `unsafe` because their instructions need the tier's CPU features; call them only from functions that
/// the tier's table leads to. Names are those of the instructions, without the width.
#[allow(clippy::missing_safety_doc, reason = "stated once, above")]
pub(crate) trait Simd: Copy + 'static {
    /// One dword (4 codes, 2 i16 or an i32) for each row.
    type I: Copy;
    /// One f32 for each row.
    type F: Copy;
    /// Rows of a tile.
    const ROWS: usize;
    /// Whether tiles are multiplied by [`dot::dpbusd_products`], which decides what they hold; else by
    /// [`dot::maddubs_products`].
    const VNNI: bool;
    /// The products of a GEMV by halves.
    type Halves: halves::Halves<Self>;
    /// How many registers for vectors there are.
    const REGISTERS: usize;
    /// Columns of the register tile of the GEMM, which is two tiles high.
    const COLUMNS: usize;

    /// [`matmul::gemv`]
    unsafe fn gemv<T: TileFormat<Self>, const N: usize>(
        w: &Matrix<'_>,
        x: Activations<'_>,
        y: &mut MatMut<'_>,
    );
    /// [`pairs::gemv`]
    unsafe fn gemv_pairs<T: TileFormat<Self>, const A: usize, const B: usize>(
        w: &Matrix<'_>,
        x: Activations<'_>,
        y: &mut MatMut<'_>,
    );
    /// [`TileFormat::unpack`]
    unsafe fn unpack<T: TileFormat<Self>>(rows: Rows<'_>, blocks: usize, tiles: *mut Tile<Self>);
    /// [`dot::multiply`]
    unsafe fn multiply<C: Codes, const R: usize, const N: usize, const FETCH: bool>(
        panels: [*const Tile<Self>; R],
        x: Activations<'_>,
        y: &mut MatMut<'_>,
        at: Block,
        next: &mut NextRows,
    );
    /// [`sums::make`]
    unsafe fn make_sums<C: Codes>(x: &QuantizedRows<'_>, out: &mut [i32]);

    /// The exact integer sums of group `g`, as floats.
    unsafe fn products<C: Codes, const R: usize, const N: usize>(
        tiles: [&Tile<Self>; R],
        x: &Columns<N>,
        g: usize,
    ) -> Acc<Self, R, N>;

    unsafe fn splat8(x: i8) -> Self::I;
    unsafe fn splat16(x: i16) -> Self::I;
    unsafe fn splat32(x: i32) -> Self::I;
    /// The same 16 bytes in every 128-bit lane.
    unsafe fn table(bytes: &[u8; 16]) -> Self::I;
    /// One dword per row, unaligned.
    unsafe fn load(p: *const i32) -> Self::I;
    /// One f16 per row, unaligned, widened.
    unsafe fn load_f16s(p: *const u16) -> Self::F;
    /// 16 bytes from each of 4 or 2 pointers, one 128-bit lane each: `p(0), p(4), p(8), p(12)` plus `first`.
    unsafe fn load_lanes(p: impl Fn(usize) -> *const u8, first: usize) -> Self::I;
    /// Dword `j` of 32 bytes from each of the pointers of all rows, in vector `j`.
    #[inline(always)]
    unsafe fn transpose32(p: impl Fn(usize) -> *const u8 + Copy) -> [Self::I; 8] {
        // SAFETY: the caller's.
        unsafe {
            let [a, b, c, d] = transpose16_of::<Self>(p);
            let [e, f, g, h] = transpose16_of::<Self>(|i| p(i).wrapping_add(16));
            [a, b, c, d, e, f, g, h]
        }
    }
    unsafe fn and(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn or(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn xor(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn add8(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn sub8(a: Self::I, b: Self::I) -> Self::I;
    /// `offset - a` in bytes where `bits & bit` is not 0, `offset + a` in others; `bit` has one bit in each byte, and the
    /// bytes of `a` are positive.
    unsafe fn negate_where(a: Self::I, bits: Self::I, bit: Self::I, offset: Self::I) -> Self::I;
    /// 16 in byte `i` of each dword where bit `4j + i` of `bits` is 1, else 0; `j` is a constant after inlining.
    unsafe fn fifth_bits(bits: Self::I, j: usize) -> Self::I;
    /// `n + 1` in bytes where `a > b`, signed, `n` in others.
    unsafe fn count_gt8(n: Self::I, a: Self::I, b: Self::I) -> Self::I;
    /// Shift counts are constants after inlining.
    unsafe fn shl16(a: Self::I, n: i32) -> Self::I;
    unsafe fn shr16(a: Self::I, n: i32) -> Self::I;
    unsafe fn sra16(a: Self::I, n: i32) -> Self::I;
    unsafe fn add32(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn sub32(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn min32(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn max32(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn shl32(a: Self::I, n: i32) -> Self::I;
    unsafe fn shr32(a: Self::I, n: i32) -> Self::I;
    unsafe fn sra32(a: Self::I, n: i32) -> Self::I;
    /// `vpshufb`: bytes of each 128-bit lane of `a` by the low nibbles of `index`, 0 where its top bit is set.
    unsafe fn shuffle(a: Self::I, index: Self::I) -> Self::I;
    unsafe fn unpack_lo32(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn unpack_hi32(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn unpack_lo64(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn unpack_hi64(a: Self::I, b: Self::I) -> Self::I;
    /// Of each 128-bit lane: the even dwords of `a`, then those of `b`.
    unsafe fn even32(a: Self::I, b: Self::I) -> Self::I;
    /// Of each 128-bit lane: the odd dwords of `a`, then those of `b`.
    unsafe fn odd32(a: Self::I, b: Self::I) -> Self::I;
    /// i16 times i16, neighbours summed as i32.
    /// Keeps `v` in a register here, between what comes before and after, at no cost: left alone, the compiler finishes one
    /// sum after the other and, for that, spills weights and activations.
    unsafe fn pin(v: &mut Self::I);

    unsafe fn splat(x: f32) -> Self::F;
    unsafe fn store(p: *mut f32, v: Self::F);
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// i32 to f32.
    unsafe fn to_f32(a: Self::I) -> Self::F;
    unsafe fn as_f32(a: Self::I) -> Self::F;
    unsafe fn as_i32(a: Self::F) -> Self::I;
    /// The low and the high 16 bits of each dword, which are f16, widened.
    unsafe fn split_f16(a: Self::I) -> (Self::F, Self::F);
}

/// The functions that are compiled with a tier's features, and the products that are inlined into them.
macro_rules! entry_points {
    ($features:literal, $products:expr) => {
        #[inline(always)]
        unsafe fn products<C: Codes, const R: usize, const N: usize>(
            tiles: [&Tile<Self>; R],
            x: &Columns<N>,
            g: usize,
        ) -> Acc<Self, R, N> {
            // SAFETY: the caller's.
            unsafe { $products(tiles, x, g) }
        }
        #[target_feature(enable = $features)]
        unsafe fn gemv<T: TileFormat<Self>, const N: usize>(
            w: &Matrix<'_>,
            x: Activations<'_>,
            y: &mut MatMut<'_>,
        ) {
            // SAFETY: the caller's.
            unsafe { matmul::gemv::<Self, T, N>(w, x, y) }
        }
        #[target_feature(enable = $features)]
        unsafe fn gemv_pairs<T: TileFormat<Self>, const A: usize, const B: usize>(
            w: &Matrix<'_>,
            x: Activations<'_>,
            y: &mut MatMut<'_>,
        ) {
            // SAFETY: the caller's.
            unsafe { pairs::gemv::<Self, T, A, B>(w, x, y) }
        }
        #[inline(never)]
        #[target_feature(enable = $features)]
        unsafe fn unpack<T: TileFormat<Self>>(rows: Rows<'_>, blocks: usize, tiles: *mut Tile<Self>) {
            // SAFETY: the caller's.
            unsafe { T::unpack(rows, blocks, tiles) }
        }
        #[target_feature(enable = $features)]
        unsafe fn multiply<C: Codes, const R: usize, const N: usize, const FETCH: bool>(
            panels: [*const Tile<Self>; R],
            x: Activations<'_>,
            y: &mut MatMut<'_>,
            at: Block,
            next: &mut NextRows,
        ) {
            // SAFETY: the caller's.
            unsafe { dot::multiply::<Self, C, R, N, FETCH>(panels, x, y, at, next) }
        }
        #[target_feature(enable = $features)]
        unsafe fn make_sums<C: Codes>(x: &QuantizedRows<'_>, out: &mut [i32]) {
            // SAFETY: the caller's.
            unsafe { sums::make::<Self, C>(x, out) }
        }
    };
}

/// Methods that are one intrinsic each.
macro_rules! intrinsics {
    ($($name:ident($($arg:ident: $ty:ident),*) -> $result:ident = $f:ident;)*) => {$(
        #[inline(always)]
        unsafe fn $name($($arg: Self::$ty),*) -> Self::$result {
            // SAFETY: the caller has the tier's features (see `Simd`).
            unsafe { $f($($arg),*) }
        }
    )*};
}
/// Shifts by a count that is a constant after inlining.
macro_rules! shifts {
    ($($name:ident = $f:ident;)*) => {$(
        #[inline(always)]
        unsafe fn $name(a: Self::I, n: i32) -> Self::I {
            // SAFETY: the caller has the tier's features (see `Simd`).
            unsafe { $f(a, _mm_cvtsi32_si128(n)) }
        }
    )*};
}

macro_rules! ymm {
    ($name:ident, $vnni:literal, $features:literal, $products:expr, $halves:ty) => {
        impl Simd for $name {
            type I = __m256i;
            type F = __m256;
            const ROWS: usize = 8;
            const VNNI: bool = $vnni;
            const REGISTERS: usize = 16;
            type Halves = $halves;
            const COLUMNS: usize = 4;
            entry_points!($features, $products);
            intrinsics! {
                and(a: I, b: I) -> I = _mm256_and_si256;
                or(a: I, b: I) -> I = _mm256_or_si256;
                xor(a: I, b: I) -> I = _mm256_xor_si256;
                add8(a: I, b: I) -> I = _mm256_add_epi8;
                sub8(a: I, b: I) -> I = _mm256_sub_epi8;
                add32(a: I, b: I) -> I = _mm256_add_epi32;
                sub32(a: I, b: I) -> I = _mm256_sub_epi32;
                min32(a: I, b: I) -> I = _mm256_min_epi32;
                max32(a: I, b: I) -> I = _mm256_max_epi32;
                shuffle(a: I, index: I) -> I = _mm256_shuffle_epi8;
                unpack_lo32(a: I, b: I) -> I = _mm256_unpacklo_epi32;
                unpack_hi32(a: I, b: I) -> I = _mm256_unpackhi_epi32;
                unpack_lo64(a: I, b: I) -> I = _mm256_unpacklo_epi64;
                unpack_hi64(a: I, b: I) -> I = _mm256_unpackhi_epi64;
                add(a: F, b: F) -> F = _mm256_add_ps;
                mul(a: F, b: F) -> F = _mm256_mul_ps;
                fma(a: F, b: F, c: F) -> F = _mm256_fmadd_ps;
                to_f32(a: I) -> F = _mm256_cvtepi32_ps;
                as_f32(a: I) -> F = _mm256_castsi256_ps;
                as_i32(a: F) -> I = _mm256_castps_si256;
            }
            shifts! {
                shl16 = _mm256_sll_epi16;
                shr16 = _mm256_srl_epi16;
                sra16 = _mm256_sra_epi16;
                shl32 = _mm256_sll_epi32;
                shr32 = _mm256_srl_epi32;
                sra32 = _mm256_sra_epi32;
            }
            #[inline(always)]
            unsafe fn splat8(x: i8) -> __m256i {
                // SAFETY: the caller has AVX2 (here and below).
                unsafe { _mm256_set1_epi8(x) }
            }
            #[inline(always)]
            unsafe fn splat16(x: i16) -> __m256i {
                // SAFETY: as above.
                unsafe { _mm256_set1_epi16(x) }
            }
            #[inline(always)]
            unsafe fn splat32(x: i32) -> __m256i {
                // SAFETY: as above.
                unsafe { _mm256_set1_epi32(x) }
            }
            #[inline(always)]
            unsafe fn table(bytes: &[u8; 16]) -> __m256i {
                // SAFETY: as above; 16 bytes.
                unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes.as_ptr().cast())) }
            }
            #[inline(always)]
            unsafe fn load(p: *const i32) -> __m256i {
                // SAFETY: as above; the caller's 8 dwords.
                unsafe { _mm256_loadu_si256(p.cast()) }
            }
            #[inline(always)]
            unsafe fn load_f16s(p: *const u16) -> __m256 {
                // SAFETY: as above, F16C too; the caller's 8 values.
                unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
            }
            #[inline(always)]
            unsafe fn fifth_bits(bits: __m256i, j: usize) -> __m256i {
                // SAFETY: as above.
                unsafe {
                    // Byte j/2 of each dword to all its bytes, then one bit of its low or high half per byte, then that as 16.
                    let spread = Self::table(&[0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12]);
                    let bytes =
                        _mm256_shuffle_epi8(bits, _mm256_add_epi8(spread, _mm256_set1_epi8(j as i8 / 2)));
                    if j % 2 == 0 {
                        let bit = _mm256_and_si256(bytes, _mm256_set1_epi32(0x0804_0201));
                        let sixteen = Self::table(&[0, 16, 16, 0, 16, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0]);
                        _mm256_shuffle_epi8(sixteen, bit)
                    } else {
                        let bit = _mm256_and_si256(bytes, _mm256_set1_epi32(0x8040_2010u32 as i32));
                        _mm256_min_epu8(bit, _mm256_set1_epi8(16))
                    }
                }
            }
            #[inline(always)]
            unsafe fn load_lanes(p: impl Fn(usize) -> *const u8, first: usize) -> __m256i {
                // SAFETY: as above; the caller's 16 bytes at each pointer.
                unsafe {
                    let low = _mm256_castsi128_si256(_mm_loadu_si128(p(first).cast()));
                    _mm256_inserti128_si256::<1>(low, _mm_loadu_si128(p(first + 4).cast()))
                }
            }
            #[inline(always)]
            unsafe fn negate_where(a: __m256i, bits: __m256i, bit: __m256i, offset: __m256i) -> __m256i {
                // SAFETY: the caller has AVX2 (here and below). A bit plus 127 is negative, 0 plus 127 is not.
                unsafe {
                    let sign = _mm256_add_epi8(_mm256_and_si256(bits, bit), _mm256_set1_epi8(127));
                    _mm256_add_epi8(offset, _mm256_sign_epi8(a, sign))
                }
            }
            #[inline(always)]
            unsafe fn count_gt8(n: __m256i, a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: as above.
                unsafe { _mm256_sub_epi8(n, _mm256_cmpgt_epi8(a, b)) }
            }
            #[inline(always)]
            unsafe fn even32(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: as above.
                unsafe {
                    let (a, b) = (_mm256_castsi256_ps(a), _mm256_castsi256_ps(b));
                    _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(a, b))
                }
            }
            #[inline(always)]
            unsafe fn odd32(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: as above.
                unsafe {
                    let (a, b) = (_mm256_castsi256_ps(a), _mm256_castsi256_ps(b));
                    _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(a, b))
                }
            }
            #[inline(always)]
            unsafe fn pin(v: &mut __m256i) {
                // SAFETY: the caller has AVX2.
                unsafe { pin_ymm(v) }
            }
            #[inline(always)]
            unsafe fn splat(x: f32) -> __m256 {
                // SAFETY: as above.
                unsafe { _mm256_set1_ps(x) }
            }
            #[inline(always)]
            unsafe fn store(p: *mut f32, v: __m256) {
                // SAFETY: as above; the caller's 8 values.
                unsafe { _mm256_storeu_ps(p, v) }
            }
            #[inline(always)]
            unsafe fn split_f16(a: __m256i) -> (__m256, __m256) {
                // SAFETY: as above; F16C too.
                unsafe {
                    let split = Self::table(&[0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15]);
                    let halves = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_shuffle_epi8(a, split));
                    let (low, high) = (_mm256_castsi256_si128(halves), _mm256_extracti128_si256::<1>(halves));
                    (_mm256_cvtph_ps(low), _mm256_cvtph_ps(high))
                }
            }
        }
    };
}
ymm!(Avx2, false, "avx2,fma,f16c", dot::maddubs_products::<C, R, N>, halves::Maddubs);
ymm!(AvxVnni, true, "avx2,fma,f16c,avxvnni", dot::dpbusd_products::<Self, C, R, N>, halves::ByDpbusd);

/// Tiers with an instruction for four products at once.
pub(crate) trait Dpbusd: Simd {
    /// `sum + w * x`: 4 unsigned bytes of `w` times 4 signed ones of `x`; nothing saturates.
    ///
    /// # Safety
    /// The tier's features.
    unsafe fn dpbusd(sum: Self::I, w: Self::I, x: Self::I) -> Self::I;
}
impl Dpbusd for AvxVnni {
    intrinsics! { dpbusd(sum: I, w: I, x: I) -> I = _mm256_dpbusd_avx_epi32; }
}
impl Dpbusd for Avx512Vnni {
    intrinsics! { dpbusd(sum: I, w: I, x: I) -> I = _mm512_dpbusd_epi32; }
}

impl Simd for Avx512Vnni {
    type I = __m512i;
    type F = __m512;
    const ROWS: usize = 16;
    const VNNI: bool = true;
    const REGISTERS: usize = 32;
    type Halves = halves::ByDpbusd;
    const COLUMNS: usize = 6;
    entry_points!(
        "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
        dot::dpbusd_products::<Self, C, R, N>
    );
    intrinsics! {
        and(a: I, b: I) -> I = _mm512_and_si512;
        or(a: I, b: I) -> I = _mm512_or_si512;
        xor(a: I, b: I) -> I = _mm512_xor_si512;
        add8(a: I, b: I) -> I = _mm512_add_epi8;
        sub8(a: I, b: I) -> I = _mm512_sub_epi8;
        add32(a: I, b: I) -> I = _mm512_add_epi32;
        sub32(a: I, b: I) -> I = _mm512_sub_epi32;
        min32(a: I, b: I) -> I = _mm512_min_epi32;
        max32(a: I, b: I) -> I = _mm512_max_epi32;
        shuffle(a: I, index: I) -> I = _mm512_shuffle_epi8;
        unpack_lo32(a: I, b: I) -> I = _mm512_unpacklo_epi32;
        unpack_hi32(a: I, b: I) -> I = _mm512_unpackhi_epi32;
        unpack_lo64(a: I, b: I) -> I = _mm512_unpacklo_epi64;
        unpack_hi64(a: I, b: I) -> I = _mm512_unpackhi_epi64;
        add(a: F, b: F) -> F = _mm512_add_ps;
        mul(a: F, b: F) -> F = _mm512_mul_ps;
        fma(a: F, b: F, c: F) -> F = _mm512_fmadd_ps;
        to_f32(a: I) -> F = _mm512_cvtepi32_ps;
        as_f32(a: I) -> F = _mm512_castsi512_ps;
        as_i32(a: F) -> I = _mm512_castps_si512;
    }
    shifts! {
        shl16 = _mm512_sll_epi16;
        shr16 = _mm512_srl_epi16;
        sra16 = _mm512_sra_epi16;
        shl32 = _mm512_sll_epi32;
        shr32 = _mm512_srl_epi32;
        sra32 = _mm512_sra_epi32;
    }
    #[inline(always)]
    unsafe fn splat8(x: i8) -> __m512i {
        // SAFETY: the caller has AVX-512 (here and below).
        unsafe { _mm512_set1_epi8(x) }
    }
    #[inline(always)]
    unsafe fn splat16(x: i16) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_set1_epi16(x) }
    }
    #[inline(always)]
    unsafe fn splat32(x: i32) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_set1_epi32(x) }
    }
    #[inline(always)]
    unsafe fn table(bytes: &[u8; 16]) -> __m512i {
        // SAFETY: as above; 16 bytes.
        unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(bytes.as_ptr().cast())) }
    }
    #[inline(always)]
    unsafe fn load(p: *const i32) -> __m512i {
        // SAFETY: as above; the caller's 16 dwords.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn load_f16s(p: *const u16) -> __m512 {
        // SAFETY: as above; the caller's 16 values.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn fifth_bits(bits: __m512i, j: usize) -> __m512i {
        // Entry n has 16 in byte i where n has bit i: `vpermd` looks at the low 4 bits of each dword only.
        const SPREAD: [u32; 16] = {
            let mut table = [0; 16];
            let mut n = 0;
            while n < 64 {
                table[n / 4] |= (((n / 4) >> (n % 4) & 1) as u32) << (8 * (n % 4) + 4);
                n += 1;
            }
            table
        };
        // SAFETY: as above; 16 dwords.
        unsafe {
            let nibble = Self::shr32(bits, 4 * j as i32);
            _mm512_permutexvar_epi32(nibble, _mm512_loadu_si512(SPREAD.as_ptr().cast()))
        }
    }
    #[inline(always)]
    unsafe fn load_lanes(p: impl Fn(usize) -> *const u8, first: usize) -> __m512i {
        // SAFETY: as above; the caller's 16 bytes at each pointer.
        unsafe {
            let v = _mm512_castsi128_si512(_mm_loadu_si128(p(first).cast()));
            let v = _mm512_inserti32x4::<1>(v, _mm_loadu_si128(p(first + 4).cast()));
            let v = _mm512_inserti32x4::<2>(v, _mm_loadu_si128(p(first + 8).cast()));
            _mm512_inserti32x4::<3>(v, _mm_loadu_si128(p(first + 12).cast()))
        }
    }
    /// By halves of vectors: half as many loads as of 16 bytes twice, and fewer instructions.
    #[inline(always)]
    unsafe fn transpose32(p: impl Fn(usize) -> *const u8 + Copy) -> [__m512i; 8] {
        // SAFETY: as above; the caller's 32 bytes at each pointer.
        unsafe {
            let ([a, b, c, d], [e, f, g, h]) = (transpose_eight(p, 0), transpose_eight(p, 8));
            [
                _mm512_shuffle_i64x2::<0b10_00_10_00>(a, e),
                _mm512_shuffle_i64x2::<0b10_00_10_00>(b, f),
                _mm512_shuffle_i64x2::<0b10_00_10_00>(c, g),
                _mm512_shuffle_i64x2::<0b10_00_10_00>(d, h),
                _mm512_shuffle_i64x2::<0b11_01_11_01>(a, e),
                _mm512_shuffle_i64x2::<0b11_01_11_01>(b, f),
                _mm512_shuffle_i64x2::<0b11_01_11_01>(c, g),
                _mm512_shuffle_i64x2::<0b11_01_11_01>(d, h),
            ]
        }
    }
    #[inline(always)]
    unsafe fn negate_where(a: __m512i, bits: __m512i, bit: __m512i, offset: __m512i) -> __m512i {
        // SAFETY: as above.
        unsafe {
            let negative = _mm512_test_epi8_mask(bits, bit);
            _mm512_mask_sub_epi8(_mm512_add_epi8(offset, a), negative, offset, a)
        }
    }
    #[inline(always)]
    unsafe fn count_gt8(n: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_mask_add_epi8(n, _mm512_cmpgt_epi8_mask(a, b), n, _mm512_set1_epi8(1)) }
    }
    #[inline(always)]
    unsafe fn even32(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: as above.
        unsafe {
            let (a, b) = (_mm512_castsi512_ps(a), _mm512_castsi512_ps(b));
            _mm512_castps_si512(_mm512_shuffle_ps::<0b10_00_10_00>(a, b))
        }
    }
    #[inline(always)]
    unsafe fn odd32(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: as above.
        unsafe {
            let (a, b) = (_mm512_castsi512_ps(a), _mm512_castsi512_ps(b));
            _mm512_castps_si512(_mm512_shuffle_ps::<0b11_01_11_01>(a, b))
        }
    }
    #[inline(always)]
    unsafe fn pin(v: &mut __m512i) {
        // SAFETY: the caller has AVX-512.
        unsafe { pin_zmm(v) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m512) {
        // SAFETY: as above; the caller's 16 values.
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn split_f16(a: __m512i) -> (__m512, __m512) {
        // SAFETY: as above.
        unsafe {
            let high = _mm512_cvtepi32_epi16(Self::shr32(a, 16));
            (_mm512_cvtph_ps(_mm512_cvtepi32_epi16(a)), _mm512_cvtph_ps(high))
        }
    }
}

/// Of 32 bytes from each of 8 rows from `first` on: in result `j`, dword `j` of the first four rows, dword `j + 4` of them, and the same of
/// the other four.
///
/// # Safety
/// AVX-512; 32 bytes are readable at `p` of each of these rows.
#[inline(always)]
unsafe fn transpose_eight(p: impl Fn(usize) -> *const u8 + Copy, first: usize) -> [__m512i; 4] {
    // SAFETY: the caller's.
    unsafe {
        let (r0, r1) = (two_halves(p(first), p(first + 4)), two_halves(p(first + 1), p(first + 5)));
        let (r2, r3) = (two_halves(p(first + 2), p(first + 6)), two_halves(p(first + 3), p(first + 7)));
        let (a, b) = (_mm512_unpacklo_epi32(r0, r1), _mm512_unpackhi_epi32(r0, r1));
        let (c, d) = (_mm512_unpacklo_epi32(r2, r3), _mm512_unpackhi_epi32(r2, r3));
        [
            _mm512_unpacklo_epi64(a, c),
            _mm512_unpackhi_epi64(a, c),
            _mm512_unpacklo_epi64(b, d),
            _mm512_unpackhi_epi64(b, d),
        ]
    }
}

/// 32 bytes from each of two addresses.
///
/// # Safety
/// As [`transpose_eight`].
#[inline(always)]
unsafe fn two_halves(low: *const u8, high: *const u8) -> __m512i {
    // SAFETY: the caller's.
    unsafe {
        let low = _mm512_castsi256_si512(_mm256_loadu_si256(low.cast()));
        _mm512_inserti64x4::<1>(low, _mm256_loadu_si256(high.cast()))
    }
}

// Assembler needs a function with the feature of its registers.

#[inline]
#[target_feature(enable = "avx2")]
fn pin_ymm(v: &mut __m256i) {
    // SAFETY: no instruction.
    unsafe { std::arch::asm!("/* {} */", inout(ymm_reg) * v, options(nomem, nostack, preserves_flags)) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn pin_zmm(v: &mut __m512i) {
    // SAFETY: no instruction.
    unsafe { std::arch::asm!("/* {} */", inout(zmm_reg) * v, options(nomem, nostack, preserves_flags)) }
}
