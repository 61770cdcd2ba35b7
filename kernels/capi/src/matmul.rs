//! Weights, activations and their products.

use crate::args::{Args, Struct, format, read_struct, reserved, times};
use crate::handle::Handle;
use crate::status::{Fail, Status, call};
use kinglet_kernels::format::EncodeError;
use kinglet_kernels::{Error, Experts, Format, Kernels, MatMut, Matrix as View, QuantizedRows};
use std::ffi::{c_char, c_void};
use std::ops::Range;

/// A weight matrix in GGUF blocks, where it lies: `rows` outputs of `cols` inputs, row after row. Blocks need no alignment.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Matrix {
    /// `sizeof(kinglet_matrix)`
    pub size: usize,
    /// The blocks of the first row.
    pub data: *const c_void,
    /// Bytes there are at `data`.
    pub data_size: usize,
    /// Outputs.
    pub rows: usize,
    /// Inputs (K), a whole number of blocks.
    pub cols: usize,
    /// Bytes from one row to the next; 0 when rows lie back to back.
    pub stride: usize,
    /// ggml's type number, such as 12 for Q4_K.
    pub format: u32,
    /// 0.
    pub reserved: u32,
    /// What is multiplied next, when the last row of this matrix has been; null when that is not known. A hint: a product then fetches the
    /// beginning of its blocks into the cache while it still computes. Results do not depend on it, nothing is read of it but the struct, and its
    /// own `next` is not looked at.
    pub next: *const Matrix,
}

/// Quantized activations: what `kinglet_quantize` writes. Layout `a8x32.1`. Codes are within -127 and 127, and sums are those of the codes, which is not
/// checked: of others, products are numbers that mean nothing and differ between tiers.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Activations {
    /// `sizeof(kinglet_activations)`
    pub size: usize,
    /// `[n][k]` codes.
    pub q: *const i8,
    /// `[n][k / 32]` scales.
    pub d: *const f32,
    /// `[n][k / 16]` sums of codes.
    pub sums: *const i16,
    /// Rows: columns of the product.
    pub n: usize,
    /// Values per row, a multiple of 32.
    pub k: usize,
}

// SAFETY: plain, `size` first, no padding; 0 is null.
unsafe impl Struct for Matrix {
    const NAME: &'static str = "kinglet_matrix";
    const EARLIER: &'static [usize] = &[std::mem::offset_of!(Matrix, next)];
}
// SAFETY: as above.
unsafe impl Struct for Activations {
    const NAME: &'static str = "kinglet_activations";
}

/// # Safety
/// `w` is null or a `kinglet_matrix` whose memory is there for `'a`, and so is what it names as the next.
unsafe fn matrix<'a>(args: &mut Args, w: *const Matrix) -> Result<View<'a>, Fail> {
    // SAFETY: the caller's (here and below).
    let w = unsafe { read_struct(args, w) }?;
    let view = unsafe { weights(args, "weights", &w) }?;
    if w.next.is_null() {
        return Ok(view);
    }
    let next = unsafe { read_struct(args, w.next) }?;
    Ok(view.followed_by(&unsafe { weights(args, "next weights", &next) }?))
}

/// # Safety
/// The memory of `w` is there for `'a`.
unsafe fn weights<'a>(args: &mut Args, name: &'static str, w: &Matrix) -> Result<View<'a>, Fail> {
    let format = format(w.format)?;
    reserved::<Matrix>(w.reserved)?;
    // SAFETY: the caller's.
    let data = unsafe { args.read::<u8>(name, w.data.cast(), w.data_size) }?;
    if w.stride == 0 {
        let size = format.row_bytes(w.cols).and_then(|row| row.checked_mul(w.rows));
        let part = size.and_then(|size| data.get(..size)).unwrap_or(data);
        Ok(View::new(format, part, w.rows, w.cols)?)
    } else {
        Ok(View::with_stride(format, data, w.rows, w.cols, w.stride)?)
    }
}

/// # Safety
/// `x` is null or a `kinglet_activations` whose memory is there for `'a`.
unsafe fn activations<'a>(args: &mut Args, x: *const Activations) -> Result<QuantizedRows<'a>, Fail> {
    // SAFETY: the caller's (here and below).
    let x = unsafe { read_struct(args, x) }?;
    let values = times("activations", x.n, x.k)?;
    let q = unsafe { args.read("q", x.q, values) }?;
    let d = unsafe { args.read("d", x.d, values / 32) }?;
    let sums = unsafe { args.read("sums", x.sums, values / 16) }?;
    Ok(QuantizedRows::new(q, d, sums, x.n, x.k)?)
}

/// The rows that a call is to make, of the `rows` there are.
fn part(begin: usize, end: usize, rows: usize) -> Result<Range<usize>, Fail> {
    if begin > end || end > rows {
        return Err(Fail::new(Status::Shape, format_args!("rows {begin} to {end} of {rows}")));
    }
    Ok(begin..end)
}

/// Rows `rows` of a result of `all` rows and `n` columns.
///
/// # Safety
/// As [`Args::columns`].
unsafe fn result<'a>(
    args: &mut Args,
    y: *mut f32,
    rows: &Range<usize>,
    all: usize,
    n: usize,
    stride: usize,
) -> Result<MatMut<'a>, Fail> {
    if n > 1 && !rows.is_empty() && stride < all {
        return Err(Fail::new(Status::Shape, format_args!("y: columns of {all} values, {stride} apart")));
    }
    // SAFETY: the caller's.
    unsafe { args.columns(y, (rows.start, rows.len()), n, stride) }
}

fn enough(have: usize, need: usize) -> Result<(), Fail> {
    if have < need {
        return Err(Fail::new(
            Status::Workspace,
            format_args!("workspace of {have} bytes where {need} are needed"),
        ));
    }
    Ok(())
}

/// Bytes of a row of `cols` weights of a format, into `bytes`.
///
/// # Safety
/// `bytes` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_row_size(format: u32, cols: usize, bytes: *mut usize) -> Status {
    call(|| {
        // SAFETY: the caller's.
        let out = unsafe { Args::new().write("bytes", bytes, 1) }?;
        let format = crate::args::format(format)?;
        let size = format.row_bytes(cols);
        let odd = || {
            Fail::new(Status::Shape, format_args!("{cols} weights are not a whole number of {format} blocks"))
        };
        out[0] = size.ok_or_else(odd)?;
        Ok(())
    })
}

/// The name of a format, such as `Q4_K`, or null when kinglet does not know the number. Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn kinglet_format_name(format: u32) -> *const c_char {
    macro_rules! names {
        ($($name:ident)*) => {
            match Format::from_ggml(format) {
                $(Some(Format::$name) => concat!(stringify!($name), "\0").as_ptr().cast(),)*
                None => std::ptr::null(),
            }
        };
    }
    names!(F32 F16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ2_XXS IQ2_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ2_S IQ4_XS
        IQ1_M BF16 TQ1_0 TQ2_0 MXFP4)
}

/// Quantizes `n` rows of `k` activations (`k` a multiple of 32) into `q: [n][k]`, `d: [n][k / 32]`, `sums: [n][k / 16]`.
///
/// # Safety
/// `x` can be read and the others written, as many values as said.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_quantize(
    kernels: *const Handle,
    x: *const f32,
    n: usize,
    k: usize,
    q: *mut i8,
    d: *mut f32,
    sums: *mut i16,
) -> Status {
    call(|| {
        let kernels = crate::handle::kernels(kernels)?;
        if !k.is_multiple_of(32) {
            return Err(Fail::new(
                Status::Shape,
                format_args!("rows of {k} activations, not a multiple of 32"),
            ));
        }
        let (values, mut args) = (times("x", n, k)?, Args::new());
        // SAFETY: the caller's (here and below).
        let x = unsafe { args.read("x", x, values) }?;
        let q = unsafe { args.write("q", q, values) }?;
        let d = unsafe { args.write("d", d, values / 32) }?;
        let sums = unsafe { args.write("sums", sums, values / 16) }?;
        Ok(kernels.quantize(x, q, d, sums)?)
    })
}

/// As `kinglet_quantize`, into rows that begin `stride` values apart in `q`, `stride / 32` in `d` and `stride / 16` in `sums`: `k` values of each row
/// of a wider whole. `stride` is a multiple of 32 and at least `k`. To divide rows along K, give each thread its own columns of `x`, back to back, and
/// the same whole from its first column on: nothing between the rows is written. Short rows are quantized many at a time.
///
/// # Safety
/// `x` has `n * k` values; the rows of the others can be written and are nobody else's during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_quantize_rows(
    kernels: *const Handle,
    x: *const f32,
    n: usize,
    k: usize,
    q: *mut i8,
    d: *mut f32,
    sums: *mut i16,
    stride: usize,
) -> Status {
    call(|| {
        let (kernels, mut args) = (crate::handle::kernels(kernels)?, Args::new());
        // SAFETY: the caller's (here and below).
        let x = unsafe { args.read("x", x, times("x", n, k)?) }?;
        let mut out = unsafe { args.quantized((q, d, sums), n, k, stride) }?;
        Ok(kernels.quantize_rows(x, &mut out)?)
    })
}

/// What `f` says of these weights, into `bytes`.
///
/// # Safety
/// `w` is null or a `kinglet_matrix`; `bytes` is null or can be written.
unsafe fn workspace(
    kernels: *const Handle,
    w: *const Matrix,
    bytes: *mut usize,
    f: impl FnOnce(&Kernels, &View<'_>) -> Result<usize, Error>,
) -> Status {
    call(|| {
        let (kernels, mut args) = (crate::handle::kernels(kernels)?, Args::new());
        // SAFETY: the caller's (here and below).
        let out = unsafe { args.write("bytes", bytes, 1) }?;
        let w = unsafe { matrix(&mut args, w) }?;
        out[0] = f(&kernels, &w)?;
        Ok(())
    })
}

/// Bytes of workspace that `kinglet_matmul` and `kinglet_matmul_id` need for weights like these, whatever the number of columns
/// and rows. A workspace may begin anywhere; 64 bytes are its best alignment.
///
/// # Safety
/// `w` is a `kinglet_matrix`; `bytes` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_matmul_workspace(
    kernels: *const Handle,
    w: *const Matrix,
    bytes: *mut usize,
) -> Status {
    // SAFETY: the caller's.
    unsafe { workspace(kernels, w, bytes, |k, w| Ok(k.matmul_scratch(w))) }
}

/// `y[c * y_stride + r] = dot(w[r], x[c]) + bias[r]` for rows `row_begin <= r < row_end` of quantized weights and all `x->n` columns.
///
/// `y_stride` is at least `w->rows`, `bias` (`[w->rows]`) may be null. To divide the work, give each thread its own rows, a workspace of its own, and the same
/// `y`: nothing outside its rows is written.
///
/// # Safety
/// `w` and `x` are such structs and their memory is there; `bias` is null or has `w->rows` values; the rows of `y` and the workspace can be
/// written and are nobody else's during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_matmul(
    kernels: *const Handle,
    w: *const Matrix,
    x: *const Activations,
    bias: *const f32,
    row_begin: usize,
    row_end: usize,
    y: *mut f32,
    y_stride: usize,
    workspace: *mut c_void,
    workspace_size: usize,
) -> Status {
    call(|| {
        let (kernels, mut args) = (crate::handle::kernels(kernels)?, Args::new());
        // SAFETY: the caller's (here and below).
        let w = unsafe { matrix(&mut args, w) }?;
        let x = unsafe { activations(&mut args, x) }?;
        let bias = unsafe { args.optional("bias", bias, w.rows()) }?;
        let rows = part(row_begin, row_end, w.rows())?;
        let scratch = unsafe { args.write::<u8>("workspace", workspace.cast(), workspace_size) }?;
        enough(scratch.len(), kernels.matmul_scratch(&w))?;
        let mut y = unsafe { result(&mut args, y, &rows, w.rows(), x.n(), y_stride) }?;
        Ok(kernels.matmul_bias(&w.slice_rows(rows.clone()), &x, bias.map(|b| &b[rows]), &mut y, scratch)?)
    })
}

/// `y[c * y_stride + r] = dot(w[ids[c]][r], x[c / per_row])`: each column with the weights of its own expert.
///
/// `w` holds `experts` matrices of `w->rows / experts` rows one after the other (`[experts][rows][cols]`). `ids` has `x->n * per_row`
/// entries, and `y` as many columns: `per_row` experts share a row of activations. Rows are those of one expert. Sorting by expert
/// pays when `per_row` is 1.
///
/// # Safety
/// As `kinglet_matmul`; `ids` has `x->n * per_row` entries.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_matmul_id(
    kernels: *const Handle,
    w: *const Matrix,
    experts: usize,
    ids: *const u32,
    per_row: usize,
    x: *const Activations,
    row_begin: usize,
    row_end: usize,
    y: *mut f32,
    y_stride: usize,
    workspace: *mut c_void,
    workspace_size: usize,
) -> Status {
    call(|| {
        let (kernels, mut args) = (crate::handle::kernels(kernels)?, Args::new());
        // SAFETY: the caller's (here and below).
        let w = Experts::new(unsafe { matrix(&mut args, w) }?, experts)?;
        let x = unsafe { activations(&mut args, x) }?;
        let ids = unsafe { args.read("ids", ids, times("ids", x.n(), per_row)?) }?;
        let rows = part(row_begin, row_end, w.rows())?;
        let scratch = unsafe { args.write::<u8>("workspace", workspace.cast(), workspace_size) }?;
        enough(scratch.len(), kernels.matmul_id_scratch(&w))?;
        let mut y = unsafe { result(&mut args, y, &rows, w.rows(), ids.len(), y_stride) }?;
        Ok(kernels.matmul_id(&w.slice_rows(rows), ids, per_row, &x, &mut y, scratch)?)
    })
}

/// As `kinglet_matmul` for F32, F16 and BF16 weights and `n` rows of `w->cols` f32 activations; no workspace.
///
/// # Safety
/// As there; `x` has `n * w->cols` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_matmul_float(
    kernels: *const Handle,
    w: *const Matrix,
    x: *const f32,
    n: usize,
    row_begin: usize,
    row_end: usize,
    y: *mut f32,
    y_stride: usize,
) -> Status {
    call(|| {
        let (kernels, mut args) = (crate::handle::kernels(kernels)?, Args::new());
        // SAFETY: the caller's (here and below).
        let w = unsafe { matrix(&mut args, w) }?;
        let x = unsafe { args.read("x", x, times("x", n, w.cols())?) }?;
        let rows = part(row_begin, row_end, w.rows())?;
        let mut y = unsafe { result(&mut args, y, &rows, w.rows(), n, y_stride) }?;
        Ok(kernels.matmul_float(&w.slice_rows(rows), x, &mut y)?)
    })
}

/// Bytes of workspace that `kinglet_linear` needs for these weights and `n` columns.
///
/// # Safety
/// `w` is a `kinglet_matrix`; `bytes` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_linear_workspace(
    kernels: *const Handle,
    w: *const Matrix,
    n: usize,
    bytes: *mut usize,
) -> Status {
    // SAFETY: the caller's.
    unsafe { workspace(kernels, w, bytes, |k, w| k.linear_workspace(w, n)) }
}

/// A whole linear layer with weights of any format, on this thread: `y[c * y_stride + r] = dot(w[r], x[c]) + bias[r]` for `n` rows of
/// `w->cols` f32 activations. Quantizes them first when the weights are quantized; the bits are those of `kinglet_quantize` and
/// `kinglet_matmul`. `bias` may be null.
///
/// # Safety
/// `w` is such a struct and its memory is there; `x` has `n * w->cols` values, `bias` is null or has `w->rows`; `y` and the workspace can be
/// written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_linear(
    kernels: *const Handle,
    w: *const Matrix,
    x: *const f32,
    n: usize,
    bias: *const f32,
    y: *mut f32,
    y_stride: usize,
    workspace: *mut c_void,
    workspace_size: usize,
) -> Status {
    call(|| {
        let (kernels, mut args) = (crate::handle::kernels(kernels)?, Args::new());
        // SAFETY: the caller's (here and below).
        let w = unsafe { matrix(&mut args, w) }?;
        let x = unsafe { args.read("x", x, times("x", n, w.cols())?) }?;
        let bias = unsafe { args.optional("bias", bias, w.rows()) }?;
        let scratch = unsafe { args.write::<u8>("workspace", workspace.cast(), workspace_size) }?;
        enough(scratch.len(), kernels.linear_workspace(&w, n)?)?;
        let mut y = unsafe { args.columns(y, (0, w.rows()), n, y_stride) }?;
        Ok(kernels.linear(&w, x, bias, &mut y, scratch)?)
    })
}

/// Row `row` of weights of any format, as f32 into `out: [w->cols]`.
///
/// # Safety
/// `w` is such a struct and its memory is there; `out` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_dequantize_row(
    kernels: *const Handle,
    w: *const Matrix,
    row: usize,
    out: *mut f32,
) -> Status {
    call(|| {
        let (kernels, mut args) = (crate::handle::kernels(kernels)?, Args::new());
        // SAFETY: the caller's (here and below).
        let w = unsafe { matrix(&mut args, w) }?;
        let out = unsafe { args.write("out", out, w.cols()) }?;
        Ok(kernels.dequantize_row(&w, row, out)?)
    })
}

/// Encodes `n` finite values as blocks of a format into `out`, of which there are `out_size` bytes: those of `kinglet_row_size`.
/// `KINGLET_STATUS_UNKNOWN_VALUE` when the format can be read but not written, `KINGLET_STATUS_VALUE` when a value is not finite or more than it
/// can hold.
///
/// # Safety
/// `x` can be read and `out` written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_encode_row(
    format: u32,
    x: *const f32,
    n: usize,
    out: *mut c_void,
    out_size: usize,
) -> Status {
    call(|| {
        let (format, mut args) = (crate::args::format(format)?, Args::new());
        // SAFETY: the caller's (here and below).
        let x = unsafe { args.read("x", x, n) }?;
        let out = unsafe { args.write::<u8>("out", out.cast(), out_size) }?;
        kinglet_kernels::format::encode_row(format, x, out).map_err(|e| match e {
            EncodeError::Format(_) => Fail::new(Status::UnknownValue, format_args!("{e}")),
            EncodeError::FloatEnvironment => Fail::new(Status::FloatEnvironment, format_args!("{e}")),
            EncodeError::NotFinite { .. } | EncodeError::TooLarge { .. } => {
                Fail::new(Status::Value, format_args!("x: {e}"))
            }
            _ => Fail::new(Status::Shape, format_args!("{n} values, {out_size} bytes: {e}")),
        })?;
        Ok(())
    })
}
