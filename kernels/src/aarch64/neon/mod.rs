//! The `neon` tier: ARMv8.0 NEON, without dotprod, fp16 arithmetic or LSE (Raspberry Pi 3 and 4).
//!
//! Lanes of floats are rows; integer products are summed along K within each row and meet in one vector of four row
//! sums at the end of a group, by a tree of pairwise adds. A format is one type that says how its blocks load into a
//! [`tile::Tile`]; the drivers in [`matmul`] are the same for all of them.
//!
//! NEON is part of the aarch64 baseline, so functions here need no `#[target_feature]`.

pub(super) mod columns;
pub(super) mod dot;
mod formats;
pub(super) mod gemm;
mod iq;
mod k_quants;
pub(super) mod load;
mod matmul;
pub(super) mod quantize;
mod ternary;
pub(super) mod tile;

use crate::list;
use crate::table::{Matmul, Table};
use crate::{Format, Tier};
use dot::Dot;
use tile::TileFormat;

pub(crate) const fn table() -> Table {
    Table {
        tier: Tier::Neon,
        matmul: matmul::<dot::Neon>,
        quantize: quantize::quantize,
        float: crate::float::table::neon(),
    }
}

/// The kernels of an aarch64 tier, with its dot product.
pub(super) fn matmul<D: Dot>(format: Format) -> Option<Matmul> {
    const fn of<D: Dot, F: TileFormat>() -> Option<Matmul> {
        let (gemv, gemm) =
            (list::tile(tile::MR, D::GEMM_FROM - 1), list::tile(D::TILES * tile::MR, D::COLUMNS));
        Some(Matmul { run: matmul::matmul::<D, F>, scratch: matmul::scratch_bytes::<D>, gemv, gemm })
    }
    match format {
        Format::Q4_0 => of::<D, formats::Q4_0>(),
        Format::Q4_1 => of::<D, formats::Q4_1>(),
        Format::Q5_0 => of::<D, formats::Q5_0>(),
        Format::Q5_1 => of::<D, formats::Q5_1>(),
        Format::Q8_0 => of::<D, formats::Q8_0>(),
        Format::Q2_K => of::<D, k_quants::Q2_K>(),
        Format::Q3_K => of::<D, k_quants::Q3_K>(),
        Format::Q4_K => of::<D, k_quants::Q4_K>(),
        Format::Q5_K => of::<D, k_quants::Q5_K>(),
        Format::Q6_K => of::<D, k_quants::Q6_K>(),
        Format::IQ4_NL => of::<D, formats::IQ4_NL>(),
        Format::IQ4_XS => of::<D, formats::IQ4_XS>(),
        Format::MXFP4 => of::<D, formats::MXFP4>(),
        Format::TQ1_0 => of::<D, ternary::TQ1_0>(),
        Format::TQ2_0 => of::<D, ternary::TQ2_0>(),
        Format::IQ1_S => of::<D, iq::IQ1_S>(),
        Format::IQ1_M => of::<D, iq::IQ1_M>(),
        Format::IQ2_XXS => of::<D, iq::IQ2_XXS>(),
        Format::IQ2_XS => of::<D, iq::IQ2_XS>(),
        Format::IQ2_S => of::<D, iq::IQ2_S>(),
        Format::IQ3_XXS => of::<D, iq::IQ3_XXS>(),
        Format::IQ3_S => of::<D, iq::IQ3_S>(),
        Format::F32 | Format::F16 | Format::BF16 => None,
    }
}
