//! Tiers of x86-64.
//!
//! Lanes are rows: a [`tile::Tile`] holds 32 weights of 8 or 16 rows, one dword (4 weights) per row and vector, so that a
//! dot product needs no horizontal sum. [`formats`] says how the blocks of each format unpack into tiles; the arithmetic is in
//! [`dot`] and [`halves`], the drivers are in [`matmul`] and [`pairs`], what they fetch meanwhile in [`ahead`], and what tiers differ in
//! in [`simd`].

mod ahead;
pub(crate) mod amx;
pub(crate) mod avx2;
pub(crate) mod avx512_vnni;
pub(crate) mod avx_vnni;
mod dot;
mod formats;
mod halves;
mod matmul;
mod pairs;
mod simd;
mod sums;
mod tile;

use crate::Format;
use crate::table::Matmul;
use simd::Simd;

/// `$of`, with `$t` for how the blocks of `$format` unpack; `None` for float formats.
macro_rules! by_format {
    ($format:expr, $t:ident => $of:expr) => {
        $crate::x86_64::by_format!($format, $t => $of;
            Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS TQ1_0 TQ2_0 IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S
            IQ3_XXS IQ3_S MXFP4)
    };
    ($format:expr, $t:ident => $of:expr; $($name:ident)*) => {
        match $format {
            $(Format::$name => {
                type $t = formats::$name;
                $of
            })*
            Format::F32 | Format::F16 | Format::BF16 => None,
        }
    };
}
use by_format;

/// The kernels of a tier.
fn kernels<S: Simd>(format: Format) -> Option<Matmul> {
    by_format!(format, T => matmul::of::<S, T>())
}
