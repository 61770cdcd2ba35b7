//! Hand-written SIMD kernels for quantized language models, with the same bits on every CPU.
//!
//! Weights are GGUF blocks in place ([`Matrix`]); activations are quantized once per use
//! ([`QuantizedRows`]); [`Kernels`] holds the fastest kernels that this CPU can run and is the only way to
//! call them. Every kernel of every [`Tier`] equals `kinglet-reference` bit for bit; the contract is
//! written down in `reference/CONTRACT.md`.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod error;
mod float;
pub mod format;
mod kernels;
mod matrix;
mod scalar;
mod table;
mod tier;
pub mod verify;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use error::Error;
pub use float::{Activation, AttentionParams, KV_PAGE, KvLayout, KvType, Partial, PartialRef, QueryRow};
pub use format::Format;
pub use kernels::Kernels;
pub use matrix::{MatMut, Matrix, QuantizedMut, QuantizedRows};
pub use tier::Tier;
