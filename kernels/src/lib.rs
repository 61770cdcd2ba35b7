//! Hand-written SIMD kernels for quantized language models, with the same bits on every CPU.
//!
//! Weights are GGUF blocks in place ([`Matrix`]); activations are quantized once per use
//! ([`QuantizedRows`]); [`Kernels`] holds the fastest kernels that this CPU can run and is the only way to
//! call them. Every kernel of every [`Tier`] equals `kinglet-reference` bit for bit; the contract is
//! written down in `reference/CONTRACT.md`, and what it promises to callers in `kernels/docs/contract.md`. `kernels/examples/candle`
//! puts them into an engine that is there already.
//!
//! ```
//! use kinglet_kernels::{Format, Kernels, MatMut, Matrix};
//! let k = Kernels::detect()?;
//! // Weights as a GGUF file holds them: 4 rows of 64 values, two Q8_0 blocks each.
//! let blocks = vec![0u8; 4 * 2 * 34];
//! let w = Matrix::new(Format::Q8_0, &blocks, 4, 64)?;
//! let (x, mut y) = (vec![1.0f32; 64], vec![0.0f32; 4]);
//! let mut workspace = vec![0u8; k.linear_workspace(&w, 1)?];
//! k.linear(&w, &x, None, &mut MatMut::new(&mut y, 4, 1)?, &mut workspace)?;
//! assert_eq!(y, [0.0; 4]);
//! # Ok::<(), kinglet_kernels::Error>(())
//! ```
//!
//! # What every call promises
//! - No allocation, thread, lock or panic inside; an [`Error`] is a value. Where a call is refused, no result has been written.
//! - Any thread pool works: a product is divided by rows ([`Matrix::slice_rows`], [`MatMut::split_rows`]) or columns, everything else by
//!   rows, and no division changes a bit.
//! - Scratch is the caller's. Its size is asked for before the call; it may begin anywhere and hold anything, and
//!   [`SCRATCH_ALIGN`] is best.
//! - Slices may have any alignment that their type has; only Rust's own rules on aliasing apply.
//! - NaN and infinity, in scales or activations, give what the contract says they give, on every tier.
//! - Floating-point settings under which no kernel can keep its contract (flush to zero, another rounding mode) are
//!   [`Error::FloatEnvironment`].
//!
//! # Features
//! - `std` (default): detection by the standard library, `KINGLET_TIER`, [`verify`] and [`format::encode_row`]. Without it the crate is
//!   `no_std`, without an allocator: x86-64 is detected by CPUID; on aarch64 the tier is what the program was compiled for, or
//!   what the caller vouches for ([`Kernels::with_tier_unchecked`]).

#![cfg_attr(not(feature = "std"), no_std)]
// So that one set of paths serves both.
#[cfg(not(feature = "std"))]
extern crate core as std;

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod builder;
mod error;
mod float;
pub mod format;
mod host;
mod kernels;
mod linear;
pub mod list;
mod matmul_id;
mod matrix;
mod prefetch;
mod scalar;
mod table;
mod tier;
#[cfg(feature = "std")]
pub mod verify;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use builder::Builder;
pub use error::{Error, Message};
pub use float::{
    Activation, AttentionParams, KV_PAGE, KvLayout, KvType, Partial, PartialRef, QueryRow, Strided,
};
pub use format::Format;
pub use kernels::{Kernels, SCRATCH_ALIGN};
pub use matrix::{Experts, MatMut, Matrix, QuantizedMut, QuantizedRows};
pub use tier::Tier;

/// The version of the numerical contract (`reference/CONTRACT.md`): the same version, the same bits.
pub const CONTRACT_VERSION: u32 = 1;
