//! Tiers of x86-64.
//!
//! Lanes are rows: a [`tile::Tile`] holds 32 weights of 8 or 16 rows, one dword (4 weights) per row and vector, so that a
//! dot product needs no horizontal sum. A format says how its blocks unpack into tiles (by hand in [`formats`], or through
//! its portable decoder in [`generic`]); the arithmetic is in [`dot`], the drivers are in [`matmul`], and what tiers differ
//! in is in [`simd`].

pub(crate) mod avx2;
pub(crate) mod avx512_vnni;
pub(crate) mod avx_vnni;
mod dot;
mod formats;
mod generic;
mod matmul;
mod simd;
mod tile;

use crate::Format;
use crate::format::*;
use crate::table::Matmul;
use generic::{Generic, GenericSub};
use simd::Simd;

/// The kernels of a tier.
fn kernels<S: Simd>(format: Format) -> Option<Matmul> {
    match format {
        Format::Q4_0 => matmul::of::<S, formats::Q4_0>(),
        Format::Q4_1 => matmul::of::<S, formats::Q4_1>(),
        Format::Q5_0 => matmul::of::<S, formats::Q5_0>(),
        Format::Q5_1 => matmul::of::<S, formats::Q5_1>(),
        Format::Q8_0 => matmul::of::<S, formats::Q8_0>(),
        Format::Q2_K => matmul::of::<S, formats::Q2_K>(),
        Format::Q3_K => matmul::of::<S, formats::Q3_K>(),
        Format::Q4_K => matmul::of::<S, formats::Q4_K>(),
        Format::Q5_K => matmul::of::<S, formats::Q5_K>(),
        Format::Q6_K => matmul::of::<S, formats::Q6_K>(),
        Format::IQ4_NL => matmul::of::<S, formats::IQ4_NL>(),
        Format::IQ4_XS => matmul::of::<S, formats::IQ4_XS>(),
        Format::TQ1_0 => matmul::of::<S, Generic<tq1_0::BlockTQ1_0>>(),
        Format::TQ2_0 => matmul::of::<S, formats::TQ2_0>(),
        Format::IQ1_S => matmul::of::<S, Generic<iq1_s::BlockIQ1_S>>(),
        Format::IQ1_M => matmul::of::<S, GenericSub<iq1_m::BlockIQ1_M>>(),
        Format::IQ2_XXS => matmul::of::<S, Generic<iq2_xxs::BlockIQ2_XXS>>(),
        Format::IQ2_XS => matmul::of::<S, GenericSub<iq2_xs::BlockIQ2_XS>>(),
        Format::IQ2_S => matmul::of::<S, GenericSub<iq2_s::BlockIQ2_S>>(),
        Format::IQ3_XXS => matmul::of::<S, Generic<iq3_xxs::BlockIQ3_XXS>>(),
        Format::IQ3_S => matmul::of::<S, Generic<iq3_s::BlockIQ3_S>>(),
        Format::MXFP4 => matmul::of::<S, formats::MXFP4>(),
        Format::F32 | Format::F16 | Format::BF16 => None,
    }
}
