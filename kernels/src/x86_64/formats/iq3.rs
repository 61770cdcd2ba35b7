//! IQ3_XXS and IQ3_S: 4 absolute weights from a codebook, and signs.

use super::super::simd::Simd;
use super::super::tile::{Rows, Tile, TileFormat, U5Minus16, U7Minus64, load_f16, load_u32, transpose16};
use super::codebook::{
    Entries, High, IQ3_S as GRID_S, IQ3_XXS as GRID_XXS, Indices, eighth_by_parity, odd_scale, set_signed,
    sevens_to_bytes, u16_at,
};

super_blocks! {
    /// `d: f16, qs: [u8; 64], rest: [u32; 8]`, `w = d / 4 * (2 * sc + 1) * ±grid`. Codes are `64 ± grid`.
    IQ3_XXS: U7Minus64, 98, |rows, tiles| {
        let d = S::mul(load_f16::<S>(rows, 0), S::splat(0.25));
        for tile in tiles {
            tile.d = d;
        }
    }, whole {
        let index = |row: *const u8, i| usize::from(*row.add(i));
        let entries = Entries::fours::<S, 256>(&GRID_XXS, |i| rows.at(i, 2), index);
        for half in 0..2 {
        for (i, rest) in transpose16::<S>(rows, 66 + 16 * half).into_iter().enumerate() {
            let g = 4 * half + i;
            let tile = &mut tiles[g];
            let entry = |l| [entries.four::<S>(8 * g + 2 * l), entries.four::<S>(8 * g + 2 * l + 1)];
            let signs = eighth_by_parity::<S>(sevens_to_bytes::<S>(rest));
            // The scale is beside the signs.
            tile.d = odd_scale::<S>(tile.d, S::shr32(rest, 28));
            set_signed::<S>(tile, entry, signs, [0, 1, 2, 3], 64);
        }
        }
    }

    /// `d: f16, qs: [u8; 64], qh: [u8; 8], signs: [u8; 32], scales: [u8; 4]`, `w = d * (2 * sc + 1) * ±grid`. Codes are
    /// `16 ± grid`.
    IQ3_S: U5Minus16, 110, |rows, tiles| {
        let (d, scales) = (load_f16::<S>(rows, 0), load_u32::<S>(rows, 106));
        for (g, tile) in tiles.iter_mut().enumerate() {
            tile.d = odd_scale::<S>(d, S::and(S::shr32(scales, 4 * g as i32), S::splat32(15)));
        }
    }, whole {
        let high = High::<1, 8> { at: 66, multipliers: [256, 128, 64, 32, 16, 8, 4, 2], mask: 1 << 8, shift: 0 };
        let indices = Indices::<64>::new::<S, 1, 8>(rows, 2, high);
        let entries = Entries::fours::<S, 512>(&GRID_S, |i| indices.row(i), |row, i| u16_at(row, i));
        for half in 0..2 {
        for (i, signs) in transpose16::<S>(rows, 74 + 16 * half).into_iter().enumerate() {
            let g = 4 * half + i;
            let entry = |l| [entries.four::<S>(8 * g + 2 * l), entries.four::<S>(8 * g + 2 * l + 1)];
            set_signed::<S>(&mut tiles[g], entry, signs, [0, 1, 2, 3], 16);
        }
        }
    }
}
