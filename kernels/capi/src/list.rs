//! Which kernels there are, which one will run, and whether they are right here.

use crate::args::{Args, format};
use crate::handle::Handle;
use crate::status::{Fail, Line, Status, call};
use kinglet_kernels::list::{Kernel, Op, Operand};
use kinglet_kernels::{KvType, verify};
use std::ffi::{CStr, c_char};
use std::fmt::Write;

/// A kernel. Texts end with 0.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct KernelInfo {
    /// Such as `q4_k.gemv.avx2`.
    pub name: [c_char; 48],
    /// The operation, such as `gemv`.
    pub op: [c_char; 24],
    /// The tier whose code it is.
    pub tier: [c_char; 24],
    /// The identity of the layout that it expects or leaves data in, such as `a8x32.1`.
    pub layout: [c_char; 24],
    /// ggml's type number of the weights, or 0xffffffff when it reads none.
    pub format: u32,
    /// The `kinglet_cache_kind`, or 0xffffffff when it reads no cache.
    pub cache: u32,
    /// Rows and columns of its register tile; 0 when it has none.
    pub tile_rows: u32,
    /// See `tile_rows`.
    pub tile_columns: u32,
}

/// No format, no cache.
const NONE: u32 = u32::MAX;

fn text<const N: usize>(text: impl std::fmt::Display) -> [c_char; N] {
    let mut bytes = [0u8; N];
    let _ = write!(Line { to: &mut bytes, len: 0 }, "{text}");
    bytes.map(|b| b as c_char)
}

impl From<Kernel> for KernelInfo {
    fn from(k: Kernel) -> KernelInfo {
        let (format, cache) = match k.operand {
            Operand::Weights(format) => (format as u32, NONE),
            Operand::Cache(KvType::F32) => (NONE, 0),
            Operand::Cache(KvType::F16) => (NONE, 1),
            Operand::Cache(KvType::Q8_0) => (NONE, 2),
            Operand::Floats => (NONE, NONE),
        };
        let tile = k.tile.map_or((0, 0), |t| (t.rows as u32, t.columns as u32));
        KernelInfo {
            name: text(k),
            op: text(k.op),
            tier: text(k.tier),
            layout: text(k.layout()),
            format,
            cache,
            tile_rows: tile.0,
            tile_columns: tile.1,
        }
    }
}

/// Kernel number `index` of the handle's list, from 0 on; `KINGLET_STATUS_END` past the last.
///
/// # Safety
/// `info` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_kernel_at(
    kernels: *const Handle,
    index: usize,
    info: *mut KernelInfo,
) -> Status {
    call(|| {
        let k = crate::handle::kernels(kernels)?;
        // SAFETY: the caller's.
        let out = unsafe { Args::new().write("info", info, 1) }?;
        let kernel = k.kernels().nth(index);
        out[0] = kernel.ok_or_else(|| Fail::new(Status::End, format_args!("kernel {index}")))?.into();
        Ok(())
    })
}

/// Which kernel runs for an operation such as `gemv`, weights of a format (0xffffffff for none) or a cache of a kind (likewise), and so many
/// columns. `gemv` and `gemm` name the same product: the one that runs is returned.
///
/// # Safety
/// `op` ends with 0; `info` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_kernel_for(
    kernels: *const Handle,
    op: *const c_char,
    weights: u32,
    cache: u32,
    columns: usize,
    info: *mut KernelInfo,
) -> Status {
    call(|| {
        let (k, mut args) = (crate::handle::kernels(kernels)?, Args::new());
        // SAFETY: the caller's (here and below).
        let out = unsafe { args.write("info", info, 1) }?;
        if op.is_null() {
            return Err(Fail::new(Status::NullPointer, format_args!("op is null")));
        }
        let name = unsafe { CStr::from_ptr(op) }.to_str().unwrap_or("?");
        let Some(op) = Op::from_name(name) else {
            return Err(Fail::new(Status::UnknownName, format_args!("operation `{name}`")));
        };
        let operand = match (weights, cache) {
            (NONE, NONE) => Operand::Floats,
            (NONE, 0) => Operand::Cache(KvType::F32),
            (NONE, 1) => Operand::Cache(KvType::F16),
            (NONE, 2) => Operand::Cache(KvType::Q8_0),
            (weights, NONE) => Operand::Weights(format(weights)?),
            _ => {
                return Err(Fail::new(
                    Status::UnknownValue,
                    format_args!("weights {weights} and cache {cache}"),
                ));
            }
        };
        let kernel = k.kernel_for(op, operand, columns);
        out[0] = kernel.ok_or_else(|| Fail::new(Status::Shape, format_args!("{op} of {operand:?}")))?.into();
        Ok(())
    })
}

/// Compares every kernel of the handle's tier with the portable one on this machine, with data made from `seed`, and writes how many
/// differ to `differences`: 0 on a machine that is right. Takes a second or so, and allocates.
///
/// # Safety
/// `differences` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_verify(
    kernels: *const Handle,
    seed: u64,
    differences: *mut usize,
) -> Status {
    call(|| {
        let k = crate::handle::kernels(kernels)?;
        // SAFETY: the caller's.
        let out = unsafe { Args::new().write("differences", differences, 1) }?;
        out[0] = verify::tier(k.tier(), seed)?.differences().count();
        Ok(())
    })
}
