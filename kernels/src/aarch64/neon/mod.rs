//! The `neon` tier: ARMv8.0 NEON, without dotprod, fp16 arithmetic or LSE (Raspberry Pi 3 and 4).

use crate::table::Table;
use crate::{Tier, scalar};

pub(crate) static TABLE: Table = Table {
    tier: Tier::Neon,
    matmul: |_| None,
    quantize: scalar::TABLE.quantize,
    float: &crate::float::table::NEON,
};
