//! The float methods of [`Kernels`]: products, norms, rotary embedding and elementwise functions, behind shape checks.

use super::dequantize;
use super::elementwise::Activation;
use super::rope::Rope;
use crate::{Error, Kernels, MatMut, Matrix};

/// An error unless `fits`.
pub(super) fn check(fits: bool, what: impl FnOnce() -> String) -> Result<(), Error> {
    if fits { Ok(()) } else { Err(Error::Shape { what: what() }) }
}

fn same_len(op: &str, a: usize, b: usize) -> Result<(), Error> {
    check(a == b, || format!("{op} of {a} and {b} values"))
}

fn same_len_if(op: &str, a: usize, b: Option<&[f32]>) -> Result<(), Error> {
    b.map_or(Ok(()), |b| same_len(op, a, b.len()))
}

impl Kernels {
    /// `y[c][r] = dot(w[r], x[c])` for F32, F16 and BF16 weights (contract section 3).
    ///
    /// Shapes: `w` is `[rows][k]`, `x` is `[y.n()][k]`, `y` is `n` columns of `rows`. Rows can be divided among threads
    /// with [`Matrix::slice_rows`] and [`MatMut::split_rows`].
    ///
    /// # Errors
    /// [`Error::Shape`] when shapes do not fit, or when `w` holds quantized weights.
    pub fn matmul_float(&self, w: &Matrix<'_>, x: &[f32], y: &mut MatMut<'_>) -> Result<(), Error> {
        check(w.format().is_float(), || format!("{} weights where floats are expected", w.format()))?;
        check(w.rows() == y.rows() && w.cols().checked_mul(y.n()) == Some(x.len()), || {
            let (r, k, n, len) = (w.rows(), w.cols(), y.n(), x.len());
            format!("[{r} x {k}] weights, {len} activations, [{n} x {}] result", y.rows())
        })?;
        // SAFETY: the tier is usable (here and below; see `Kernels`); shapes and format have been checked.
        unsafe { (self.float().matmul)(w, x.as_ptr(), y) };
        Ok(())
    }

    /// Row `row` of `w`, of any format, as f32 (contract section 4): `out` is `[w.cols()]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the row does not exist or `out` has another length.
    pub fn dequantize_row(&self, w: &Matrix<'_>, row: usize, out: &mut [f32]) -> Result<(), Error> {
        let Some(bytes) = (row < w.rows()).then(|| w.row(row)).flatten() else {
            return Err(Error::Shape { what: format!("row {row} of {}", w.rows()) });
        };
        same_len("dequantizing", w.cols(), out.len())?;
        dequantize::row(w, bytes, out)
    }

    /// RMSNorm of one row, `y = (x / rms(x)) * w` (contract section 5); `x`, `w` and `y` are `[n]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when lengths differ.
    pub fn rms_norm(&self, x: &[f32], w: Option<&[f32]>, eps: f32, y: &mut [f32]) -> Result<(), Error> {
        same_len("rms_norm", x.len(), y.len())?;
        same_len_if("rms_norm", x.len(), w)?;
        // SAFETY: all have `x.len()` values.
        unsafe { (self.float().rms_norm)(x.as_ptr(), w, eps, y.as_mut_ptr(), x.len()) };
        Ok(())
    }

    /// [`Kernels::rms_norm`] in place.
    ///
    /// # Errors
    /// [`Error::Shape`] when lengths differ.
    pub fn rms_norm_in_place(&self, x: &mut [f32], w: Option<&[f32]>, eps: f32) -> Result<(), Error> {
        same_len_if("rms_norm", x.len(), w)?;
        let p = x.as_mut_ptr();
        // SAFETY: all have `x.len()` values; source and destination may be the same.
        unsafe { (self.float().rms_norm)(p, w, eps, p, x.len()) };
        Ok(())
    }

    /// LayerNorm of one row, `y = (x - mean) / std * w + b` (contract section 5); `x`, `w`, `b` and `y` are `[n]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when lengths differ.
    pub fn layer_norm(
        &self,
        x: &[f32],
        w: Option<&[f32]>,
        b: Option<&[f32]>,
        eps: f32,
        y: &mut [f32],
    ) -> Result<(), Error> {
        same_len("layer_norm", x.len(), y.len())?;
        same_len_if("layer_norm", x.len(), w)?;
        same_len_if("layer_norm", x.len(), b)?;
        // SAFETY: all have `x.len()` values.
        unsafe { (self.float().layer_norm)(x.as_ptr(), w, b, eps, y.as_mut_ptr(), x.len()) };
        Ok(())
    }

    /// [`Kernels::layer_norm`] in place.
    ///
    /// # Errors
    /// [`Error::Shape`] when lengths differ.
    pub fn layer_norm_in_place(
        &self,
        x: &mut [f32],
        w: Option<&[f32]>,
        b: Option<&[f32]>,
        eps: f32,
    ) -> Result<(), Error> {
        same_len_if("layer_norm", x.len(), w)?;
        same_len_if("layer_norm", x.len(), b)?;
        let p = x.as_mut_ptr();
        // SAFETY: all have `x.len()` values; source and destination may be the same.
        unsafe { (self.float().layer_norm)(p, w, b, eps, p, x.len()) };
        Ok(())
    }

    /// Rotates one head: the pairs `(x[2i], x[2i + 1])` by the angles whose `cos` and `sin` are given, one per pair
    /// (contract section 6). What lies past the last pair stays as it is.
    ///
    /// # Errors
    /// [`Error::Shape`] when `sin` has another length than `cos`, or `x` fewer than twice as many values.
    pub fn rope_interleaved(&self, x: &mut [f32], cos: &[f32], sin: &[f32]) -> Result<(), Error> {
        let mut rope = check_rope(x, cos, sin)?;
        // SAFETY: lengths have been checked.
        unsafe { (self.float().rope_interleaved)(&mut rope) };
        Ok(())
    }

    /// As [`Kernels::rope_interleaved`] with the pairs `(x[i], x[i + cos.len()])`.
    ///
    /// # Errors
    /// As there.
    pub fn rope_half_split(&self, x: &mut [f32], cos: &[f32], sin: &[f32]) -> Result<(), Error> {
        let mut rope = check_rope(x, cos, sin)?;
        // SAFETY: lengths have been checked.
        unsafe { (self.float().rope_half_split)(&mut rope) };
        Ok(())
    }

    /// `x = a(x)` (contract section 7).
    ///
    /// # Errors
    /// None; the result is for uniformity.
    pub fn activate(&self, a: Activation, x: &mut [f32]) -> Result<(), Error> {
        // SAFETY: `x` has `x.len()` values.
        unsafe { (self.float().activate)(a, x.as_mut_ptr(), x.len()) };
        Ok(())
    }

    /// `gate = a(gate) * up` (contract section 7).
    ///
    /// # Errors
    /// [`Error::Shape`] when lengths differ.
    pub fn activate_mul(&self, a: Activation, gate: &mut [f32], up: &[f32]) -> Result<(), Error> {
        same_len("activate_mul", gate.len(), up.len())?;
        // SAFETY: both have `up.len()` values.
        unsafe { (self.float().activate_mul)(a, gate.as_mut_ptr(), up.as_ptr(), up.len()) };
        Ok(())
    }

    /// `x = e^x` (contract section 7).
    ///
    /// # Errors
    /// None; the result is for uniformity.
    pub fn exp(&self, x: &mut [f32]) -> Result<(), Error> {
        // SAFETY: `x` has `x.len()` values.
        unsafe { (self.float().exp)(x.as_mut_ptr(), x.len()) };
        Ok(())
    }

    /// `x = tanh(x)` (contract section 7).
    ///
    /// # Errors
    /// None; the result is for uniformity.
    pub fn tanh(&self, x: &mut [f32]) -> Result<(), Error> {
        // SAFETY: `x` has `x.len()` values.
        unsafe { (self.float().tanh)(x.as_mut_ptr(), x.len()) };
        Ok(())
    }

    /// `x = erf(x)` (contract section 7).
    ///
    /// # Errors
    /// None; the result is for uniformity.
    pub fn erf(&self, x: &mut [f32]) -> Result<(), Error> {
        // SAFETY: `x` has `x.len()` values.
        unsafe { (self.float().erf)(x.as_mut_ptr(), x.len()) };
        Ok(())
    }

    /// `x += y`
    ///
    /// # Errors
    /// [`Error::Shape`] when lengths differ.
    pub fn add(&self, x: &mut [f32], y: &[f32]) -> Result<(), Error> {
        same_len("add", x.len(), y.len())?;
        // SAFETY: both have `y.len()` values.
        unsafe { (self.float().add)(x.as_mut_ptr(), y.as_ptr(), y.len()) };
        Ok(())
    }

    /// `x += (y * s)`, rounded twice
    ///
    /// # Errors
    /// [`Error::Shape`] when lengths differ.
    pub fn add_scaled(&self, x: &mut [f32], y: &[f32], s: f32) -> Result<(), Error> {
        same_len("add_scaled", x.len(), y.len())?;
        // SAFETY: both have `y.len()` values.
        unsafe { (self.float().add_scaled)(x.as_mut_ptr(), y.as_ptr(), s, y.len()) };
        Ok(())
    }

    /// `x *= s`
    ///
    /// # Errors
    /// None; the result is for uniformity.
    pub fn scale(&self, x: &mut [f32], s: f32) -> Result<(), Error> {
        // SAFETY: `x` has `x.len()` values.
        unsafe { (self.float().scale)(x.as_mut_ptr(), s, x.len()) };
        Ok(())
    }

    /// `x = cap * tanh(x / cap)` (contract section 7).
    ///
    /// # Errors
    /// None; the result is for uniformity.
    pub fn softcap(&self, x: &mut [f32], cap: f32) -> Result<(), Error> {
        // SAFETY: `x` has `x.len()` values.
        unsafe { (self.float().softcap)(x.as_mut_ptr(), cap, x.len()) };
        Ok(())
    }

    /// `x = exp(x - max) * (1 / sum of them)` (contract section 7). Nothing happens to an empty `x`.
    ///
    /// # Errors
    /// None; the result is for uniformity.
    pub fn softmax(&self, x: &mut [f32]) -> Result<(), Error> {
        // SAFETY: `x` has `x.len()` values.
        unsafe { (self.float().softmax)(x.as_mut_ptr(), x.len()) };
        Ok(())
    }
}

fn check_rope<'a>(x: &'a mut [f32], cos: &'a [f32], sin: &'a [f32]) -> Result<Rope<'a>, Error> {
    check(cos.len() == sin.len() && cos.len() <= x.len() / 2, || {
        format!("rotating {} values by {} cosines and {} sines", x.len(), cos.len(), sin.len())
    })?;
    Ok(Rope { x, cos, sin })
}
