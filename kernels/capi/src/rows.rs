//! Norms, rotary embedding, activations and what else works on rows of f32.

use crate::args::{Args, times};
use crate::handle::Handle;
use crate::status::{Fail, Status, call};
use kinglet_kernels::{Activation, Error, Kernels};

/// The activations of `kinglet_activate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ActivationKind {
    /// `x / (1 + exp(-x))`
    Silu = 0,
    /// GELU by the tanh approximation.
    GeluTanh = 1,
    /// GELU by the error function.
    GeluErf = 2,
    /// `max(0, x)`
    Relu = 3,
    /// `max(0, x)^2`
    Relu2 = 4,
}

/// The pairs of `kinglet_rope`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum RopeKind {
    /// `(x[2i], x[2i + 1])`
    Interleaved = 0,
    /// `(x[i], x[i + pairs])`
    HalfSplit = 1,
}

/// The functions of `kinglet_map`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum MapKind {
    /// `e^x`; the parameter is not used.
    Exp = 0,
    /// The hyperbolic tangent; the parameter is not used.
    Tanh = 1,
    /// The error function; the parameter is not used.
    Erf = 2,
    /// `x * parameter`
    Scale = 3,
    /// `parameter * tanh(x / parameter)`
    Softcap = 4,
}

fn activation(number: u32) -> Result<Activation, Fail> {
    let all = [
        (ActivationKind::Silu, Activation::Silu),
        (ActivationKind::GeluTanh, Activation::GeluTanh),
        (ActivationKind::GeluErf, Activation::GeluErf),
        (ActivationKind::Relu, Activation::Relu),
        (ActivationKind::Relu2, Activation::Relu2),
    ];
    let found = all.into_iter().find(|(kind, _)| *kind as u32 == number);
    Ok(found.ok_or_else(|| Fail::new(Status::UnknownValue, format_args!("activation {number}")))?.1)
}

/// Runs `f` on each row of `x` into `y`, or `in_place` on each row when both are the same memory.
///
/// # Safety
/// `x` has `rows * n` values and `y` has room for as many.
unsafe fn each_row(
    args: &mut Args,
    x: *const f32,
    y: *mut f32,
    (rows, n): (usize, usize),
    f: impl Fn(&[f32], &mut [f32]) -> Result<(), Error>,
    in_place: impl Fn(&mut [f32]) -> Result<(), Error>,
) -> Result<(), Fail> {
    let values = times("x", rows, n)?;
    if std::ptr::eq(x, y) {
        // SAFETY: the caller's (here and below).
        let y = unsafe { args.write("y", y, values) }?;
        return Ok(y.chunks_exact_mut(n.max(1)).try_for_each(in_place)?);
    }
    let x = unsafe { args.read("x", x, values) }?;
    let y = unsafe { args.write("y", y, values) }?;
    let rows = x.chunks_exact(n.max(1)).zip(y.chunks_exact_mut(n.max(1)));
    for (x, y) in rows {
        f(x, y)?;
    }
    Ok(())
}

/// RMSNorm of `rows` rows of `n` values: `y = (x / rms(x)) * w`. `w` (`[n]`) may be null. `y` may be `x`, else they do not overlap.
///
/// # Safety
/// `x` has `rows * n` values, `w` is null or has `n`, `y` has room for `rows * n`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_rms_norm(
    kernels: *const Handle,
    x: *const f32,
    rows: usize,
    n: usize,
    w: *const f32,
    eps: f32,
    y: *mut f32,
) -> Status {
    call(|| {
        let (k, mut args) = (crate::handle::kernels(kernels)?, Args::new());
        // SAFETY: the caller's (here and below).
        let w = unsafe { args.optional("w", w, n) }?;
        let f = |x: &[f32], y: &mut [f32]| k.rms_norm(x, w, eps, y);
        unsafe { each_row(&mut args, x, y, (rows, n), f, |y| k.rms_norm_in_place(y, w, eps)) }
    })
}

/// LayerNorm of `rows` rows of `n` values: `y = (x - mean) / std * w + b`. `w` and `b` (`[n]`) may be null. `y` may be `x`, else they
/// do not overlap.
///
/// # Safety
/// `x` has `rows * n` values, `w` and `b` are null or have `n`, `y` has room for `rows * n`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_layer_norm(
    kernels: *const Handle,
    x: *const f32,
    rows: usize,
    n: usize,
    w: *const f32,
    b: *const f32,
    eps: f32,
    y: *mut f32,
) -> Status {
    call(|| {
        let (k, mut args) = (crate::handle::kernels(kernels)?, Args::new());
        // SAFETY: the caller's (here and below).
        let w = unsafe { args.optional("w", w, n) }?;
        let b = unsafe { args.optional("b", b, n) }?;
        let f = |x: &[f32], y: &mut [f32]| k.layer_norm(x, w, b, eps, y);
        unsafe { each_row(&mut args, x, y, (rows, n), f, |y| k.layer_norm_in_place(y, w, b, eps)) }
    })
}

/// Rotates `heads` heads of `head_dim` values in place, the first `2 * pairs` values of each, by the angles whose `cos` and `sin` are given, one
/// per pair. `kind` is a `kinglet_rope_kind`.
///
/// # Safety
/// `x` has `heads * head_dim` values, `cos` and `sin` have `pairs`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_rope(
    kernels: *const Handle,
    kind: u32,
    x: *mut f32,
    heads: usize,
    head_dim: usize,
    cos: *const f32,
    sin: *const f32,
    pairs: usize,
) -> Status {
    type Rotate = fn(&Kernels, &mut [f32], &[f32], &[f32]) -> Result<(), Error>;
    const INTERLEAVED: u32 = RopeKind::Interleaved as u32;
    const HALF_SPLIT: u32 = RopeKind::HalfSplit as u32;
    call(|| {
        let (k, mut args) = (crate::handle::kernels(kernels)?, Args::new());
        let rotate: Rotate = match kind {
            INTERLEAVED => Kernels::rope_interleaved,
            HALF_SPLIT => Kernels::rope_half_split,
            _ => return Err(Fail::new(Status::UnknownValue, format_args!("rotation {kind}"))),
        };
        if pairs > head_dim / 2 {
            return Err(Fail::new(Status::Shape, format_args!("{pairs} pairs in heads of {head_dim}")));
        }
        // SAFETY: the caller's (here and below).
        let x = unsafe { args.write("x", x, times("x", heads, head_dim)?) }?;
        let cos = unsafe { args.read("cos", cos, pairs) }?;
        let sin = unsafe { args.read("sin", sin, pairs) }?;
        Ok(x.chunks_exact_mut(head_dim.max(1)).try_for_each(|head| rotate(&k, head, cos, sin))?)
    })
}

/// `x = a(x)` for `n` values. `kind` is a `kinglet_activation_kind`.
///
/// # Safety
/// `x` has `n` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_activate(
    kernels: *const Handle,
    kind: u32,
    x: *mut f32,
    n: usize,
) -> Status {
    call(|| {
        let (k, a) = (crate::handle::kernels(kernels)?, activation(kind)?);
        // SAFETY: the caller's.
        let x = unsafe { Args::new().write("x", x, n) }?;
        Ok(k.activate(a, x)?)
    })
}

/// `gate = a(gate) * up` for `n` values. `kind` is a `kinglet_activation_kind`.
///
/// # Safety
/// Both have `n` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_activate_mul(
    kernels: *const Handle,
    kind: u32,
    gate: *mut f32,
    up: *const f32,
    n: usize,
) -> Status {
    call(|| {
        let (k, a, mut args) = (crate::handle::kernels(kernels)?, activation(kind)?, Args::new());
        // SAFETY: the caller's (here and below).
        let gate = unsafe { args.write("gate", gate, n) }?;
        let up = unsafe { args.read("up", up, n) }?;
        Ok(k.activate_mul(a, gate, up)?)
    })
}

/// `x = f(x)` for `n` values. `kind` is a `kinglet_map_kind`, which says what `parameter` is.
///
/// # Safety
/// `x` has `n` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_map(
    kernels: *const Handle,
    kind: u32,
    parameter: f32,
    x: *mut f32,
    n: usize,
) -> Status {
    const EXP: u32 = MapKind::Exp as u32;
    const TANH: u32 = MapKind::Tanh as u32;
    const ERF: u32 = MapKind::Erf as u32;
    const SCALE: u32 = MapKind::Scale as u32;
    const SOFTCAP: u32 = MapKind::Softcap as u32;
    call(|| {
        let k = crate::handle::kernels(kernels)?;
        // SAFETY: the caller's.
        let x = unsafe { Args::new().write("x", x, n) }?;
        match kind {
            EXP => k.exp(x)?,
            TANH => k.tanh(x)?,
            ERF => k.erf(x)?,
            SCALE => k.scale(x, parameter)?,
            SOFTCAP => k.softcap(x, parameter)?,
            _ => return Err(Fail::new(Status::UnknownValue, format_args!("function {kind}"))),
        }
        Ok(())
    })
}

/// `x += y` for `n` values.
///
/// # Safety
/// Both have `n` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_add(kernels: *const Handle, x: *mut f32, y: *const f32, n: usize) -> Status {
    call(|| {
        let (k, mut args) = (crate::handle::kernels(kernels)?, Args::new());
        // SAFETY: the caller's (here and below).
        let x = unsafe { args.write("x", x, n) }?;
        let y = unsafe { args.read("y", y, n) }?;
        Ok(k.add(x, y)?)
    })
}

/// `x += y * s` for `n` values, rounded after each operation.
///
/// # Safety
/// Both have `n` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_add_scaled(
    kernels: *const Handle,
    x: *mut f32,
    y: *const f32,
    s: f32,
    n: usize,
) -> Status {
    call(|| {
        let (k, mut args) = (crate::handle::kernels(kernels)?, Args::new());
        // SAFETY: the caller's (here and below).
        let x = unsafe { args.write("x", x, n) }?;
        let y = unsafe { args.read("y", y, n) }?;
        Ok(k.add_scaled(x, y, s)?)
    })
}

/// Softmax of `rows` rows of `n` values, in place.
///
/// # Safety
/// `x` has `rows * n` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_softmax(
    kernels: *const Handle,
    x: *mut f32,
    rows: usize,
    n: usize,
) -> Status {
    call(|| {
        let k = crate::handle::kernels(kernels)?;
        // SAFETY: the caller's.
        let x = unsafe { Args::new().write("x", x, times("x", rows, n)?) }?;
        Ok(x.chunks_exact_mut(n.max(1)).try_for_each(|row| k.softmax(row))?)
    })
}
