//! kinglet's matrix products in candle: [`KingletLinear`] is a candle `CustomOp1` over `kinglet-kernels`, and
//! [`Model`] a small decoder that is generic over its linear layers, so that candle's own can be compared with it.
//!
//! What an engine's author would take over is `kinglet.rs`; the rest is here to try it.

mod candle;
mod file;
mod kinglet;
mod model;
mod pool;

pub use candle::CandleLinear;
pub use file::ModelFile;
pub use kinglet::{Engine, KingletLinear, QUANTIZED, Weights};
pub use model::{Linear, Model};
pub use pool::Pool;
