//! The `i8mm` tier: NEON, dot products and the 8-bit matrix multiplication of ARMv8.6 (Graviton 3 and later, Neoverse V1 and
//! N2, Cortex-X2).
//!
//! Tiles, formats and drivers are those of [`super::neon`]; GEMV is that of [`super::dotprod`], and GEMM multiplies pairs of
//! rows by pairs of columns.

mod dot;
mod instructions;

use super::neon;
use crate::Tier;
use crate::table::Table;

pub(crate) const fn table() -> Table {
    Table {
        tier: Tier::I8mm,
        matmul: neon::matmul::<dot::I8mm>,
        quantize: neon::quantize::quantize,
        float: crate::float::table::neon(),
    }
}
