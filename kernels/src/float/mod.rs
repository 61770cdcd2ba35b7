//! Float kernels.

pub(crate) mod fma;
