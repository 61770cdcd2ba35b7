//! The numerical contract of kinglet, in slow plain Rust.
//!
//! Every function here is written as obviously as possible and *defines* the bits that every kernel of
//! every tier must return. `CONTRACT.md` beside this crate says the same in words.

pub mod dequantize;
pub mod dot_quantized;
pub mod fma;
pub mod quantize;
pub mod ssum;
