//! [`Kernels::matmul_id`]: products with weights selected per column, for mixtures of experts.

use crate::error::message;
use crate::{Error, Experts, Kernels, MatMut, QuantizedRows};

impl Kernels {
    /// Bytes of scratch that [`Kernels::matmul_id`] needs, whatever the number of columns.
    pub fn matmul_id_scratch(&self, w: &Experts<'_>) -> usize {
        w.expert(0).map_or(0, |w| self.matmul_scratch(&w))
    }

    /// `y[c][r] = dot(w[ids[c]][r], x[c / per_row])`: every column with the weights of its own expert (contract section 2; the
    /// bits are those of [`Kernels::matmul`] on that expert).
    ///
    /// Shapes: `w` is `[experts][rows][k]`, `x` is `[n][k]`, `ids` has `n * per_row` entries and `y` as many columns of `rows`: `per_row`
    /// experts share a row of activations, as gate and up projections do; 1 gives each column its own, as the down projection
    /// has it. Columns of one expert that follow each other are one product when `per_row` is 1, so sorting by expert pays. Rows
    /// are divided among threads with [`Experts::slice_rows`] and [`MatMut::split_rows`]. Scratch as [`Kernels::matmul_id_scratch`] says.
    ///
    /// ```
    /// use kinglet_kernels::{Experts, Format, Kernels, MatMut, Matrix, QuantizedRows};
    /// let k = Kernels::detect()?;
    /// // Two experts of one row of 32 Q8_0 weights: scale 1.0 (f16), all ones and all twos.
    /// let mut blocks = vec![0x00, 0x3c];
    /// blocks.extend([1u8; 32]);
    /// blocks.extend([0x00, 0x3c]);
    /// blocks.extend([2u8; 32]);
    /// let w = Experts::new(Matrix::new(Format::Q8_0, &blocks, 2, 32)?, 2)?;
    /// let (mut q, mut d, mut sums) = ([0; 32], [0.0; 1], [0; 2]);
    /// k.quantize(&[1.0; 32], &mut q, &mut d, &mut sums)?;
    /// let x = QuantizedRows::new(&q, &d, &sums, 1, 32)?;
    /// let mut y = [0.0; 2];
    /// let mut scratch = vec![0; k.matmul_id_scratch(&w)];
    /// k.matmul_id(&w, &[1, 0], 2, &x, &mut MatMut::new(&mut y, 1, 2)?, &mut scratch)?;
    /// assert_eq!(y, [64.0, 32.0]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] when shapes or the scratch do not fit, an id names no expert, or `w` holds floats. Nothing has been written
    /// then.
    pub fn matmul_id(
        &self,
        w: &Experts<'_>,
        ids: &[u32],
        per_row: usize,
        x: &QuantizedRows<'_>,
        y: &mut MatMut<'_>,
        scratch: &mut [u8],
    ) -> Result<(), Error> {
        let fits = per_row > 0
            && x.n().checked_mul(per_row) == Some(ids.len())
            && (y.n(), y.rows()) == (ids.len(), w.rows());
        if !fits {
            let (n, ids, rows) = (x.n(), ids.len(), w.rows());
            let what = message!(
                "{ids} ids, {n} activation rows for {per_row} each, [{} x {}] result of {rows}",
                y.n(),
                y.rows()
            );
            return Err(Error::Shape { what });
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= w.n()) {
            return Err(Error::Shape { what: message!("expert {id} of {}", w.n()) });
        }
        let mut c = 0;
        while let Some(&id) = ids.get(c) {
            let run = if per_row == 1 { ids[c..].iter().take_while(|i| **i == id).count() } else { 1 };
            let Some(w) = w.expert(id as usize) else { break };
            let x = x.slice(c / per_row..c / per_row + run);
            // A shape that does not fit is refused by the first of them, before anything is written.
            self.matmul(&w, &x, &mut y.slice_columns(c..c + run), scratch)?;
            c += run;
        }
        Ok(())
    }
}
