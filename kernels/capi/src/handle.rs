//! The handle: which tier's kernels.

use crate::args::{Args, Struct, read_struct, reserved};
use crate::status::{Fail, Status, call};
use kinglet_kernels::{Kernels, Tier};
use std::ffi::{CStr, c_char};
use std::sync::OnceLock;

/// The kernels of one tier. Obtained from `kinglet_detect`, never freed, usable from any thread.
pub struct Handle {
    kernels: Kernels,
    /// Its tier's name with an end.
    name: [u8; 24],
}

/// How a tier is chosen. Set `size` to its sizeof and the rest to 0 for the default: `KINGLET_TIER` if it is set, else
/// the fastest tier that the machine can run.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Options {
    /// `sizeof(kinglet_options)`
    pub size: usize,
    /// Exactly this tier, such as `avx2`, whatever `KINGLET_TIER` says; null for none.
    pub tier: *const c_char,
    /// No tier beyond this one; null for none. It limits tiers of its own architecture, `scalar` limits all.
    pub cap: *const c_char,
    /// Other than 0: do not read `KINGLET_TIER`.
    pub ignore_environment: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: plain, `size` first, no padding; 0 is null.
unsafe impl Struct for Options {
    const NAME: &'static str = "kinglet_options";
}

const TIERS: usize = 16;
static HANDLES: [OnceLock<Handle>; TIERS] = [const { OnceLock::new() }; TIERS];

/// The handle behind a pointer, which is looked up and never followed before it is known.
pub(crate) fn kernels(handle: *const Handle) -> Result<Kernels, Fail> {
    known(handle).map(|handle| handle.kernels)
}

fn known(handle: *const Handle) -> Result<&'static Handle, Fail> {
    if handle.is_null() {
        return Err(Fail::new(Status::NullPointer, format_args!("kernels is null; call kinglet_detect")));
    }
    let found = HANDLES.iter().filter_map(OnceLock::get).find(|h| std::ptr::eq(*h, handle));
    found.ok_or_else(|| {
        Fail::new(Status::BadHandle, format_args!("kernels does not come from kinglet_detect"))
    })
}

/// # Safety
/// `name` is null or ends with a 0.
unsafe fn tier(name: *const c_char) -> Result<Option<Tier>, Fail> {
    if name.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's.
    let name = unsafe { CStr::from_ptr(name) };
    let name = name
        .to_str()
        .map_err(|_| Fail::new(Status::UnknownName, format_args!("a tier's name is not UTF-8")))?;
    Ok(Some(name.parse()?))
}

/// Chooses the kernels to use and writes a handle to `out`. `options` may be null for the default. Handles are the same for the
/// same tier, need not be freed and may be shared by threads. Locks once per tier, and may allocate while it reads `KINGLET_TIER`: call it
/// when your program starts.
///
/// # Safety
/// `options` is null or a `kinglet_options` whose strings are null or end with 0; `out` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_detect(options: *const Options, out: *mut *const Handle) -> Status {
    call(|| {
        let mut args = Args::new();
        // SAFETY: the caller's (here and below).
        let out = unsafe { args.write("out", out, 1) }?;
        let mut builder = Kernels::builder();
        if !options.is_null() {
            let options = unsafe { read_struct(&mut args, options) }?;
            reserved::<Options>(options.reserved)?;
            if let Some(exact) = unsafe { tier(options.tier) }? {
                builder = builder.exact(exact);
            }
            if let Some(cap) = unsafe { tier(options.cap) }? {
                builder = builder.cap(cap);
            }
            if options.ignore_environment != 0 {
                builder = builder.ignore_environment();
            }
        }
        let kernels = builder.build()?;
        let index = Tier::ALL.iter().position(|t| *t == kernels.tier());
        let Some(slot) = index.and_then(|i| HANDLES.get(i)) else {
            return Err(Fail::new(Status::Internal, format_args!("a tier without a slot")));
        };
        let handle = slot.get_or_init(|| {
            let mut name = [0; 24];
            let text = kernels.tier().name().as_bytes();
            name[..text.len()].copy_from_slice(text);
            Handle { kernels, name }
        });
        if let Some(out) = out.first_mut() {
            *out = handle;
        }
        Ok(())
    })
}

/// The name of the handle's tier, such as `avx2`; null when it is no handle. Valid for ever.
///
/// # Safety
/// None: the handle is looked up, not followed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kinglet_tier_name(kernels: *const Handle) -> *const c_char {
    known(kernels).map_or(std::ptr::null(), |handle| handle.name.as_ptr().cast())
}

const _: () = assert!(Tier::ALL.len() <= TIERS);
