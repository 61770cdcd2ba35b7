//! The `avx2` tier: AVX2, FMA and F16C (Haswell, Zen and later).
//!
//! Lanes are rows: a [`Tile`] holds 32 weights of 8 rows, one dword (4 weights) per row and vector, so that a dot
//! product needs no horizontal sum. A format is one file that says how its blocks load into a tile; the drivers in
//! [`matmul`] are the same for all of them.

mod formats;
mod generic;
pub(crate) mod matmul;
pub(crate) mod quantize;
mod tile;

pub(crate) use formats::*;
pub(crate) use generic::Generic;
