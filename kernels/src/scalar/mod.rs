//! The portable tier: runs everywhere, and is the default of every kernel of every other tier.

pub(crate) mod matmul;
pub(crate) mod quantize;

use crate::format::with_block;
use crate::list::tile;
use crate::table::{Matmul, Table};
use crate::{Format, Tier};

pub(crate) const fn table() -> Table {
    Table { tier: Tier::Scalar, matmul, quantize: quantize::quantize, float: crate::float::table::scalar() }
}

fn matmul(format: Format) -> Option<Matmul> {
    with_block!(format, B => Some(Matmul { run: matmul::matmul::<B>, scratch: |_| 0, gemv: tile(1, 1), gemm: tile(1, matmul::NR) }), else => None)
}
