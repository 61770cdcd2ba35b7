//! The `avx512_vnni` tier: AVX-512 F, BW, DQ, VL and VNNI (Cascade Lake, Ice Lake, Zen 4 and later).

use super::{avx2, simd};
use crate::Tier;
use crate::table::Table;

pub(crate) const fn table() -> Table {
    Table {
        tier: Tier::Avx512Vnni,
        matmul: super::kernels::<simd::Avx512Vnni>,
        quantize: avx2::quantize::quantize,
        float: crate::float::table::avx512(),
    }
}
