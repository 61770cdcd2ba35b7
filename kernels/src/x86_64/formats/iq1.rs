//! IQ1_S and IQ1_M: codes are `16 + 8 * grid ± 1`, scales include an eighth.

use super::super::simd::Simd;
use super::super::tile::{Rows, Tile, TileFormat, U5Minus16, U5Minus16Sub, load_f16, transpose16};
use super::codebook::{Entries, High, IQ1_PLUS_16, Indices, odd_scale, u16_at};
use super::k::sub_scales;

/// In each byte -1 where bit `31 - shift` of the dword is set, else 1.
#[inline(always)]
unsafe fn delta<S: Simd>(words: S::I, shift: usize) -> S::I {
    // SAFETY: the caller has the tier's features.
    unsafe { S::or(S::sra32(S::shl32(words, shift as i32), 31), S::splat8(1)) }
}

/// The entries of a super-block.
///
/// # Safety
/// As [`Indices::new`].
#[inline(always)]
unsafe fn entries<S: Simd>(rows: Rows<'_>, low: usize, high: High<2, 4>) -> Entries {
    // SAFETY: the caller's; an index has 11 bits.
    unsafe {
        let indices = Indices::<32>::new::<S, 2, 4>(rows, low, high);
        let index = |row, g, l| u16_at(row, 4 * g + l);
        Entries::eights::<S, 2048>(&IQ1_PLUS_16, |i| indices.row(i), index)
    }
}

/// 8 u16 per row as the high halves of dwords.
#[inline(always)]
unsafe fn words<S: Simd>(dwords: [S::I; 4]) -> [S::I; 8] {
    let [a, b, c, d] = dwords;
    // SAFETY: as above.
    unsafe { [S::shl32(a, 16), a, S::shl32(b, 16), b, S::shl32(c, 16), c, S::shl32(d, 16), d] }
}

super_blocks! {
    /// `d: f16, qs: [u8; 32], qh: [u16; 8]`, `w = d * (2 * sc + 1) * (grid ± 1/8)`.
    IQ1_S: U5Minus16, 50, |rows, tiles| {
        let d = S::mul(load_f16::<S>(rows, 0), S::splat(0.125));
        for (g, qh) in words::<S>(transpose16::<S>(rows, 34)).into_iter().enumerate() {
            tiles[g].d = odd_scale::<S>(d, S::and(S::shr32(qh, 28), S::splat32(7)));
        }
    }, whole {
        let high = High::<2, 4> { at: 34, multipliers: [512, 64, 8, 1, 512, 64, 8, 1], mask: 7 << 9, shift: 1 };
        let entries = entries::<S>(rows, 2, high);
        let qh = words::<S>(transpose16::<S>(rows, 34));
        for g in 0..8 {
            let delta = delta::<S>(qh[g], 0);
            for l in 0..4 {
                let [first, second] = entries.eight::<S>(4 * g + l);
                tiles[g].codes[2 * l] = S::add8(first, delta);
                tiles[g].codes[2 * l + 1] = S::add8(second, delta);
            }
        }
    }

    /// `qs: [u8; 32], qh: [u8; 16], scales: [u16; 4]`, `w = d * (2 * sc + 1) * (grid ± 1/8)`.
    IQ1_M: U5Minus16Sub, 56, |rows, tiles| {
        let [.., a, b] = transpose16::<S>(rows, 40);
        // The top nibbles of the four words are d.
        let bits = [(S::shr32(a, 12), 15), (S::shr32(a, 24), 15 << 4), (S::shr32(b, 4), 15 << 8), (S::shr32(b, 16), 15 << 12)];
        let d = bits.into_iter().fold(S::splat32(0), |d, (bits, mask)| S::or(d, S::and(bits, S::splat32(mask))));
        let d = S::mul(S::split_f16(d).0, S::splat(0.125));
        // Each word has four scales of 3 bits, which go to a byte each.
        let mut scales = [a, S::shr32(a, 16), b, S::shr32(b, 16)];
        for scales in &mut scales {
            let mut bytes = S::and(*scales, S::splat32(7));
            for i in 1..4 {
                bytes = S::or(bytes, S::and(S::shl32(*scales, 5 * i), S::splat32(7 << (8 * i))));
            }
            *scales = S::or(S::add8(bytes, bytes), S::splat8(1));
        }
        sub_scales::<S>(scales, 4, tiles);
        for tile in tiles {
            tile.d = d;
        }
    }, whole {
        let high = High::<2, 4> { at: 32, multipliers: [4096, 256, 16, 1, 4096, 256, 16, 1], mask: 7 << 12, shift: 4 };
        let entries = entries::<S>(rows, 0, high);
        let qh = words::<S>(transpose16::<S>(rows, 32));
        for g in 0..8 {
            for l in 0..4 {
                let delta = delta::<S>(qh[g], 12 - 4 * l);
                let [first, second] = entries.eight::<S>(4 * g + l);
                tiles[g].codes[2 * l] = S::add8(first, delta);
                tiles[g].codes[2 * l + 1] = S::add8(second, delta);
            }
        }
    }
}
