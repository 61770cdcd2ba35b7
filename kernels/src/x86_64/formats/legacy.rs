//! The legacy formats of 32 weights per block.

use super::super::simd::Simd;
use super::super::tile::{
    I8, Rows, Tile, TileFormat, U4Min, U4Minus8, U5Min, U5Minus16, load_f16, load_u32, nibbles, signed,
    split_f16, transpose16, transpose32,
};

/// 16 bytes of nibbles with the fifth bits of 32 weights (bit i of the dword is weight i).
#[inline(always)]
unsafe fn five_bits<S: Simd>(qs: [S::I; 4], qh: S::I) -> [S::I; 8] {
    // SAFETY: the caller has the tier's features.
    unsafe {
        let spread = S::table(&[0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12]);
        let (bit, sixteen) = (S::splat32(0x8040_2010u32 as i32), S::splat8(16));
        // The nibble of 4 weights as the high half of a byte.
        let high = [S::shl32(qh, 4), qh];
        let mut codes = nibbles::<S>(qs);
        for (j, code) in codes.iter_mut().enumerate() {
            // Byte j/2 of each dword to all its bytes, then one bit of its high nibble per byte, then that bit as 16.
            let bytes = S::shuffle(high[j % 2], S::add8(spread, S::splat8(j as i8 / 2)));
            *code = S::or(*code, S::min_u8(S::and(bytes, bit), sixteen));
        }
        codes
    }
}

macro_rules! legacy {
    ($($(#[$doc:meta])* $name:ident: $codes:ty, $bytes:literal, |$rows:ident, $tile:ident| $scales:block, $unpack:block)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;
        impl<S: Simd> TileFormat<S> for $name {
            type Codes = $codes;
            const BYTES: usize = $bytes;
            const GROUPS: usize = 1;
            #[inline(always)]
            unsafe fn scales($rows: Rows<'_>, tiles: *mut Tile<S>) {
                // SAFETY: the caller's tile, and `BYTES` bytes of each row (here and below).
                unsafe {
                    let $tile = &mut *tiles;
                    $scales
                }
            }
            #[inline(always)]
            unsafe fn codes($rows: Rows<'_>, _: usize, tiles: *mut Tile<S>) {
                // SAFETY: as above.
                unsafe {
                    let $tile = &mut *tiles;
                    $unpack
                }
            }
        }
    )*};
}

legacy! {
    /// `d: f16, qs: [u8; 16]`, `w = d * (q - 8)`.
    Q4_0: U4Minus8, 18, |rows, tile| {
        tile.d = load_f16::<S>(rows, 0);
    }, {
        tile.codes = nibbles::<S>(transpose16::<S>(rows, 2));
    }
    /// `d: f16, m: f16, qs: [u8; 16]`, `w = d * q + m`.
    Q4_1: U4Min, 20, |rows, tile| {
        (tile.d, tile.m[0]) = split_f16::<S>(load_u32::<S>(rows, 0));
    }, {
        tile.codes = nibbles::<S>(transpose16::<S>(rows, 4));
    }
    /// `d: f16, qh: u32, qs: [u8; 16]`, `w = d * (q - 16)`.
    Q5_0: U5Minus16, 22, |rows, tile| {
        tile.d = load_f16::<S>(rows, 0);
    }, {
        tile.codes = five_bits::<S>(transpose16::<S>(rows, 6), load_u32::<S>(rows, 2));
    }
    /// `d: f16, m: f16, qh: u32, qs: [u8; 16]`, `w = d * q + m`.
    Q5_1: U5Min, 24, |rows, tile| {
        (tile.d, tile.m[0]) = split_f16::<S>(load_u32::<S>(rows, 0));
    }, {
        tile.codes = five_bits::<S>(transpose16::<S>(rows, 8), load_u32::<S>(rows, 4));
    }
    /// `d: f16, qs: [i8; 32]`, `w = d * q`; q may be -128.
    Q8_0: I8, 34, |rows, tile| {
        tile.d = load_f16::<S>(rows, 0);
    }, {
        tile.codes = transpose32::<S>(rows, 2);
        for code in &mut tile.codes {
            *code = signed::<S>(*code);
        }
    }
}
