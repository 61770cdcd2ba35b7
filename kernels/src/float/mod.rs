//! Float kernels.

pub(crate) mod fma;
pub(crate) mod lanes;
