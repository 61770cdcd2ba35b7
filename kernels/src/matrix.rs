//! Views: weights as GGUF blocks in place, activations quantized once, results with a column stride.

use crate::error::{Message, message};
use crate::format::GROUP;
use crate::{Error, Format};
use std::marker::PhantomData;
use std::ops::Range;

fn shape(what: Message) -> Error {
    Error::Shape { what }
}

/// A weight matrix of `rows x cols` in GGUF blocks, borrowed where it lies. Row-major: one row is one output.
///
/// Blocks need no alignment. Nothing is copied, and after the view is made nothing has to be checked again.
///
/// ```
/// use kinglet_kernels::{Format, Matrix};
/// let blocks = [0u8; 2 * 4 * 18]; // two rows of 128 weights: four blocks of 18 bytes each
/// let w = Matrix::new(Format::Q4_0, &blocks, 2, 128)?;
/// assert_eq!((w.row_bytes(), w.stride()), (72, 72));
/// assert!(Matrix::new(Format::Q4_0, &blocks, 2, 100).is_err());
/// // Every second row of another matrix.
/// let w = Matrix::with_stride(Format::Q4_0, &blocks, 1, 128, 144)?;
/// assert_eq!(w.rows(), 1);
/// # Ok::<(), kinglet_kernels::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    format: Format,
    data: &'a [u8],
    rows: usize,
    cols: usize,
    row_bytes: usize,
    stride: usize,
    next: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// A view over `data`, which holds `rows` rows of `cols` weights back to back.
    ///
    /// # Errors
    /// [`Error::Shape`] when `cols` is not a whole number of blocks or more than memory can hold, or `data` has another length.
    pub fn new(format: Format, data: &'a [u8], rows: usize, cols: usize) -> Result<Self, Error> {
        let row_bytes = row_bytes(format, cols)?;
        if row_bytes.checked_mul(rows) != Some(data.len()) {
            let have = data.len();
            return Err(shape(message!("{rows} x {cols} {format} is not {have} bytes")));
        }
        Ok(Matrix { format, data, rows, cols, row_bytes, stride: row_bytes, next: &[] })
    }

    /// As [`Matrix::new`], with rows that begin `stride` bytes apart; what lies between them is never read.
    /// `data` reaches at least to the end of the last row.
    ///
    /// # Errors
    /// [`Error::Shape`] when `cols` is not a whole number of blocks or more than memory can hold, `stride` is less than a row, or `data` ends
    /// before the last row does.
    pub fn with_stride(
        format: Format,
        data: &'a [u8],
        rows: usize,
        cols: usize,
        stride: usize,
    ) -> Result<Self, Error> {
        let row_bytes = row_bytes(format, cols)?;
        let need = extent(rows, row_bytes, stride);
        let Some(data) = need.filter(|_| stride >= row_bytes).and_then(|need| data.get(..need)) else {
            let have = data.len();
            return Err(shape(message!("{rows} x {cols} {format}, {stride} bytes apart, in {have} bytes")));
        };
        Ok(Matrix { format, data, rows, cols, row_bytes, stride, next: &[] })
    }

    /// The weight format.
    pub fn format(&self) -> Format {
        self.format
    }
    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Inputs (K).
    pub fn cols(&self) -> usize {
        self.cols
    }
    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }
    /// Bytes from the beginning of one row to that of the next.
    pub fn stride(&self) -> usize {
        self.stride
    }
    /// The blocks of all rows, and what lies between them.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The same matrix, with a hint: when its last row is multiplied, `next` comes soon. A product then fetches the beginning of
    /// `next` into the cache while it still computes, on x86-64: 32 KiB or so, with many columns as much as a panel has.
    /// Results do not depend on it.
    ///
    /// ```
    /// # use kinglet_kernels::{Format, Matrix};
    /// # let (gate, up) = ([0u8; 4 * 18], [0u8; 4 * 18]);
    /// let up = Matrix::new(Format::Q4_0, &up, 1, 128)?;
    /// let gate = Matrix::new(Format::Q4_0, &gate, 1, 128)?.followed_by(&up);
    /// assert_eq!(gate.rows(), 1);
    /// # Ok::<(), kinglet_kernels::Error>(())
    /// ```
    #[must_use]
    pub fn followed_by(self, next: &Matrix<'a>) -> Matrix<'a> {
        Matrix { next: next.data, ..self }
    }
    /// What [`Matrix::followed_by`] said.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn next(&self) -> &'a [u8] {
        self.next
    }

    /// Row `r`'s blocks, or `None` past the end.
    pub fn row(&self, r: usize) -> Option<&'a [u8]> {
        let start = (r < self.rows).then(|| r * self.stride)?;
        self.data.get(start..start + self.row_bytes)
    }

    /// The rows in `range` as a matrix of their own; out-of-range ends are clamped.
    pub fn slice_rows(&self, range: Range<usize>) -> Matrix<'a> {
        let end = range.end.min(self.rows);
        let start = range.start.min(end);
        let rows = end - start;
        // An empty part may begin past the last row's end, where nothing is.
        let first = (start * self.stride).min(self.data.len());
        let len = extent(rows, self.row_bytes, self.stride).unwrap_or(0);
        let next = if end == self.rows { self.next } else { &[] };
        Matrix { data: &self.data[first..][..len], rows, next, ..*self }
    }
}

/// The most columns. Sizes that follow from them, of which scratch is the largest with less than 256 bytes for each, then do not wrap. Also a matrix
/// without rows can be asked for its scratch.
const MOST_COLS: usize = isize::MAX as usize / 256;

fn row_bytes(format: Format, cols: usize) -> Result<usize, Error> {
    if cols > MOST_COLS {
        return Err(shape(message!("a row of {cols} weights is larger than memory can be")));
    }
    let whole = || shape(message!("a row of {cols} weights is not a whole number of {format} blocks"));
    format.row_bytes(cols).ok_or_else(whole)
}

/// From the first element of the first of `n` rows to the last of the last; `None` when that overflows.
fn extent(n: usize, len: usize, stride: usize) -> Option<usize> {
    match n.checked_sub(1) {
        Some(before) => before.checked_mul(stride)?.checked_add(len),
        None => Some(0),
    }
}

/// The weights of several experts, all of one shape, back to back as in the three-dimensional tensors of GGUF
/// (`[experts][rows][cols]`): what [`crate::Kernels::matmul_id`] selects from.
#[derive(Debug, Clone, Copy)]
pub struct Experts<'a> {
    all: Matrix<'a>,
    n: usize,
    /// Rows of each expert, and which of them are meant.
    each: usize,
    start: usize,
    rows: usize,
}

impl<'a> Experts<'a> {
    /// `n` experts in `all`, which has `n` times as many rows as one of them.
    ///
    /// # Errors
    /// [`Error::Shape`] when the rows cannot be divided so.
    pub fn new(all: Matrix<'a>, n: usize) -> Result<Self, Error> {
        match all.rows().checked_div(n) {
            Some(each) if each * n == all.rows() => Ok(Experts { all, n, each, start: 0, rows: each }),
            _ => Err(shape(message!("{} rows of {n} experts", all.rows()))),
        }
    }

    /// Experts.
    pub fn n(&self) -> usize {
        self.n
    }
    /// Outputs of each.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Inputs (K).
    pub fn cols(&self) -> usize {
        self.all.cols()
    }
    /// The weight format.
    pub fn format(&self) -> Format {
        self.all.format()
    }

    /// Rows `range` of every expert; out-of-range ends are clamped.
    pub fn slice_rows(&self, range: Range<usize>) -> Experts<'a> {
        let end = range.end.min(self.rows);
        let start = range.start.min(end);
        Experts { start: self.start + start, rows: end - start, ..*self }
    }

    /// Expert `id`, or `None` past the last.
    pub fn expert(&self, id: usize) -> Option<Matrix<'a>> {
        let first = (id < self.n).then(|| id * self.each + self.start)?;
        Some(self.all.slice_rows(first..first + self.rows))
    }
}

/// `n` activation rows of `k` values, quantized per 32 (`reference/CONTRACT.md`, section 1).
#[derive(Debug, Clone, Copy)]
pub struct QuantizedRows<'a> {
    pub(crate) q: &'a [i8],
    pub(crate) d: &'a [f32],
    pub(crate) sums: &'a [i16],
    n: usize,
    k: usize,
}

impl<'a> QuantizedRows<'a> {
    /// A view over `q: [n][k]`, `d: [n][k / 32]`, `sums: [n][k / 16]`; `k` is a multiple of 32.
    ///
    /// They are what [`Kernels::quantize`](crate::Kernels::quantize) writes, or like it: codes are within -127 and 127, and sums are those of
    /// the codes; scales may be any. That is not checked. Of other codes or sums, products are numbers that mean nothing and differ between tiers.
    ///
    /// # Errors
    /// [`Error::Shape`] when a length does not fit.
    pub fn new(q: &'a [i8], d: &'a [f32], sums: &'a [i16], n: usize, k: usize) -> Result<Self, Error> {
        let len = n.checked_mul(k);
        if !k.is_multiple_of(GROUP)
            || len != Some(q.len())
            || d.len() * 32 != q.len()
            || sums.len() * 16 != q.len()
        {
            let (q, d, sums) = (q.len(), d.len(), sums.len());
            return Err(shape(message!("{n} x {k} quantized activations with q {q}, d {d}, sums {sums}")));
        }
        Ok(QuantizedRows { q, d, sums, n, k })
    }

    /// Number of rows (columns of the product).
    pub fn n(&self) -> usize {
        self.n
    }
    /// Values per row.
    pub fn k(&self) -> usize {
        self.k
    }
    /// Rows `range`; out-of-range ends are clamped.
    pub fn slice(&self, range: Range<usize>) -> QuantizedRows<'a> {
        let end = range.end.min(self.n);
        let start = range.start.min(end);
        let cut = |per: usize| start * (self.k / per)..end * (self.k / per);
        QuantizedRows {
            q: &self.q[cut(1)],
            d: &self.d[cut(32)],
            sums: &self.sums[cut(16)],
            n: end - start,
            k: self.k,
        }
    }
}

/// A result of `n` columns of `rows` values, the columns `stride` values apart.
///
/// It can be split by rows, so that threads write disjoint parts of one buffer.
#[derive(Debug)]
pub struct MatMut<'a> {
    ptr: *mut f32,
    rows: usize,
    n: usize,
    stride: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `MatMut` is the only way to its elements for `'a`, like the `&mut [f32]` it was made of.
unsafe impl Send for MatMut<'_> {}

impl<'a> MatMut<'a> {
    /// `n` columns of `rows` values each, back to back.
    ///
    /// # Errors
    /// [`Error::Shape`] when `data` has another length than `n * rows`.
    pub fn new(data: &'a mut [f32], rows: usize, n: usize) -> Result<Self, Error> {
        if n.checked_mul(rows) != Some(data.len()) {
            return Err(shape(message!("a result of {n} x {rows} in {} values", data.len())));
        }
        Ok(MatMut { ptr: data.as_mut_ptr(), rows, n, stride: rows, life: PhantomData })
    }

    /// As [`MatMut::new`], with columns that begin `stride` values apart; what lies between them is left as it is.
    ///
    /// # Errors
    /// [`Error::Shape`] when `stride` is less than `rows`, or `data` ends before the last column does.
    pub fn with_stride(data: &'a mut [f32], rows: usize, n: usize, stride: usize) -> Result<Self, Error> {
        if stride < rows || extent(n, rows, stride).is_none_or(|need| need > data.len()) {
            let have = data.len();
            return Err(shape(message!("a result of {n} x {rows}, {stride} values apart, in {have} values")));
        }
        Ok(MatMut { ptr: data.as_mut_ptr(), rows, n, stride, life: PhantomData })
    }

    /// As [`MatMut::with_stride`] for memory of which this thread owns only the columns, so that threads can write disjoint rows
    /// of one buffer that they know by its address alone.
    ///
    /// # Errors
    /// [`Error::Shape`] when `stride` is less than `rows` or the whole is larger than memory can be.
    ///
    /// # Safety
    /// For each of the `n` columns, `rows` values from `ptr + column * stride` on are valid to write for `'a` and nobody else
    /// reads or writes them meanwhile. `ptr` is aligned for f32, also when there is nothing to write.
    pub unsafe fn from_raw_parts(ptr: *mut f32, rows: usize, n: usize, stride: usize) -> Result<Self, Error> {
        let most = isize::MAX as usize / size_of::<f32>();
        if stride < rows || extent(n, rows, stride).is_none_or(|need| need > most) {
            return Err(shape(message!("a result of {n} x {rows}, {stride} values apart")));
        }
        Ok(MatMut { ptr, rows, n, stride, life: PhantomData })
    }

    /// Values per column.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Values from one column to the next.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Splits before row `r` (clamped) into two results over disjoint elements.
    pub fn split_rows(self, r: usize) -> (MatMut<'a>, MatMut<'a>) {
        let r = r.min(self.rows);
        let MatMut { ptr, rows, n, stride, life } = self;
        let low = MatMut { ptr, rows: r, n, stride, life };
        // Not used where there is no column, and there may be nothing at the pointer then.
        let high = MatMut { ptr: ptr.wrapping_add(r), rows: rows - r, n, stride, life };
        (low, high)
    }

    /// Columns `range`; out-of-range ends are clamped.
    pub fn slice_columns(&mut self, range: Range<usize>) -> MatMut<'_> {
        let end = range.end.min(self.n);
        let start = range.start.min(end);
        // Past the last column the pointer is not used.
        let ptr = self.ptr.wrapping_add(start * self.stride);
        MatMut { ptr, rows: self.rows, n: end - start, stride: self.stride, life: PhantomData }
    }

    /// The columns, one after the other.
    pub fn columns(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let (ptr, rows, stride) = (self.ptr, self.rows, self.stride);
        // SAFETY: column `c` is `rows` values from here, they are ours (see `Send`), and columns do not overlap because
        // `stride >= rows`.
        (0..self.n).map(move |c| unsafe { std::slice::from_raw_parts_mut(ptr.add(c * stride), rows) })
    }

    /// Writes `value` at row `r` of column `c`.
    #[inline]
    pub(crate) fn set(&mut self, r: usize, c: usize, value: f32) {
        debug_assert!(r < self.rows && c < self.n);
        // SAFETY: every caller in this crate loops within `rows` and `n`; the element is ours (see `Send`).
        unsafe { *self.ptr.add(c * self.stride + r) = value }
    }

    /// The first element of column `c`, starting at row `r`.
    #[inline]
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
    pub(crate) fn at(&mut self, r: usize, c: usize) -> *mut f32 {
        debug_assert!(r <= self.rows && c < self.n);
        // SAFETY: as in `set`.
        unsafe { self.ptr.add(c * self.stride + r) }
    }
}

/// Room for `n` rows of `k` quantized activations, to be filled in by parts: it can be split along K, so that threads write
/// disjoint parts of every row. [`QuantizedRows`] is what it becomes.
#[derive(Debug)]
pub struct QuantizedMut<'a> {
    q: *mut i8,
    d: *mut f32,
    sums: *mut i16,
    n: usize,
    /// Values per row of this part, and from one row to the next.
    k: usize,
    stride: usize,
    life: PhantomData<&'a mut [i8]>,
}

// SAFETY: a `QuantizedMut` is the only way to its elements for `'a`, like the `&mut` slices it was made of.
unsafe impl Send for QuantizedMut<'_> {}

impl<'a> QuantizedMut<'a> {
    /// `n` rows of `k` values: codes, one scale per 32 and two sums per 32.
    ///
    /// # Errors
    /// [`Error::Shape`] when `k` is not a multiple of 32 or a slice has another length than `n * k`, `n * k / 32` or
    /// `n * k / 16`.
    pub fn new(
        q: &'a mut [i8],
        d: &'a mut [f32],
        sums: &'a mut [i16],
        n: usize,
        k: usize,
    ) -> Result<Self, Error> {
        QuantizedRows::new(q, d, sums, n, k)?;
        let (q, d, sums) = (q.as_mut_ptr(), d.as_mut_ptr(), sums.as_mut_ptr());
        Ok(QuantizedMut { q, d, sums, n, k, stride: k, life: PhantomData })
    }

    /// Room for `n` rows of `k` values that begin `stride` values apart, in memory of which this thread owns only those rows, so that threads
    /// can fill disjoint parts of every row of one buffer that they know by its address alone.
    ///
    /// # Errors
    /// [`Error::Shape`] when `k` or `stride` is not a multiple of 32, `stride` is less than `k` or the whole is larger than memory can be.
    ///
    /// # Safety
    /// For each of the `n` rows, `k` codes from `q + row * stride` on, `k / 32` scales from `d + row * stride / 32` on and `k / 16` sums from
    /// `sums + row * stride / 16` on are valid to write for `'a` and nobody else reads or writes them meanwhile. Pointers are aligned, also when
    /// there is nothing to write.
    pub unsafe fn from_raw_parts(
        q: *mut i8,
        d: *mut f32,
        sums: *mut i16,
        n: usize,
        k: usize,
        stride: usize,
    ) -> Result<Self, Error> {
        let most = isize::MAX as usize;
        let whole = k.is_multiple_of(GROUP) && stride.is_multiple_of(GROUP) && stride >= k;
        if !whole || extent(n, k, stride).is_none_or(|need| need > most) {
            return Err(shape(message!("room for {n} x {k} quantized activations, {stride} values apart")));
        }
        Ok(QuantizedMut { q, d, sums, n, k, stride, life: PhantomData })
    }

    /// The number of rows.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Values per row.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Splits every row before value `k` (rounded down to a multiple of 32, clamped) into two rooms of disjoint elements.
    pub fn split(self, k: usize) -> (QuantizedMut<'a>, QuantizedMut<'a>) {
        let at = k.min(self.k) / 32 * 32;
        let QuantizedMut { q, d, sums, n, k, stride, life } = self;
        let low = QuantizedMut { q, d, sums, n, k: at, stride, life };
        // Not used where the second part is empty.
        let (q, d, sums) = (q.wrapping_add(at), d.wrapping_add(at / 32), sums.wrapping_add(at / 16));
        (low, QuantizedMut { q, d, sums, n, k: k - at, stride, life })
    }

    /// Codes, scales and sums of each row in turn.
    pub fn rows(&mut self) -> impl Iterator<Item = (&mut [i8], &mut [f32], &mut [i16])> {
        let (q, d, sums, k, stride) = (self.q, self.d, self.sums, self.k, self.stride);
        // SAFETY: `k` values of row `r` from here on are ours (see `Send`), and rows do not overlap because `k <= stride`; all
        // of them are multiples of 32.
        (0..self.n).map(move |r| unsafe {
            (
                std::slice::from_raw_parts_mut(q.add(r * stride), k),
                std::slice::from_raw_parts_mut(d.add(r * stride / 32), k / 32),
                std::slice::from_raw_parts_mut(sums.add(r * stride / 16), k / 16),
            )
        })
    }
}
