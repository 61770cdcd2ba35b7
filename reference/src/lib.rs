//! The numerical contract of kinglet, in slow plain Rust.
//!
//! Every function here is written as obviously as possible and *defines* the bits that every kernel of
//! every tier must return. `CONTRACT.md` beside this crate says the same in words.

pub mod attention;
pub mod dequantize;
pub mod dot_float;
pub mod dot_quantized;
pub mod elementwise;
pub mod fma;
pub mod half;
pub mod math;
pub mod norm;
pub mod quantize;
pub mod rope;
pub mod ssum;

/// The contract in words.
pub const CONTRACT: &str = include_str!("../CONTRACT.md");
