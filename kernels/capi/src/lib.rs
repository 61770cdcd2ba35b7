//! `libkinglet`: kinglet's kernels for programs in C, C++, Python and whatever else can call C.
//!
//! The functions are those of [`kinglet_kernels`], with raw pointers that are checked: null, misaligned, overlapping, zero-sized,
//! too large and wrapping arguments, unknown enum values and struct sizes are a status, never undefined behaviour. What cannot
//! be checked is whether memory that is said to be there is there. `include/kinglet.h` is generated from this crate
//! (`tests/header.rs`).
//!
//! No function allocates, locks, starts a thread or unwinds, except `kinglet_detect`, which may read the environment and locks once per
//! tier, and `kinglet_verify`, which allocates; both say so. All of them may be called from any thread.

#![allow(clippy::too_many_arguments, reason = "C has no other way to pass what a kernel needs")]
#![allow(clippy::result_large_err, reason = "an error is a text on the stack, because nothing allocates")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "one argument for all blocks of a function: what its Safety section asks of the caller"
)]

mod args;
mod attention;
mod handle;
mod list;
mod matmul;
mod rows;
mod status;

pub use attention::*;
pub use handle::*;
pub use list::*;
pub use matmul::*;
pub use rows::*;
pub use status::*;

/// The version of the binary interface that this header describes: the number in the library's SONAME. Compare it with
/// `kinglet_abi_version()`.
pub const ABI_VERSION: u32 = 1;
