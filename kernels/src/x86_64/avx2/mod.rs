//! The `avx2` tier: AVX2, FMA and F16C (Haswell, Zen and later).
//!
//! Lanes are rows: a [`Tile`] holds 32 weights of 8 rows, one dword (4 weights) per row and vector, so that a dot
//! product needs no horizontal sum. A format is one file that says how its blocks load into a tile; the drivers in
//! [`matmul`] are the same for all of them.

mod formats;
mod generic;
mod matmul;
mod quantize;
mod tile;

use crate::format::with_block;
use crate::table::{Matmul, Table};
use crate::{Format, Tier};
use tile::TileFormat;

pub(crate) static TABLE: Table =
    Table { tier: Tier::Avx2, matmul, quantize: quantize::quantize, float: &crate::float::table::AVX2 };

fn matmul(format: Format) -> Option<Matmul> {
    const fn of<F: TileFormat>() -> Option<Matmul> {
        Some(Matmul { run: matmul::matmul::<F>, scratch: matmul::scratch_bytes })
    }
    match format {
        Format::Q4_0 => of::<formats::Q4_0>(),
        Format::Q4_1 => of::<formats::Q4_1>(),
        Format::Q5_0 => of::<formats::Q5_0>(),
        Format::Q5_1 => of::<formats::Q5_1>(),
        Format::Q8_0 => of::<formats::Q8_0>(),
        other => with_block!(other, B => of::<generic::Generic<B>>(), else => None),
    }
}
