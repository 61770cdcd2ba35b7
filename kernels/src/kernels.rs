//! [`Kernels`]: the kernels of one tier, behind safe methods that check shapes.
//!
//! Function pointers are private: a `Kernels` exists only for a tier that [`Tier::check`] has found usable, which is
//! the proof that its `#[target_feature]` functions may be called.

use crate::float::table::FloatTable;
use crate::format::GROUP;
use crate::matrix::{MatMut, Matrix, QuantizedRows};
use crate::table::{Matmul, QuantizeFn, Table};
use crate::{Error, Tier};

/// The fastest kernels of one tier. Small and `Copy`; make one and pass it around.
#[derive(Clone, Copy)]
pub struct Kernels {
    table: &'static Table,
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernels").field("tier", &self.tier()).finish()
    }
}

impl Kernels {
    /// Kernels of the tier that `KINGLET_TIER` names, or else of the fastest usable one.
    ///
    /// # Errors
    /// As [`Tier::choose`].
    pub fn detect() -> Result<Kernels, Error> {
        Kernels::with_tier(Tier::choose()?)
    }

    /// Kernels of `tier`.
    ///
    /// # Errors
    /// [`Error::UnusableTier`] when this machine cannot run it.
    pub fn with_tier(tier: Tier) -> Result<Kernels, Error> {
        tier.check()?;
        let no_table = || Error::UnusableTier { tier, why: "it is for another architecture".to_owned() };
        Ok(Kernels { table: Table::of(tier).ok_or_else(no_table)? })
    }

    /// The tier whose kernels these are.
    pub fn tier(&self) -> Tier {
        self.table.tier
    }

    /// The tier's float kernels.
    pub(crate) fn float(&self) -> &'static FloatTable {
        self.table.float
    }

    /// The tier's contract section 1.
    pub(crate) fn quantize_fn(&self) -> QuantizeFn {
        self.table.quantize
    }

    /// Quantizes `x` (`n` rows, each a multiple of 32 values, back to back) into `q: [x.len()]`,
    /// `d: [x.len() / 32]` and `sums: [x.len() / 16]` (contract section 1).
    ///
    /// # Errors
    /// [`Error::Shape`] when a length does not fit.
    pub fn quantize(&self, x: &[f32], q: &mut [i8], d: &mut [f32], sums: &mut [i16]) -> Result<(), Error> {
        let n = x.len();
        if !n.is_multiple_of(GROUP) || q.len() != n || d.len() * GROUP != n || sums.len() * 16 != n {
            let (q, d, s) = (q.len(), d.len(), sums.len());
            return Err(Error::Shape { what: format!("quantizing {n} values into q {q}, d {d}, sums {s}") });
        }
        // SAFETY: the tier is usable (see `Table`); lengths have just been checked.
        unsafe { (self.table.quantize)(x, q, d, sums) };
        Ok(())
    }

    /// Bytes of scratch that [`Kernels::matmul`] needs for `w`, whatever the number of columns.
    pub fn matmul_scratch(&self, w: &Matrix<'_>) -> usize {
        self.table.matmul(w.format()).map_or(0, |m| (m.scratch)(w.cols()))
    }

    /// `y[c][r] = dot(w[r], x[c])` for quantized weights (contract section 2).
    ///
    /// Shapes: `w` is `[rows][k]`, `x` is `[n][k]`, `y` is `n` columns of `rows`. A row range is multiplied by
    /// passing [`Matrix::slice_rows`] and the matching part of `y`, so any thread pool can divide the work.
    /// No allocation, thread or lock.
    ///
    /// # Errors
    /// [`Error::Shape`] when shapes or the scratch do not fit, or when `w` holds floats.
    pub fn matmul(
        &self,
        w: &Matrix<'_>,
        x: &QuantizedRows<'_>,
        y: &mut MatMut<'_>,
        scratch: &mut [u8],
    ) -> Result<(), Error> {
        if w.cols() != x.k() || y.rows() != w.rows() || y.n() != x.n() {
            let (r, k, n, xk) = (w.rows(), w.cols(), x.n(), x.k());
            let what =
                format!("[{r} x {k}] weights, [{n} x {xk}] activations, [{} x {}] result", y.n(), y.rows());
            return Err(Error::Shape { what });
        }
        let Some(Matmul { run, scratch: need }) = self.table.matmul(w.format()) else {
            let what = format!("{} weights where quantized ones are expected", w.format());
            return Err(Error::Shape { what });
        };
        let need = need(w.cols());
        if scratch.len() < need {
            let have = scratch.len();
            return Err(Error::Shape { what: format!("{have} bytes of scratch where {need} are needed") });
        }
        // SAFETY: the tier is usable (see `Table`); shapes, format and scratch have just been checked.
        unsafe { run(w, x, y, scratch) };
        Ok(())
    }
}
