//! The `dotprod` tier: NEON and the dot products of ARMv8.2 (Raspberry Pi 5, Cortex-A76, Neoverse N1).
//!
//! Tiles, formats and drivers are those of [`super::neon`]; only the integer dot product differs.

pub(super) mod dot;
mod gemm;
mod gemv;
pub(super) mod instructions;

use super::neon;
use crate::Tier;
use crate::table::Table;

pub(crate) const fn table() -> Table {
    Table {
        tier: Tier::DotProd,
        matmul: neon::matmul::<dot::DotProd>,
        quantize: neon::quantize::quantize,
        float: crate::float::table::neon(),
    }
}
