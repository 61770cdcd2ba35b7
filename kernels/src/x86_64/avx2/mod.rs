//! The `avx2` tier: AVX2, FMA and F16C (Haswell, Zen and later).

pub(super) mod quantize;

use super::simd;
use crate::Tier;
use crate::table::Table;

pub(crate) const fn table() -> Table {
    Table {
        tier: Tier::Avx2,
        matmul: super::kernels::<simd::Avx2>,
        quantize: quantize::quantize,
        float: crate::float::table::avx2(),
    }
}
