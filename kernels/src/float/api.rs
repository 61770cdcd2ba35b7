//! The float methods of [`Kernels`]: products, norms, rotary embedding and elementwise functions, behind shape checks.

use super::dequantize;
use super::elementwise::Activation;
use super::rope::Rope;
use crate::error::{Message, message};
use crate::{Error, Kernels, MatMut, Matrix, host};

/// An error unless `fits`.
pub(super) fn check(fits: bool, what: impl FnOnce() -> Message) -> Result<(), Error> {
    if fits { Ok(()) } else { Err(Error::Shape { what: what() }) }
}

fn same_len(op: &str, a: usize, b: usize) -> Result<(), Error> {
    check(a == b, || message!("{op} of {a} and {b} values"))
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
    /// ```
    /// use kinglet_kernels::{Format, Kernels, MatMut, Matrix};
    /// let weights: Vec<u8> = [1.0f32, 2.0].iter().flat_map(|w| w.to_le_bytes()).collect();
    /// let w = Matrix::new(Format::F32, &weights, 1, 2)?;
    /// let mut y = [0.0; 1];
    /// Kernels::detect()?.matmul_float(&w, &[3.0, 4.0], &mut MatMut::new(&mut y, 1, 1)?)?;
    /// assert_eq!(y, [11.0]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] when shapes do not fit, or when `w` holds quantized weights.
    pub fn matmul_float(&self, w: &Matrix<'_>, x: &[f32], y: &mut MatMut<'_>) -> Result<(), Error> {
        check(w.format().is_float(), || message!("{} weights where floats are expected", w.format()))?;
        check(w.rows() == y.rows() && w.cols().checked_mul(y.n()) == Some(x.len()), || {
            let (r, k, n, len) = (w.rows(), w.cols(), y.n(), x.len());
            message!("[{r} x {k}] weights, {len} activations, [{n} x {}] result", y.rows())
        })?;
        host::check()?;
        // Rows without a byte can be any number.
        if y.n() == 0 {
            return Ok(());
        }
        // SAFETY: the tier is usable (here and below; see `Kernels`); shapes and format have been checked.
        unsafe { (self.float().matmul)(w, x.as_ptr(), y) };
        Ok(())
    }

    /// Row `row` of `w`, of any format, as f32 (contract section 4): `out` is `[w.cols()]`.
    ///
    /// ```
    /// use kinglet_kernels::{Format, Kernels, Matrix};
    /// let mut block = vec![0x00, 0x38]; // 0.5 as f16
    /// block.extend([6u8; 32]);
    /// let w = Matrix::new(Format::Q8_0, &block, 1, 32)?;
    /// let mut out = [0.0; 32];
    /// Kernels::detect()?.dequantize_row(&w, 0, &mut out)?;
    /// assert_eq!(out, [3.0; 32]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] when the row does not exist or `out` has another length.
    pub fn dequantize_row(&self, w: &Matrix<'_>, row: usize, out: &mut [f32]) -> Result<(), Error> {
        let Some(bytes) = (row < w.rows()).then(|| w.row(row)).flatten() else {
            return Err(Error::Shape { what: message!("row {row} of {}", w.rows()) });
        };
        same_len("dequantizing", w.cols(), out.len())?;
        host::check()?;
        dequantize::row(w, bytes, out)
    }

    /// RMSNorm of one row, `y = (x / rms(x)) * w` (contract section 5); `x`, `w` and `y` are `[n]`.
    ///
    /// ```
    /// let k = kinglet_kernels::Kernels::detect()?;
    /// let mut y = [0.0; 2];
    /// k.rms_norm(&[3.0, -3.0], Some(&[1.0, 2.0]), 0.0, &mut y)?;
    /// assert_eq!(y.map(f32::round), [1.0, -2.0]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// Source: Zhang and Sennrich, "Root mean square layer normalization", 2019.
    ///
    /// # Errors
    /// [`Error::Shape`] when lengths differ.
    pub fn rms_norm(&self, x: &[f32], w: Option<&[f32]>, eps: f32, y: &mut [f32]) -> Result<(), Error> {
        same_len("rms_norm", x.len(), y.len())?;
        same_len_if("rms_norm", x.len(), w)?;
        host::check()?;
        // SAFETY: all have `x.len()` values.
        unsafe { (self.float().rms_norm)(x.as_ptr(), w, eps, y.as_mut_ptr(), x.len()) };
        Ok(())
    }

    /// [`Kernels::rms_norm`] in place.
    ///
    /// ```
    /// let mut x = [3.0, -3.0];
    /// kinglet_kernels::Kernels::detect()?.rms_norm_in_place(&mut x, Some(&[1.0, 2.0]), 0.0)?;
    /// assert_eq!(x.map(f32::round), [1.0, -2.0]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] when lengths differ.
    pub fn rms_norm_in_place(&self, x: &mut [f32], w: Option<&[f32]>, eps: f32) -> Result<(), Error> {
        same_len_if("rms_norm", x.len(), w)?;
        let p = x.as_mut_ptr();
        host::check()?;
        // SAFETY: all have `x.len()` values; source and destination may be the same.
        unsafe { (self.float().rms_norm)(p, w, eps, p, x.len()) };
        Ok(())
    }

    /// LayerNorm of one row, `y = (x - mean) / std * w + b` (contract section 5); `x`, `w`, `b` and `y` are `[n]`.
    ///
    /// ```
    /// let k = kinglet_kernels::Kernels::detect()?;
    /// let mut y = [0.0; 2];
    /// k.layer_norm(&[1.0, 3.0], None, None, 0.0, &mut y)?;
    /// assert_eq!(y, [-1.0, 1.0]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// Source: Ba, Kiros and Hinton, "Layer normalization", 2016.
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
        host::check()?;
        // SAFETY: all have `x.len()` values.
        unsafe { (self.float().layer_norm)(x.as_ptr(), w, b, eps, y.as_mut_ptr(), x.len()) };
        Ok(())
    }

    /// [`Kernels::layer_norm`] in place.
    ///
    /// ```
    /// let mut x = [5.0, 1.0];
    /// kinglet_kernels::Kernels::detect()?.layer_norm_in_place(&mut x, None, Some(&[0.0, 7.0]), 0.0)?;
    /// assert_eq!(x.map(f32::round), [1.0, 6.0]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
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
        host::check()?;
        // SAFETY: all have `x.len()` values; source and destination may be the same.
        unsafe { (self.float().layer_norm)(p, w, b, eps, p, x.len()) };
        Ok(())
    }

    /// Rotates one head: the pairs `(x[2i], x[2i + 1])` by the angles whose `cos` and `sin` are given, one per pair
    /// (contract section 6). What lies past the last pair stays as it is.
    ///
    /// ```
    /// let k = kinglet_kernels::Kernels::detect()?;
    /// // A quarter turn of the first pair; the third value is past the last pair.
    /// let mut x = [1.0, 2.0, 7.0];
    /// k.rope_interleaved(&mut x, &[0.0], &[1.0])?;
    /// assert_eq!(x, [-2.0, 1.0, 7.0]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// Source: Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021.
    ///
    /// # Errors
    /// [`Error::Shape`] when `sin` has another length than `cos`, or `x` fewer than twice as many values.
    pub fn rope_interleaved(&self, x: &mut [f32], cos: &[f32], sin: &[f32]) -> Result<(), Error> {
        let mut rope = check_rope(x, cos, sin)?;
        host::check()?;
        // SAFETY: lengths have been checked.
        unsafe { (self.float().rope_interleaved)(&mut rope) };
        Ok(())
    }

    /// As [`Kernels::rope_interleaved`] with the pairs `(x[i], x[i + cos.len()])`.
    ///
    /// ```
    /// let k = kinglet_kernels::Kernels::detect()?;
    /// let mut x = [1.0, 10.0, 2.0, 20.0]; // pairs (1, 2) and (10, 20)
    /// k.rope_half_split(&mut x, &[0.0, 1.0], &[1.0, 0.0])?;
    /// assert_eq!(x, [-2.0, 10.0, 1.0, 20.0]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// Source: the same, with the pairs of GPT-NeoX and of Hugging Face's Llama.
    ///
    /// # Errors
    /// As there.
    pub fn rope_half_split(&self, x: &mut [f32], cos: &[f32], sin: &[f32]) -> Result<(), Error> {
        let mut rope = check_rope(x, cos, sin)?;
        host::check()?;
        // SAFETY: lengths have been checked.
        unsafe { (self.float().rope_half_split)(&mut rope) };
        Ok(())
    }

    /// `x = a(x)` (contract section 7).
    ///
    /// ```
    /// use kinglet_kernels::{Activation, Kernels};
    /// let mut x = [-1.0, 2.0];
    /// Kernels::detect()?.activate(Activation::Relu2, &mut x)?;
    /// assert_eq!(x, [0.0, 4.0]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// Source: GELU: Hendrycks and Gimpel, 2016; SiLU: Elfwing et al., 2017; squared ReLU: So et al., "Primer", 2021.
    ///
    /// # Errors
    /// None but [`Error::FloatEnvironment`].
    pub fn activate(&self, a: Activation, x: &mut [f32]) -> Result<(), Error> {
        host::check()?;
        // SAFETY: `x` has `x.len()` values.
        unsafe { (self.float().activate)(a, x.as_mut_ptr(), x.len()) };
        Ok(())
    }

    /// `gate = a(gate) * up` (contract section 7).
    ///
    /// ```
    /// use kinglet_kernels::{Activation, Kernels};
    /// let mut gate = [-1.0, 2.0];
    /// Kernels::detect()?.activate_mul(Activation::Relu, &mut gate, &[5.0, 5.0])?;
    /// assert_eq!(gate, [0.0, 10.0]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// Source: Shazeer, "GLU variants improve transformer", 2020.
    ///
    /// # Errors
    /// [`Error::Shape`] when lengths differ.
    pub fn activate_mul(&self, a: Activation, gate: &mut [f32], up: &[f32]) -> Result<(), Error> {
        same_len("activate_mul", gate.len(), up.len())?;
        host::check()?;
        // SAFETY: both have `up.len()` values.
        unsafe { (self.float().activate_mul)(a, gate.as_mut_ptr(), up.as_ptr(), up.len()) };
        Ok(())
    }

    /// `x = e^x` (contract section 7).
    ///
    /// ```
    /// let mut x = [0.0, f32::NEG_INFINITY];
    /// kinglet_kernels::Kernels::detect()?.exp(&mut x)?;
    /// assert_eq!(x, [1.0, 0.0]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// None but [`Error::FloatEnvironment`].
    pub fn exp(&self, x: &mut [f32]) -> Result<(), Error> {
        host::check()?;
        // SAFETY: `x` has `x.len()` values.
        unsafe { (self.float().exp)(x.as_mut_ptr(), x.len()) };
        Ok(())
    }

    /// `x = tanh(x)` (contract section 7).
    ///
    /// ```
    /// let mut x = [0.0, 20.0];
    /// kinglet_kernels::Kernels::detect()?.tanh(&mut x)?;
    /// assert_eq!(x, [0.0, 1.0]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// None but [`Error::FloatEnvironment`].
    pub fn tanh(&self, x: &mut [f32]) -> Result<(), Error> {
        host::check()?;
        // SAFETY: `x` has `x.len()` values.
        unsafe { (self.float().tanh)(x.as_mut_ptr(), x.len()) };
        Ok(())
    }

    /// `x = erf(x)` (contract section 7).
    ///
    /// ```
    /// let mut x = [0.0, 5.0];
    /// kinglet_kernels::Kernels::detect()?.erf(&mut x)?;
    /// assert_eq!(x, [0.0, 1.0]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// None but [`Error::FloatEnvironment`].
    pub fn erf(&self, x: &mut [f32]) -> Result<(), Error> {
        host::check()?;
        // SAFETY: `x` has `x.len()` values.
        unsafe { (self.float().erf)(x.as_mut_ptr(), x.len()) };
        Ok(())
    }

    /// `x += y`; `x` and `y` are `[n]`.
    ///
    /// ```
    /// let mut x = [1.0, 2.0];
    /// kinglet_kernels::Kernels::detect()?.add(&mut x, &[0.5, 0.25])?;
    /// assert_eq!(x, [1.5, 2.25]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] when lengths differ.
    pub fn add(&self, x: &mut [f32], y: &[f32]) -> Result<(), Error> {
        same_len("add", x.len(), y.len())?;
        host::check()?;
        // SAFETY: both have `y.len()` values.
        unsafe { (self.float().add)(x.as_mut_ptr(), y.as_ptr(), y.len()) };
        Ok(())
    }

    /// `x += (y * s)`, rounded twice (contract section 7); `x` and `y` are `[n]`.
    ///
    /// ```
    /// let mut x = [1.0, 2.0];
    /// kinglet_kernels::Kernels::detect()?.add_scaled(&mut x, &[1.0, 1.0], 0.5)?;
    /// assert_eq!(x, [1.5, 2.5]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] when lengths differ.
    pub fn add_scaled(&self, x: &mut [f32], y: &[f32], s: f32) -> Result<(), Error> {
        same_len("add_scaled", x.len(), y.len())?;
        host::check()?;
        // SAFETY: both have `y.len()` values.
        unsafe { (self.float().add_scaled)(x.as_mut_ptr(), y.as_ptr(), s, y.len()) };
        Ok(())
    }

    /// `x *= s`.
    ///
    /// ```
    /// let mut x = [1.0, 2.0];
    /// kinglet_kernels::Kernels::detect()?.scale(&mut x, 0.5)?;
    /// assert_eq!(x, [0.5, 1.0]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// None but [`Error::FloatEnvironment`].
    pub fn scale(&self, x: &mut [f32], s: f32) -> Result<(), Error> {
        host::check()?;
        // SAFETY: `x` has `x.len()` values.
        unsafe { (self.float().scale)(x.as_mut_ptr(), s, x.len()) };
        Ok(())
    }

    /// `x = cap * tanh(x / cap)` (contract section 7).
    ///
    /// ```
    /// let mut x = [0.0, 1e9];
    /// kinglet_kernels::Kernels::detect()?.softcap(&mut x, 30.0)?;
    /// assert_eq!(x, [0.0, 30.0]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// Source: Gemma 2's technical report, 2024.
    ///
    /// # Errors
    /// None but [`Error::FloatEnvironment`].
    pub fn softcap(&self, x: &mut [f32], cap: f32) -> Result<(), Error> {
        host::check()?;
        // SAFETY: `x` has `x.len()` values.
        unsafe { (self.float().softcap)(x.as_mut_ptr(), cap, x.len()) };
        Ok(())
    }

    /// `x = exp(x - max) * (1 / sum of them)` (contract section 7). Nothing happens to an empty `x`.
    ///
    /// ```
    /// let mut x = [1.0, 1.0, f32::NEG_INFINITY];
    /// kinglet_kernels::Kernels::detect()?.softmax(&mut x)?;
    /// assert_eq!(x, [0.5, 0.5, 0.0]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// None but [`Error::FloatEnvironment`].
    pub fn softmax(&self, x: &mut [f32]) -> Result<(), Error> {
        host::check()?;
        // SAFETY: `x` has `x.len()` values.
        unsafe { (self.float().softmax)(x.as_mut_ptr(), x.len()) };
        Ok(())
    }
}

fn check_rope<'a>(x: &'a mut [f32], cos: &'a [f32], sin: &'a [f32]) -> Result<Rope<'a>, Error> {
    check(cos.len() == sin.len() && cos.len() <= x.len() / 2, || {
        message!("rotating {} values by {} cosines and {} sines", x.len(), cos.len(), sin.len())
    })?;
    Ok(Rope { x, cos, sin })
}
