//! IQ2_XXS, IQ2_XS and IQ2_S: 8 absolute weights from a codebook, and signs; codes are `64 ± grid`, scales include an
//! eighth.

use super::super::simd::Simd;
use super::super::tile::{
    Rows, Tile, TileFormat, U7Minus64, U7Minus64Sub, high_nibbles, load_f16, low_nibbles, transpose16,
};
use super::codebook::{
    Entries, High, IQ2_S as GRID_S, IQ2_XS as GRID_XS, IQ2_XXS as GRID_XXS, Indices, eighth_by_parity,
    odd_scale, set_signed, sevens_to_bytes, u16_at,
};
use super::k::sub_scales;

/// `2 * sc + 1` of both nibbles of 8 bytes per row, as bytes in the order of the halves they scale.
#[inline(always)]
unsafe fn odd_scales<S: Simd>(bytes: [S::I; 2]) -> [S::I; 4] {
    let mut scales = [bytes[0]; 4];
    for (i, scales) in scales.iter_mut().enumerate() {
        // SAFETY: the caller has the tier's features.
        unsafe {
            let bytes = bytes[i / 2];
            let twice = [[0, 0, 1, 1], [2, 2, 3, 3]][i % 2];
            let index: [u8; 16] = std::array::from_fn(|k| (k / 4 * 4) as u8 + twice[k % 4]);
            let bytes = S::shuffle(bytes, S::table(&index));
            let low = S::and(low_nibbles::<S>(bytes), S::splat16(0x00ff));
            let high = S::and(high_nibbles::<S>(bytes), S::splat16(0xff00u16 as i16));
            let scale = S::or(low, high);
            *scales = S::or(S::add8(scale, scale), S::splat8(1));
        }
    }
    scales
}

super_blocks! {
    /// `d: f16, qs: [([u8; 4], u32); 8]`, `w = d / 8 * (2 * sc + 1) * ±grid`.
    IQ2_XXS: U7Minus64, 66, |rows, tiles| {
        let d = S::mul(load_f16::<S>(rows, 0), S::splat(0.125));
        for tile in tiles {
            tile.d = d;
        }
    }, whole {
        let index = |row: *const u8, g, l| usize::from(*row.add(8 * g + l));
        let entries = Entries::eights::<S, 256>(&GRID_XXS, |i| rows.at(i, 2), index);
        for pair in 0..4 {
            let [_, first, _, second] = transpose16::<S>(rows, 2 + 16 * pair);
            for (g, rest) in [(2 * pair, first), (2 * pair + 1, second)] {
                let tile = &mut tiles[g];
                let signs = eighth_by_parity::<S>(sevens_to_bytes::<S>(rest));
                // The scale is beside the signs.
                tile.d = odd_scale::<S>(tile.d, S::shr32(rest, 28));
                set_signed::<S>(tile, |l| entries.eight::<S>(4 * g + l), signs, [0, 1, 2, 3], 64);
            }
        }
    }

    /// `d: f16, qs: [u16; 32], scales: [u8; 8]`, `w = d / 8 * (2 * sc + 1) * ±grid`.
    IQ2_XS: U7Minus64Sub, 74, |rows, tiles| {
        let [.., low, high] = transpose16::<S>(rows, 58);
        sub_scales::<S>(odd_scales::<S>([low, high]), 2, tiles);
        let d = S::mul(load_f16::<S>(rows, 0), S::splat(0.125));
        for tile in tiles {
            tile.d = d;
        }
    }, whole {
        let index = |row, g, l| u16_at(row, 4 * g + l) & 511;
        let entries = Entries::eights::<S, 512>(&GRID_XS, |i| rows.at(i, 2), index);
        for pair in 0..4 {
            let [a, b, c, d] = transpose16::<S>(rows, 2 + 16 * pair);
            for (g, (first, second)) in [(2 * pair, (a, b)), (2 * pair + 1, (c, d))] {
                // Bits 9-15 of entries 0 and 1 to the low bytes of the i16, those of entries 2 and 3 to the high ones.
                let sevens = S::or(S::shr16(first, 9), S::and(S::shr16(second, 1), S::splat16(0x7f00)));
                let signs = eighth_by_parity::<S>(sevens);
                let entry = |l| entries.eight::<S>(4 * g + l);
                set_signed::<S>(&mut tiles[g], entry, signs, [0, 2, 1, 3], 64);
            }
        }
    }

    /// `d: f16, qs: [u8; 32], signs: [u8; 32], qh: [u8; 8], scales: [u8; 8]`, `w = d / 8 * (2 * sc + 1) * ±grid`.
    IQ2_S: U7Minus64Sub, 82, |rows, tiles| {
        let [.., low, high] = transpose16::<S>(rows, 66);
        sub_scales::<S>(odd_scales::<S>([low, high]), 2, tiles);
        let d = S::mul(load_f16::<S>(rows, 0), S::splat(0.125));
        for tile in tiles {
            tile.d = d;
        }
    }, whole {
        let high = High::<1, 4> { at: 66, multipliers: [256, 64, 16, 4, 256, 64, 16, 4], mask: 3 << 8, shift: 0 };
        let indices = Indices::<32>::new::<S, 1, 4>(rows, 2, high);
        let index = |row, g, l| u16_at(row, 4 * g + l);
        let entries = Entries::eights::<S, 1024>(&GRID_S, |i| indices.row(i), index);
        for half in 0..2 {
            for (i, signs) in transpose16::<S>(rows, 34 + 16 * half).into_iter().enumerate() {
                let g = 4 * half + i;
                let entry = |l| entries.eight::<S>(4 * g + l);
                set_signed::<S>(&mut tiles[g], entry, signs, [0, 1, 2, 3], 64);
            }
        }
    }
}
