//! [`Kernels::linear`]: a whole linear layer in one call, for any format.

use crate::error::message;
use crate::format::GROUP;
use crate::matrix::{MatMut, Matrix, QuantizedRows};
use crate::{Error, Kernels, SCRATCH_ALIGN};

/// The parts of a workspace: scales, sums, codes, scratch.
struct Parts {
    d: usize,
    sums: usize,
    q: usize,
    scratch: usize,
}

impl Parts {
    /// Bytes, each rounded up to [`SCRATCH_ALIGN`]; `None` when they are more than memory can hold.
    fn new(k: &Kernels, w: &Matrix<'_>, n: usize) -> Option<Parts> {
        let values = w.cols().checked_mul(n)?;
        let round = |bytes: usize| bytes.checked_next_multiple_of(SCRATCH_ALIGN);
        Some(Parts {
            d: round((values / GROUP).checked_mul(size_of::<f32>())?)?,
            sums: round((values / 16).checked_mul(size_of::<i16>())?)?,
            q: round(values)?,
            scratch: k.matmul_scratch(w),
        })
    }

    fn total(&self) -> Option<usize> {
        // What aligning the first part may take.
        self.d
            .checked_add(self.sums)?
            .checked_add(self.q)?
            .checked_add(self.scratch)?
            .checked_add(SCRATCH_ALIGN)
    }
}

impl Kernels {
    /// Bytes of workspace that [`Kernels::linear`] needs for `w` and `n` columns; 0 for float weights.
    ///
    /// # Errors
    /// [`Error::Shape`] when it is more than memory can hold.
    pub fn linear_workspace(&self, w: &Matrix<'_>, n: usize) -> Result<usize, Error> {
        if w.format().is_float() {
            return Ok(0);
        }
        let total = Parts::new(self, w, n).and_then(|parts| parts.total());
        total.ok_or_else(|| Error::Shape { what: message!("{n} columns of {} activations", w.cols()) })
    }

    /// `y[c] = w * x[c] + bias`, for weights of any format: quantizes the activations when the weights are quantized, multiplies,
    /// and adds. The bits are those of [`Kernels::quantize`], then [`Kernels::matmul`] or [`Kernels::matmul_float`], then
    /// [`Kernels::add`] on each column.
    ///
    /// Shapes: `w` is `[rows][k]`, `x` is `[y.n()][k]`, `bias` is `[rows]`, `y` is `n` columns of `rows`. The workspace has
    /// [`Kernels::linear_workspace`] bytes. To divide rows among threads, quantize once and call [`Kernels::matmul`] from each: this
    /// method quantizes in every call.
    ///
    /// ```
    /// use kinglet_kernels::{Format, Kernels, MatMut, Matrix};
    /// let k = Kernels::detect()?;
    /// let weights: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|w| w.to_le_bytes()).collect();
    /// let w = Matrix::new(Format::F32, &weights, 2, 2)?;
    /// let mut y = [0.0; 2];
    /// k.linear(&w, &[10.0, 1.0], Some(&[0.5, 0.25]), &mut MatMut::new(&mut y, 2, 1)?, &mut [])?;
    /// assert_eq!(y, [12.5, 34.25]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] when shapes or the workspace do not fit. Nothing has been written to `y` then.
    pub fn linear(
        &self,
        w: &Matrix<'_>,
        x: &[f32],
        bias: Option<&[f32]>,
        y: &mut MatMut<'_>,
        workspace: &mut [u8],
    ) -> Result<(), Error> {
        let shape = |what| Err(Error::Shape { what });
        if bias.is_some_and(|bias| bias.len() != w.rows()) {
            return shape(message!(
                "a bias of {} values for {} rows",
                bias.map_or(0, <[f32]>::len),
                w.rows()
            ));
        }
        if w.format().is_float() {
            self.matmul_float(w, x, y)?;
            return self.add_to_columns(bias, y);
        }
        let (n, k) = (y.n(), w.cols());
        if k.checked_mul(n) != Some(x.len()) || y.rows() != w.rows() {
            let (rows, len) = (w.rows(), x.len());
            return shape(message!("[{rows} x {k}] weights, {len} activations, [{n} x {}] result", y.rows()));
        }
        let (need, have) = (self.linear_workspace(w, n)?, workspace.len());
        if have < need {
            return shape(message!("{have} bytes of workspace where {need} are needed"));
        }
        let Some(parts) = Parts::new(self, w, n) else { return shape(message!("{n} columns")) };
        let skip = workspace.as_ptr().align_offset(SCRATCH_ALIGN).min(workspace.len());
        let (d, rest) = workspace[skip..].split_at_mut(parts.d);
        let (sums, rest) = rest.split_at_mut(parts.sums);
        let (q, scratch) = rest.split_at_mut(parts.q);
        let d = &mut bytemuck::cast_slice_mut(d)[..x.len() / GROUP];
        let sums = &mut bytemuck::cast_slice_mut(sums)[..x.len() / 16];
        let q = &mut bytemuck::cast_slice_mut(q)[..x.len()];
        self.quantize(x, q, d, sums)?;
        self.matmul_bias(w, &QuantizedRows::new(q, d, sums, n, k)?, bias, y, scratch)
    }
}
