//! The `neon` tier: ARMv8.0 NEON, without dotprod, fp16 arithmetic or LSE (Raspberry Pi 3 and 4).
//!
//! Lanes of floats are rows; integer products are summed along K within each row and meet in one vector of four row
//! sums at the end of a group, by a tree of pairwise adds. A format is one type that says how its blocks load into a
//! [`tile::Tile`]; the drivers in [`matmul`] are the same for all of them.
//!
//! NEON is part of the aarch64 baseline, so functions here need no `#[target_feature]`.

mod formats;
mod generic;
mod k_quants;
mod load;
mod matmul;
mod quantize;
mod tile;

use crate::format::{Block, GROUP, with_block};
use crate::table::{Matmul, Table};
use crate::{Format, Tier};
use tile::TileFormat;

pub(crate) static TABLE: Table =
    Table { tier: Tier::Neon, matmul, quantize: quantize::quantize, float: &crate::float::table::NEON };

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
        Format::Q2_K => of::<k_quants::Q2_K>(),
        Format::Q3_K => of::<k_quants::Q3_K>(),
        Format::Q4_K => of::<k_quants::Q4_K>(),
        Format::Q5_K => of::<k_quants::Q5_K>(),
        Format::Q6_K => of::<k_quants::Q6_K>(),
        Format::IQ4_NL => of::<formats::IQ4_NL>(),
        Format::IQ4_XS => of::<formats::IQ4_XS>(),
        // Formats without hand-written code; every one of 256 weights is without mins.
        other => with_block!(other, B => match (B::LEN, B::SUB_SCALES) {
            (GROUP, _) => of::<generic::Generic32>(),
            (_, false) => of::<generic::Generic>(),
            (_, true) => of::<generic::GenericSub>(),
        }, else => None),
    }
}
