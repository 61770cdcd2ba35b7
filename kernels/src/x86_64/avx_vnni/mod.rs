//! The `avx_vnni` tier: AVX2, FMA, F16C and AVX-VNNI (Alder Lake, Sapphire Rapids, Zen 5 and later).

use super::{avx2, simd};
use crate::Tier;
use crate::table::Table;

pub(crate) const fn table() -> Table {
    Table {
        tier: Tier::AvxVnni,
        matmul: super::kernels::<simd::AvxVnni>,
        quantize: avx2::quantize::quantize,
        float: crate::float::table::avx2(),
    }
}
