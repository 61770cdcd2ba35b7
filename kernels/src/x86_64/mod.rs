//! Tiers of x86-64.
//!
//! Lanes are rows: a [`tile::Tile`] holds 32 weights of 8 or 16 rows, one dword (4 weights) per row and vector, so that a
//! dot product needs no horizontal sum. [`formats`] says how the blocks of each format unpack into tiles; the arithmetic is in
//! [`dot`], the drivers are in [`matmul`], and what tiers differ in is in [`simd`].

pub(crate) mod avx2;
pub(crate) mod avx512_vnni;
pub(crate) mod avx_vnni;
mod dot;
mod formats;
mod matmul;
mod simd;
mod tile;

use crate::Format;
use crate::table::Matmul;
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
        Format::TQ1_0 => matmul::of::<S, formats::TQ1_0>(),
        Format::TQ2_0 => matmul::of::<S, formats::TQ2_0>(),
        Format::IQ1_S => matmul::of::<S, formats::IQ1_S>(),
        Format::IQ1_M => matmul::of::<S, formats::IQ1_M>(),
        Format::IQ2_XXS => matmul::of::<S, formats::IQ2_XXS>(),
        Format::IQ2_XS => matmul::of::<S, formats::IQ2_XS>(),
        Format::IQ2_S => matmul::of::<S, formats::IQ2_S>(),
        Format::IQ3_XXS => matmul::of::<S, formats::IQ3_XXS>(),
        Format::IQ3_S => matmul::of::<S, formats::IQ3_S>(),
        Format::MXFP4 => matmul::of::<S, formats::MXFP4>(),
        Format::F32 | Format::F16 | Format::BF16 => None,
    }
}
