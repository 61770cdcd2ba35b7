//! How each format unpacks into tiles.

#![allow(non_camel_case_types, reason = "the names are the field's own")]

/// Formats of 256 weights per block, 8 tiles: what their codes are, bytes per block, how scales unpack, and how codes do: of the whole block, or
/// of some dwords of so many groups ([`HalfFormat::dwords`](super::tile::HalfFormat::dwords)).
macro_rules! super_blocks {
    ($($(#[$doc:meta])* $name:ident: $codes:ty, $bytes:literal, |$rows:ident, $tiles:ident| $scales:block,
        $kind:ident $unpack:tt)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;
        impl<S: Simd> TileFormat<S> for $name {
            type Codes = $codes;
            const BYTES: usize = $bytes;
            const GROUPS: usize = 8;
            #[inline(always)]
            unsafe fn scales($rows: Rows<'_>, tiles: *mut Tile<S>) {
                // SAFETY: the caller's 8 tiles, and `BYTES` bytes of each row (here and below).
                unsafe {
                    let $tiles = &mut *tiles.cast::<[Tile<S>; 8]>();
                    $scales
                }
            }
            super_blocks!(@$kind $rows $tiles $unpack);
        }
        super_blocks!(@$kind of $name $rows $unpack);
    )*};
    // All groups at once.
    (@whole $rows:ident $tiles:ident $unpack:tt) => {
        #[inline(always)]
        unsafe fn codes($rows: Rows<'_>, _: usize, tiles: *mut Tile<S>) {
            // SAFETY: the caller's 8 tiles.
            unsafe {
                let $tiles = &mut *tiles.cast::<[Tile<S>; 8]>();
                $unpack
            }
        }
    };
    (@whole of $name:ident $rows:ident $unpack:tt) => {};
    // So many groups at once, whole or by halves.
    (@halves $rows:ident $tiles:ident ($width:literal, |$part:ident, $first:ident| $unpack:block)) => {
        const WIDTH: usize = $width;
        const NEAR: bool = true;
        #[inline(always)]
        unsafe fn codes(rows: Rows<'_>, part: usize, tiles: *mut Tile<S>) {
            // SAFETY: the caller's.
            unsafe { Self::whole(rows, part, tiles) }
        }
        #[inline(always)]
        unsafe fn add_part<const N: usize>(
            acc: &mut Acc<S, 1, N>,
            rows: Rows<'_>,
            part: usize,
            tiles: *const Tile<S>,
            x: Columns<N>,
            ahead: &mut Ahead,
        ) {
            // SAFETY: the caller's.
            unsafe { add_halves::<S, Self, N>(acc, rows, part, tiles, x, ahead) }
        }
    };
    (@halves of $name:ident $rows:ident ($width:literal, |$part:ident, $first:ident| $unpack:block)) => {
        impl<S: Simd> HalfFormat<S> for $name {
            #[inline(always)]
            unsafe fn dwords<const J: usize>($rows: Rows<'_>, $part: usize, $first: usize) -> [[S::I; J]; 4] {
                // SAFETY: the caller's.
                unsafe { $unpack }
            }
        }
    };
}

mod codebook;
mod iq1;
mod iq2;
mod iq3;
mod iq4;
mod k;
mod legacy;
mod tq1;

pub(crate) use iq1::{IQ1_M, IQ1_S};
pub(crate) use iq2::{IQ2_S, IQ2_XS, IQ2_XXS};
pub(crate) use iq3::{IQ3_S, IQ3_XXS};
pub(crate) use iq4::{IQ4_NL, IQ4_XS, MXFP4};
pub(crate) use k::{Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, TQ2_0};
pub(crate) use legacy::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
pub(crate) use tq1::TQ1_0;
