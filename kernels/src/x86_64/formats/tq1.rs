//! TQ1_0: five base-3 digits per byte, which is a fraction of 256: thirds are compared, then it is tripled.

use super::super::simd::Simd;
use super::super::tile::{Rows, Tile, TileFormat, U4Minus8, load_f16, load_u32, transpose16, transpose32};

/// `7 + digit` for the next `N` digits of each byte.
///
/// With 128 subtracted, as here, thirds of a byte are told apart by signed comparisons (85 and 170 less 128), and three
/// times a byte is still itself less 128.
#[inline(always)]
unsafe fn digits<S: Simd, const N: usize>(bytes: S::I) -> [S::I; N] {
    // SAFETY: the caller has the tier's features.
    unsafe {
        let mut rest = S::xor(bytes, S::splat8(-128));
        let mut digits = [rest; N];
        for digit in &mut digits {
            *digit = S::count_gt8(S::splat8(7), rest, S::splat8(-43));
            *digit = S::count_gt8(*digit, rest, S::splat8(42));
            rest = S::add8(rest, S::add8(rest, rest));
        }
        digits
    }
}

super_blocks! {
    /// `qs: [u8; 48], qh: [u8; 4], d: f16`, `w = d * (digit - 1)`. Codes share the arithmetic of Q4_0, as TQ2_0 does.
    TQ1_0: U4Minus8, 54, |rows, tiles| {
        let d = load_f16::<S>(rows, 52);
        for tile in tiles {
            tile.d = d;
        }
    }, whole {
        for (j, qs) in transpose32::<S>(rows, 0).into_iter().enumerate() {
            for (n, codes) in digits::<S, 5>(qs).into_iter().enumerate() {
                tiles[n].codes[j] = codes;
            }
        }
        for (j, qs) in transpose16::<S>(rows, 32).into_iter().enumerate() {
            for (n, codes) in digits::<S, 5>(qs).into_iter().enumerate() {
                tiles[5 + n / 2].codes[4 * (n % 2) + j] = codes;
            }
        }
        for (n, codes) in digits::<S, 4>(load_u32::<S>(rows, 48)).into_iter().enumerate() {
            tiles[7].codes[4 + n] = codes;
        }
    }
}
