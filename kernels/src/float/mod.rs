//! Float kernels: written once over [`lanes::Lanes`], instantiated per tier by one line (see [`table`]).

mod api;
mod attention;
mod attention_api;
mod dequantize;
mod elementwise;
pub(crate) mod fma;
mod fold;
mod kv;
pub(crate) mod lanes;
mod math;
mod matmul;
mod norm;
mod rope;
pub(crate) mod table;

pub use attention_api::{AttentionParams, Partial, PartialRef, QueryRow, Strided};
pub use elementwise::Activation;
pub use kv::{KV_PAGE, KvLayout, KvType};
