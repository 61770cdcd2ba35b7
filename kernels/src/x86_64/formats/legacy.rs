//! The legacy formats of 32 weights per block.

use super::super::simd::Simd;
use super::super::tile::{
    I8, Rows, Tile, TileFormat, U4Min, U4Minus8, U5Min, U5Minus16, head_f16, head_f16s, head_u64, nibbles,
    signed, transpose16,
};

/// 16 bytes of nibbles with the fifth bits of 32 weights: of each half of them a dword, and which of its nibbles is the first of four.
#[inline(always)]
unsafe fn five_bits<S: Simd>(qs: [S::I; 4], qh: [(S::I, usize); 2]) -> [S::I; 8] {
    // SAFETY: the caller has the tier's features.
    unsafe {
        let mut codes = nibbles::<S>(qs);
        for (j, code) in codes.iter_mut().enumerate() {
            let (bits, first) = qh[j / 4];
            *code = S::or(*code, S::fifth_bits(bits, first + j % 4));
        }
        codes
    }
}

macro_rules! legacy {
    ($($(#[$doc:meta])* $name:ident: $codes:ty, $bytes:literal, $head:literal, $near:literal, |$rows:ident, $tile:ident| $scales:block, $unpack:block)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;
        impl<S: Simd> TileFormat<S> for $name {
            type Codes = $codes;
            const BYTES: usize = $bytes;
            const GROUPS: usize = 1;
            const HEAD: usize = $head;
            const NEAR: bool = $near;
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
    Q4_0: U4Minus8, 18, 2, false, |rows, tile| {
        tile.d = head_f16::<S>(rows);
    }, {
        tile.codes = nibbles::<S>(transpose16::<S>(rows, 2));
    }
    /// `d: f16, m: f16, qs: [u8; 16]`, `w = d * q + m`.
    Q4_1: U4Min, 20, 4, false, |rows, tile| {
        (tile.d, tile.m[0]) = head_f16s::<S>(rows);
    }, {
        tile.codes = nibbles::<S>(transpose16::<S>(rows, 4));
    }
    /// `d: f16, qh: u32, qs: [u8; 16]`, `w = d * (q - 16)`.
    Q5_0: U5Minus16, 22, 8, false, |rows, tile| {
        tile.d = S::split_f16(head_u64::<S>(rows).0).0;
    }, {
        let (low, high) = head_u64::<S>(rows);
        tile.codes = five_bits::<S>(transpose16::<S>(rows, 6), [(low, 4), (high, 0)]);
    }
    /// `d: f16, m: f16, qh: u32, qs: [u8; 16]`, `w = d * q + m`.
    Q5_1: U5Min, 24, 8, false, |rows, tile| {
        (tile.d, tile.m[0]) = S::split_f16(head_u64::<S>(rows).0);
    }, {
        let qh = head_u64::<S>(rows).1;
        tile.codes = five_bits::<S>(transpose16::<S>(rows, 8), [(qh, 0), (qh, 4)]);
    }
    /// `d: f16, qs: [i8; 32]`, `w = d * q`; q may be -128.
    Q8_0: I8, 34, 2, true, |rows, tile| {
        tile.d = head_f16::<S>(rows);
    }, {
        // Not 32 bytes at a time: faster in L2, and slower from memory (bench/log/x86.md).
        let [a, b, c, d] = transpose16::<S>(rows, 2);
        let [e, f, g, h] = transpose16::<S>(rows, 18);
        tile.codes = [a, b, c, d, e, f, g, h];
        for code in &mut tile.codes {
            *code = signed::<S>(*code);
        }
    }
}
