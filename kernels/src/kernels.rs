//! [`Kernels`]: the kernels of one tier, behind safe methods that check shapes.
//!
//! Function pointers are private: a `Kernels` exists only for a tier that [`Tier::check`] has found usable, which is
//! the proof that its `#[target_feature]` functions may be called.

use crate::error::message;
use crate::float::table::FloatTable;
use crate::format::GROUP;
use crate::matrix::{MatMut, Matrix, QuantizedMut, QuantizedRows};
use crate::prefetch::prefetch_for_writing;
use crate::table::{Matmul, QuantizeFn, Table};
use crate::{Builder, Error, Tier, host};

/// The alignment of scratch and workspaces at which kernels are fastest. Any other is allowed.
pub const SCRATCH_ALIGN: usize = 64;

/// Rows of fewer values are quantized [`GATHERED`] values at once and then copied to where they go. Alone, each of their blocks would wait
/// for a chain of shuffles and divisions, which blocks side by side share, and their stores for lines that are elsewhere.
const SHORT: usize = 128;
const GATHERED: usize = 1024;

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
        tier.acquire()?;
        // SAFETY: the tier is usable.
        unsafe { Kernels::with_tier_unchecked(tier) }
    }

    /// Kernels of `tier` for a caller who knows the CPU better than this crate can: without the standard library nothing tells
    /// what an aarch64 CPU has.
    ///
    /// # Errors
    /// [`Error::UnusableTier`] when the tier is for another architecture.
    ///
    /// # Safety
    /// The CPU has every feature of [`Tier::requires`], and the operating system saves the registers they use.
    pub unsafe fn with_tier_unchecked(tier: Tier) -> Result<Kernels, Error> {
        let table = Table::of(tier).ok_or_else(|| tier.unusable("it is for another architecture"))?;
        Ok(Kernels { table })
    }

    /// Another choice of a tier: with a cap, or without the environment's say.
    pub fn builder() -> Builder {
        Builder::default()
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
    /// `d: [x.len() / 32]` and `sums: [x.len() / 16]` (contract section 1): `x[i]` is about `d[i / 32] * q[i]`, and `sums` are
    /// those of `q` over each 16.
    ///
    /// ```
    /// use kinglet_kernels::Kernels;
    /// let (mut q, mut d, mut sums) = ([0; 32], [0.0; 1], [0; 2]);
    /// Kernels::detect()?.quantize(&[2.0; 32], &mut q, &mut d, &mut sums)?;
    /// assert_eq!((q, d, sums), ([127; 32], [2.0 / 127.0], [16 * 127; 2]));
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] when a length does not fit.
    pub fn quantize(&self, x: &[f32], q: &mut [i8], d: &mut [f32], sums: &mut [i16]) -> Result<(), Error> {
        let n = x.len();
        if !n.is_multiple_of(GROUP) || q.len() != n || d.len() * GROUP != n || sums.len() * 16 != n {
            let (q, d, s) = (q.len(), d.len(), sums.len());
            return Err(Error::Shape { what: message!("quantizing {n} values into q {q}, d {d}, sums {s}") });
        }
        host::check()?;
        // SAFETY: the tier is usable (see `Table`); lengths have just been checked.
        unsafe { (self.table.quantize)(x, q, d, sums) };
        Ok(())
    }

    /// As [`Kernels::quantize`], of `x: [n][k]` into the `n` rows of `k` values of `out`, which need not be back to back.
    ///
    /// ```
    /// use kinglet_kernels::{Kernels, QuantizedMut};
    /// let (mut q, mut d, mut sums) = ([0; 128], [0.0; 4], [0; 8]);
    /// // The first halves of two rows of 64 values.
    /// let (mut halves, _) = QuantizedMut::new(&mut q, &mut d, &mut sums, 2, 64)?.split(32);
    /// Kernels::detect()?.quantize_rows(&[2.0; 64], &mut halves)?;
    /// assert_eq!(d, [2.0 / 127.0, 0.0, 2.0 / 127.0, 0.0]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] when `x` has another length than `n * k`.
    pub fn quantize_rows(&self, x: &[f32], out: &mut QuantizedMut<'_>) -> Result<(), Error> {
        let (n, k) = (out.n(), out.k());
        if x.len() != n * k {
            return Err(Error::Shape {
                what: message!("quantizing {} values into {n} rows of {k}", x.len()),
            });
        }
        if k == 0 {
            return Ok(());
        }
        let mut rows = out.rows();
        if k >= SHORT {
            return x.chunks(k).zip(rows).try_for_each(|(x, (q, d, sums))| self.quantize(x, q, d, sums));
        }
        let (mut q, mut d, mut sums) = ([0; GATHERED], [0.0; GATHERED / 32], [0; GATHERED / 16]);
        let mut to = [const { None }; GATHERED / GROUP];
        for x in x.chunks(GATHERED / k * k) {
            let len = x.len();
            for (to, row) in to.iter_mut().zip(rows.by_ref().take(len / k)) {
                prefetch_for_writing(row.0.as_mut_ptr().cast());
                prefetch_for_writing(row.1.as_mut_ptr().cast());
                prefetch_for_writing(row.2.as_mut_ptr().cast());
                *to = Some(row);
            }
            let (q, d, sums) = (&mut q[..len], &mut d[..len / 32], &mut sums[..len / 16]);
            self.quantize(x, q, d, sums)?;
            let from = q.chunks(k).zip(d.chunks(k / 32)).zip(sums.chunks(k / 16));
            for (((q, d), sums), to) in from.zip(to.iter_mut().flatten()) {
                to.0.copy_from_slice(q);
                to.1.copy_from_slice(d);
                to.2.copy_from_slice(sums);
            }
        }
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
    /// No allocation, thread or lock. One column runs a GEMV, many a GEMM ([`Kernels::kernel_for`] tells which); the bits are the same.
    ///
    /// ```
    /// use kinglet_kernels::{Format, Kernels, MatMut, Matrix, QuantizedRows};
    /// let k = Kernels::detect()?;
    /// // Two rows of 32 Q8_0 weights: scale 0.5 (f16), codes 3.
    /// let mut block = vec![0x00, 0x38];
    /// block.extend([3u8; 32]);
    /// let blocks = [&block[..], &block[..]].concat();
    /// let w = Matrix::new(Format::Q8_0, &blocks, 2, 32)?;
    /// let x = QuantizedRows::new(&[2; 32], &[1.0], &[32; 2], 1, 32)?;
    /// let mut y = [0.0; 2];
    /// let mut scratch = vec![0; k.matmul_scratch(&w)];
    /// // Two threads would each take a part.
    /// let (mut low, mut high) = MatMut::new(&mut y, 2, 1)?.split_rows(1);
    /// k.matmul(&w.slice_rows(0..1), &x, &mut low, &mut scratch)?;
    /// k.matmul(&w.slice_rows(1..2), &x, &mut high, &mut scratch)?;
    /// assert_eq!(y, [96.0; 2]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
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
                message!("[{r} x {k}] weights, [{n} x {xk}] activations, [{} x {}] result", y.n(), y.rows());
            return Err(Error::Shape { what });
        }
        let Some(Matmul { run, scratch: need, .. }) = self.table.matmul(w.format()) else {
            let what = message!("{} weights where quantized ones are expected", w.format());
            return Err(Error::Shape { what });
        };
        let need = need(w.cols());
        if scratch.len() < need {
            let have = scratch.len();
            return Err(Error::Shape { what: message!("{have} bytes of scratch where {need} are needed") });
        }
        host::check()?;
        // Rows without a byte can be any number.
        if y.n() == 0 {
            return Ok(());
        }
        // SAFETY: the tier is usable (see `Table`); shapes, format and scratch have just been checked.
        unsafe { run(w, x, y, scratch) };
        Ok(())
    }

    /// [`Kernels::matmul`], then `y[c] += bias` for every column as [`Kernels::add`] does it; `bias` is `[rows]`.
    ///
    /// ```
    /// use kinglet_kernels::{Format, Kernels, MatMut, Matrix, QuantizedRows};
    /// let k = Kernels::detect()?;
    /// let blocks = [0u8; 2 * 18];
    /// let w = Matrix::new(Format::Q4_0, &blocks, 2, 32)?;
    /// let x = QuantizedRows::new(&[1; 32], &[1.0], &[16; 2], 1, 32)?;
    /// let mut y = [9.0; 2];
    /// let mut scratch = vec![0; k.matmul_scratch(&w)];
    /// k.matmul_bias(&w, &x, Some(&[0.5, 1.5]), &mut MatMut::new(&mut y, 2, 1)?, &mut scratch)?;
    /// assert_eq!(y, [0.5, 1.5]);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] as [`Kernels::matmul`], and when the bias has another length. Nothing has been written then.
    pub fn matmul_bias(
        &self,
        w: &Matrix<'_>,
        x: &QuantizedRows<'_>,
        bias: Option<&[f32]>,
        y: &mut MatMut<'_>,
        scratch: &mut [u8],
    ) -> Result<(), Error> {
        if let Some(bias) = bias.filter(|bias| bias.len() != w.rows()) {
            return Err(Error::Shape {
                what: message!("a bias of {} values for {} rows", bias.len(), w.rows()),
            });
        }
        self.matmul(w, x, y, scratch)?;
        self.add_to_columns(bias, y)
    }

    /// `y[c] += bias`
    pub(crate) fn add_to_columns(&self, bias: Option<&[f32]>, y: &mut MatMut<'_>) -> Result<(), Error> {
        // Columns without a value can be any number.
        let bias = bias.filter(|bias| !bias.is_empty());
        bias.map_or(Ok(()), |bias| y.columns().try_for_each(|column| self.add(column, bias)))
    }
}
