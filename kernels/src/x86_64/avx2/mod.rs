//! The `avx2` tier: AVX2, FMA and F16C (Haswell, Zen and later).
//!
//! Lanes are rows: a [`tile::Tile`] holds 32 weights of 8 rows, one dword (4 weights) per row and vector, so that a dot
//! product needs no horizontal sum. A format says how its blocks unpack into tiles (by hand in [`formats`], or through
//! its portable decoder in [`generic`]); the arithmetic in [`dot`] and the drivers in [`matmul`] are the same for all.

pub(super) mod dot;
mod formats;
mod generic;
mod matmul;
pub(super) mod quantize;
mod tile;

use crate::format::*;
use crate::table::{Matmul, Table};
use crate::{Format, Tier};
use dot::Dot;
use generic::{Generic, GenericSub};
use tile::TileFormat;

pub(crate) static TABLE: Table = Table {
    tier: Tier::Avx2,
    matmul: matmul::<dot::Avx2>,
    quantize: quantize::quantize,
    float: &crate::float::table::AVX2,
};

/// The kernels of a 256-bit tier, with its dot product.
pub(super) fn matmul<D: Dot>(format: Format) -> Option<Matmul> {
    const fn of<D: Dot, F: TileFormat>() -> Option<Matmul> {
        Some(Matmul { run: matmul::matmul::<D, F>, scratch: matmul::scratch_bytes })
    }
    match format {
        Format::Q4_0 => of::<D, formats::Q4_0>(),
        Format::Q4_1 => of::<D, formats::Q4_1>(),
        Format::Q5_0 => of::<D, formats::Q5_0>(),
        Format::Q5_1 => of::<D, formats::Q5_1>(),
        Format::Q8_0 => of::<D, formats::Q8_0>(),
        Format::Q2_K => of::<D, formats::Q2_K>(),
        Format::Q3_K => of::<D, formats::Q3_K>(),
        Format::Q4_K => of::<D, formats::Q4_K>(),
        Format::Q5_K => of::<D, formats::Q5_K>(),
        Format::Q6_K => of::<D, formats::Q6_K>(),
        Format::IQ4_NL => of::<D, formats::IQ4_NL>(),
        Format::IQ4_XS => of::<D, formats::IQ4_XS>(),
        Format::TQ1_0 => of::<D, Generic<tq1_0::BlockTQ1_0>>(),
        Format::TQ2_0 => of::<D, formats::TQ2_0>(),
        Format::IQ1_S => of::<D, Generic<iq1_s::BlockIQ1_S>>(),
        Format::IQ1_M => of::<D, GenericSub<iq1_m::BlockIQ1_M>>(),
        Format::IQ2_XXS => of::<D, Generic<iq2_xxs::BlockIQ2_XXS>>(),
        Format::IQ2_XS => of::<D, GenericSub<iq2_xs::BlockIQ2_XS>>(),
        Format::IQ2_S => of::<D, GenericSub<iq2_s::BlockIQ2_S>>(),
        Format::IQ3_XXS => of::<D, Generic<iq3_xxs::BlockIQ3_XXS>>(),
        Format::IQ3_S => of::<D, Generic<iq3_s::BlockIQ3_S>>(),
        Format::MXFP4 => of::<D, formats::MXFP4>(),
        Format::F32 | Format::F16 | Format::BF16 => None,
    }
}
