//! The portable tier: runs everywhere, and is the default of every kernel of every other tier.

pub(crate) mod matmul;
pub(crate) mod quantize;
