//! The `avx_vnni` tier: AVX2, FMA, F16C and AVX-VNNI (Alder Lake, Sapphire Rapids, Zen 5 and later).
//!
//! Tiles, formats and drivers are those of [`super::avx2`]; only the integer dot product differs.

use super::avx2::{self, dot::AvxVnni};
use crate::Tier;
use crate::table::Table;

pub(crate) static TABLE: Table = Table {
    tier: Tier::AvxVnni,
    matmul: avx2::matmul::<AvxVnni>,
    quantize: avx2::quantize::quantize,
    float: &crate::float::table::AVX2,
};
