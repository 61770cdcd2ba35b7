//! Codebooks of 4 or 8 weights per entry, signs, and indices in two parts: what IQ1, IQ2 and IQ3 share.
//!
//! Entries are copied one by one to a buffer in the order of tiles, for all rows of a super-block first: index, load and
//! store, and nothing depends on a CPU's gathers, which are slow microcode on many. Vectors of one dword per row then
//! come from the buffer with at most one shuffle each.

use super::super::simd::Simd;
use super::super::tile::{MAX_ROWS, Rows, Tile};
use crate::format::grids;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

/// Entries of 8 weights plus `offset`, as in memory.
const fn eights<const N: usize>(grid: &[[i8; 8]; N], offset: i8) -> [u64; N] {
    let mut out = [0; N];
    let mut i = 0;
    while i < N {
        let mut k = 0;
        while k < 8 {
            out[i] |= ((grid[i][k] + offset) as u8 as u64) << (8 * k);
            k += 1;
        }
        i += 1;
    }
    out
}

/// Entries of 4 weights, as in memory.
const fn fours<const N: usize>(grid: &[[i8; 4]; N]) -> [u32; N] {
    let mut out = [0; N];
    let mut i = 0;
    while i < N {
        let [a, b, c, d] = grid[i];
        out[i] = u32::from_le_bytes([a as u8, b as u8, c as u8, d as u8]);
        i += 1;
    }
    out
}

pub(super) static IQ1_PLUS_16: [u64; 2048] = eights(&grids::IQ1_S, 16);
pub(super) static IQ2_XXS: [u64; 256] = eights(&grids::IQ2_XXS, 0);
pub(super) static IQ2_XS: [u64; 512] = eights(&grids::IQ2_XS, 0);
pub(super) static IQ2_S: [u64; 1024] = eights(&grids::IQ2_S, 0);
pub(super) static IQ3_XXS: [u32; 256] = fours(&grids::IQ3_XXS);
pub(super) static IQ3_S: [u32; 512] = fours(&grids::IQ3_S);

/// The entries of a super-block of every row: 32 of 8 weights or 64 of 4.
#[repr(C, align(64))]
pub(super) struct Entries(MaybeUninit<[u64; 32 * MAX_ROWS]>);

impl Entries {
    /// Entries of 8 weights: number `4 * g + l` of row `i` is `grid[index(start(i), g, l)]`.
    ///
    /// # Safety
    /// The tier's features; `index` is below `N`.
    #[inline(always)]
    pub(super) unsafe fn eights<S: Simd, const N: usize>(
        grid: &[u64; N],
        start: impl Fn(usize) -> *const u8,
        index: impl Fn(*const u8, usize, usize) -> usize,
    ) -> Entries {
        let mut entries = Entries(MaybeUninit::uninit());
        let out: *mut u64 = entries.0.as_mut_ptr().cast();
        for pair in 0..S::ROWS / 2 {
            let (even, odd) = (start(2 * pair), start(2 * pair + 1));
            // Pairs of rows alternate between two vectors, so that `even32` and `odd32` of them are in order.
            let place = pair % 2 * (S::ROWS / 2) + pair / 2 * 2;
            for g in 0..8 {
                for l in 0..4 {
                    let (a, b) = (index(even, g, l), index(odd, g, l));
                    debug_assert!(a < N && b < N);
                    // SAFETY: both indices are below N; 32 entries of ROWS rows fit, and pairs are aligned: `place` is
                    // even. One store for both, because stores are what bounds this.
                    unsafe {
                        let out = out.add((4 * g + l) * S::ROWS + place);
                        let first = _mm_loadl_epi64(grid.as_ptr().add(a).cast());
                        let both = _mm_loadh_pd(_mm_castsi128_pd(first), grid.as_ptr().add(b).cast());
                        _mm_store_pd(out.cast(), both);
                    }
                }
            }
        }
        entries
    }

    /// Entries of 4 weights: number `i` of row `r` is `grid[index(start(r), i)]`.
    ///
    /// # Safety
    /// The tier's features; `index` is below `N`.
    #[inline(always)]
    pub(super) unsafe fn fours<S: Simd, const N: usize>(
        grid: &[u32; N],
        start: impl Fn(usize) -> *const u8,
        index: impl Fn(*const u8, usize) -> usize,
    ) -> Entries {
        let mut entries = Entries(MaybeUninit::uninit());
        let out: *mut u32 = entries.0.as_mut_ptr().cast();
        for pair in 0..S::ROWS / 2 {
            let (even, odd) = (start(2 * pair), start(2 * pair + 1));
            for i in 0..64 {
                let (a, b) = (index(even, i), index(odd, i));
                debug_assert!(a < N && b < N);
                // SAFETY: both indices are below N; 64 entries of ROWS rows fit. Volatile, or else the compiler makes
                // gathers and scatters of this where there are any, which is slower.
                unsafe {
                    let out = out.add(i * S::ROWS + 2 * pair);
                    out.write_volatile(*grid.get_unchecked(a));
                    out.add(1).write_volatile(*grid.get_unchecked(b));
                }
            }
        }
        entries
    }

    /// Weights 0..4 and 4..8 of entry `i` of 8 weights of every row.
    ///
    /// # Safety
    /// The tier's features; made by [`Entries::eights`]; `i < 32`.
    #[inline(always)]
    pub(super) unsafe fn eight<S: Simd>(&self, i: usize) -> [S::I; 2] {
        // SAFETY: two vectors of ROWS / 2 entries each.
        unsafe {
            let at = self.0.as_ptr().cast::<u64>().add(i * S::ROWS);
            let (a, b) = (S::load(at.cast()), S::load(at.add(S::ROWS / 2).cast()));
            [S::even32(a, b), S::odd32(a, b)]
        }
    }

    /// Entry `i` of 4 weights of every row.
    ///
    /// # Safety
    /// The tier's features; made by [`Entries::fours`]; `i < 64`.
    #[inline(always)]
    pub(super) unsafe fn four<S: Simd>(&self, i: usize) -> S::I {
        // SAFETY: a vector of ROWS entries.
        unsafe { S::load(self.0.as_ptr().cast::<i32>().add(i * S::ROWS)) }
    }
}

/// Where the high bits of indices are: fields of little-endian words of `BYTES` bytes, `PER_WORD` indices in each. Bits
/// `mask` of `word * multipliers[i % 8]`, shifted right by `shift`, top index `i`.
pub(super) struct High<const BYTES: usize, const PER_WORD: usize> {
    /// Where they begin in a block; 8 words are readable there.
    pub at: usize,
    pub multipliers: [i16; 8],
    pub mask: i16,
    pub shift: i32,
}

impl<const BYTES: usize, const PER_WORD: usize> High<BYTES, PER_WORD> {
    /// Selects the words of indices `16 * c .. 16 * c + 16`, in two halves, for `vpshufb`.
    const fn select(c: usize) -> [u8; 32] {
        let mut out = [0x80; 32];
        let mut i = 0;
        while i < 16 {
            let word = (16 * c + i) / PER_WORD;
            let mut byte = 0;
            while byte < BYTES {
                out[2 * i + byte] = (BYTES * word + byte) as u8;
                byte += 1;
            }
            i += 1;
        }
        out
    }
}

/// The `N` indices of a super-block of every row.
#[repr(C, align(32))]
pub(super) struct Indices<const N: usize>(MaybeUninit<[[u16; N]; MAX_ROWS]>);

impl<const N: usize> Indices<N> {
    /// Bytes from `low` on with bits of `high` above them.
    ///
    /// # Safety
    /// The tier's features; `N` bytes are readable at `low` and 8 words at `high.at`, in every row.
    #[inline(always)]
    pub(super) unsafe fn new<S: Simd, const BYTES: usize, const PER_WORD: usize>(
        rows: Rows<'_>,
        low: usize,
        high: High<BYTES, PER_WORD>,
    ) -> Indices<N> {
        const { assert!(N == 8 * PER_WORD) };
        let mut indices = Indices(MaybeUninit::uninit());
        let out: *mut __m256i = indices.0.as_mut_ptr().cast();
        // SAFETY: the caller's bytes; N / 16 vectors of each row are written. Every tier has AVX2.
        unsafe {
            let multipliers = _mm256_broadcastsi128_si256(_mm_loadu_si128(high.multipliers.as_ptr().cast()));
            for row in 0..S::ROWS {
                let words = rows.at(row, high.at);
                let words =
                    if BYTES == 2 { _mm_loadu_si128(words.cast()) } else { _mm_loadl_epi64(words.cast()) };
                let words = _mm256_broadcastsi128_si256(words);
                for c in 0..N / 16 {
                    let select = High::<BYTES, PER_WORD>::select(c);
                    let words = _mm256_shuffle_epi8(words, _mm256_loadu_si256(select.as_ptr().cast()));
                    let top = _mm256_and_si256(
                        _mm256_mullo_epi16(words, multipliers),
                        _mm256_set1_epi16(high.mask),
                    );
                    let top = _mm256_srl_epi16(top, _mm_cvtsi32_si128(high.shift));
                    let low = _mm256_cvtepu8_epi16(_mm_loadu_si128(rows.at(row, low + 16 * c).cast()));
                    _mm256_store_si256(out.add(row * (N / 16) + c), _mm256_or_si256(low, top));
                }
            }
        }
        indices
    }

    /// Those of row `i`.
    #[inline(always)]
    pub(super) fn row(&self, i: usize) -> *const u8 {
        debug_assert!(i < MAX_ROWS);
        self.0.as_ptr().cast::<[u16; N]>().wrapping_add(i).cast()
    }
}

/// Index `i` of a row of [`Indices`], or of other u16.
///
/// # Safety
/// 2 bytes are readable there.
#[inline(always)]
pub(super) unsafe fn u16_at(row: *const u8, i: usize) -> usize {
    // SAFETY: the caller's.
    unsafe { row.cast::<u16>().add(i).read_unaligned() }.into()
}

/// Four fields of 7 bits in the low 28 bits of each dword to a byte each.
#[inline(always)]
pub(super) unsafe fn sevens_to_bytes<S: Simd>(x: S::I) -> S::I {
    // SAFETY: the caller has the tier's features (here and below).
    unsafe {
        let pairs = S::or(S::and(x, S::splat32(0x3fff)), S::shl32(S::and(x, S::splat32(0x0fff_c000)), 2));
        S::or(S::and(pairs, S::splat16(0x7f)), S::shl32(S::and(pairs, S::splat16(0x3f80)), 1))
    }
}

/// 7 bits in each byte with an eighth on top that makes their number even.
#[inline(always)]
pub(super) unsafe fn eighth_by_parity<S: Simd>(sevens: S::I) -> S::I {
    const ODD: [u8; 16] = [0, 128, 128, 0, 128, 0, 0, 128, 128, 0, 0, 128, 0, 128, 128, 0];
    // SAFETY: as above.
    unsafe {
        let folded = S::xor(sevens, S::shr16(sevens, 4));
        S::or(sevens, S::shuffle(S::table(&ODD), S::and(folded, S::splat8(15))))
    }
}

/// 8 codes of each of four entries, `offset` plus or minus their weights. Byte `ORDER[l]` of `signs` has the signs of entry
/// `l`, the first weight's lowest.
#[inline(always)]
pub(super) unsafe fn set_signed<S: Simd>(
    tile: &mut Tile<S>,
    entry: impl Fn(usize) -> [S::I; 2],
    signs: S::I,
    order: [i8; 4],
    offset: i8,
) {
    // SAFETY: as above.
    unsafe {
        let spread = S::table(&[0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12]);
        let (low, high) = (S::splat32(0x0804_0201), S::splat32(0x8040_2010u32 as i32));
        let offset = S::splat8(offset);
        for (l, byte) in order.into_iter().enumerate() {
            let bits = S::shuffle(signs, S::add8(spread, S::splat8(byte)));
            let [first, second] = entry(l);
            tile.codes[2 * l] = S::negate_where(first, bits, low, offset);
            tile.codes[2 * l + 1] = S::negate_where(second, bits, high, offset);
        }
    }
}

/// `d * (2 * scale + 1)`.
#[inline(always)]
pub(super) unsafe fn odd_scale<S: Simd>(d: S::F, scale: S::I) -> S::F {
    // SAFETY: as above.
    unsafe { S::mul(d, S::to_f32(S::or(S::shl32(scale, 1), S::splat32(1)))) }
}
