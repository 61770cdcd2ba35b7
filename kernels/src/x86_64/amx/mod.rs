//! The `amx_int8` tier: [`super::avx512_vnni`] and the 8-bit matrix multiplication of AMX (Sapphire Rapids and later Xeons).
//!
//! It differs in one thing: products of many columns run on tile registers, see [`kernel`]. Few columns, attention and floats are
//! `avx512_vnni`'s. `tests/amx.rs` proves it on hardware, and in an emulator of its instructions where there is none.

mod gemm;
mod kernel;

use super::{avx2, formats};
use crate::table::{Matmul, Table};
use crate::{Format, Tier};

pub(crate) const fn table() -> Table {
    Table {
        tier: Tier::AmxInt8,
        matmul: kernels,
        quantize: avx2::quantize::quantize,
        float: crate::float::table::avx512(),
    }
}

/// From this many columns on, products with weights of a quantized format run on tile registers.
pub(crate) fn fewest_columns(format: Format) -> usize {
    super::by_format!(format, T => Some(gemm::fewest_columns::<T>())).unwrap_or(0)
}

fn kernels(format: Format) -> Option<Matmul> {
    super::by_format!(format, T => gemm::of::<T>())
}
