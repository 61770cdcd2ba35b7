//! [`Table`]: what one tier offers. Scalar defaults, each tier overriding what it has.
//!
//! A tier is one function `table` in its folder's `mod.rs` (no static: see `float_table!`). [`crate::Kernels`] holds a reference
//! to the table of a tier that [`crate::Tier::check`] has found usable: that is the proof that its `#[target_feature]` functions may be called.

use crate::float::table::FloatTable;
use crate::list::Tile;
use crate::matrix::{MatMut, Matrix, QuantizedRows};
use crate::{Format, Tier};

/// `y[c][r] = dot(w[r], x[c])`, contract section 2, with scratch that need not be initialized.
///
/// # Safety
/// The tier is usable; shapes are checked (`w.cols() == x.k()`, `y` is `x.n()` columns of `w.rows()`); the scratch
/// has the size that [`Matmul::scratch`] gives for `w.cols()`; `w` has the kernel's format.
pub(crate) type MatmulFn = unsafe fn(&Matrix<'_>, &QuantizedRows<'_>, &mut MatMut<'_>, &mut [u8]);

/// The GEMV and GEMM of one format on one tier.
#[derive(Clone, Copy)]
pub(crate) struct Matmul {
    pub run: MatmulFn,
    /// Bytes of scratch for a matrix with this many columns, whatever the number of activations.
    pub scratch: fn(usize) -> usize,
    /// Their register tiles, for the list of kernels; the GEMV's columns are the most that it takes. `None` where it runs
    /// another tier's.
    pub gemv: Option<Tile>,
    pub gemm: Option<Tile>,
}

/// Contract section 1: `x` into `q`, `d` and `sums`.
///
/// # Safety
/// The tier is usable; `x.len()` is a multiple of 32; `q`, `d`, `sums` have `x.len()`, `x.len() / 32` and
/// `x.len() / 16` elements.
pub(crate) type QuantizeFn = unsafe fn(x: &[f32], q: &mut [i8], d: &mut [f32], sums: &mut [i16]);

/// The kernels of one tier.
pub(crate) struct Table {
    pub tier: Tier,
    /// The tier's kernel for a quantized format, or `None` for the scalar one.
    pub matmul: fn(Format) -> Option<Matmul>,
    /// Contract section 1.
    pub quantize: QuantizeFn,
    /// The float kernels.
    pub float: &'static FloatTable,
}

impl Table {
    /// The table of `tier`, whether or not this machine can run it; `None` when it is for another architecture.
    pub(crate) fn of(tier: Tier) -> Option<&'static Table> {
        match tier {
            Tier::Scalar => Some(const { &crate::scalar::table() }),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => Some(const { &crate::x86_64::avx2::table() }),
            #[cfg(target_arch = "x86_64")]
            Tier::AvxVnni => Some(const { &crate::x86_64::avx_vnni::table() }),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512Vnni => Some(const { &crate::x86_64::avx512_vnni::table() }),
            #[cfg(target_arch = "x86_64")]
            Tier::AmxInt8 => Some(const { &crate::x86_64::amx::table() }),
            #[cfg(target_arch = "aarch64")]
            Tier::Neon => Some(const { &crate::aarch64::neon::table() }),
            #[cfg(target_arch = "aarch64")]
            Tier::DotProd => Some(const { &crate::aarch64::dotprod::table() }),
            #[cfg(target_arch = "aarch64")]
            Tier::I8mm => Some(const { &crate::aarch64::i8mm::table() }),
            _ => None,
        }
    }

    /// The kernel for `format`: the tier's own, or the scalar one; `None` for float formats.
    pub(crate) fn matmul(&self, format: Format) -> Option<Matmul> {
        (self.matmul)(format).or_else(|| (crate::scalar::table().matmul)(format))
    }
}
