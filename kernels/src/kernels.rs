//! [`Kernels`]: the kernels of one tier, behind safe methods that check shapes.
//!
//! Function pointers are private: a `Kernels` exists only for a tier that [`Tier::check`] has found usable, which is
//! the proof that its `#[target_feature]` functions may be called.

use crate::format::{GROUP, with_block};
use crate::matrix::{MatMut, Matrix, QuantizedRows};
use crate::{Error, Tier, scalar};

/// The fastest kernels of one tier. Small and `Copy`; make one and pass it around.
#[derive(Debug, Clone, Copy)]
pub struct Kernels {
    tier: Tier,
}

impl Kernels {
    /// Kernels of the tier that `KINGLET_TIER` names, or else of the fastest usable one.
    ///
    /// # Errors
    /// As [`Tier::choose`].
    pub fn detect() -> Result<Kernels, Error> {
        Ok(Kernels { tier: Tier::choose()? })
    }

    /// Kernels of `tier`.
    ///
    /// # Errors
    /// [`Error::UnusableTier`] when this machine cannot run it.
    pub fn with_tier(tier: Tier) -> Result<Kernels, Error> {
        tier.check()?;
        Ok(Kernels { tier })
    }

    /// The tier whose kernels these are.
    pub fn tier(&self) -> Tier {
        self.tier
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
        match self.tier {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the tier is usable; lengths have just been checked.
            Tier::Avx2 => unsafe { crate::x86_64::avx2::quantize::quantize(x, q, d, sums) },
            _ => scalar::quantize::quantize(x, q, d, sums),
        }
        Ok(())
    }

    /// Bytes of scratch that [`Kernels::matmul`] needs for `w`, whatever the number of columns.
    pub fn matmul_scratch(&self, w: &Matrix<'_>) -> usize {
        match self.tier {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => crate::x86_64::avx2::matmul::scratch_bytes(w.cols()) + 64,
            _ => 0,
        }
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
        let need = self.matmul_scratch(w);
        if scratch.len() < need {
            let have = scratch.len();
            return Err(Error::Shape { what: format!("{have} bytes of scratch where {need} are needed") });
        }
        match self.tier {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the tier is usable; shapes have just been checked.
            Tier::Avx2 => unsafe { avx2_matmul(w, x, y, scratch) },
            _ => with_block!(w.format(), B => scalar::matmul::matmul::<B>(w, x, y), else => Err(float(w))),
        }
    }
}

fn float(w: &Matrix<'_>) -> Error {
    Error::Shape { what: format!("{} weights where quantized ones are expected", w.format()) }
}

/// # Safety
/// AVX2, FMA and F16C are usable; shapes have been checked.
#[cfg(target_arch = "x86_64")]
unsafe fn avx2_matmul(
    w: &Matrix<'_>,
    x: &QuantizedRows<'_>,
    y: &mut MatMut<'_>,
    scratch: &mut [u8],
) -> Result<(), Error> {
    use crate::Format;
    use crate::x86_64::avx2::{self, matmul::matmul};
    // SAFETY: the caller's.
    unsafe {
        match w.format() {
            Format::Q4_0 => matmul::<avx2::Q4_0>(w, x, y, scratch),
            Format::Q4_1 => matmul::<avx2::Q4_1>(w, x, y, scratch),
            Format::Q5_0 => matmul::<avx2::Q5_0>(w, x, y, scratch),
            Format::Q5_1 => matmul::<avx2::Q5_1>(w, x, y, scratch),
            Format::Q8_0 => matmul::<avx2::Q8_0>(w, x, y, scratch),
            other => {
                return with_block!(other, B => matmul::<avx2::Generic<B>>(w, x, y, scratch), else => Err(float(w)));
            }
        }
    }
    Ok(())
}
