//! A small memory-mapped runtime that runs GGUF language models on the CPU.

pub mod chat;
pub mod cli;
pub mod convert;
pub mod decoder;
pub mod generate;
pub mod gguf;
pub mod hub;
pub mod machine;
pub mod memory;
pub mod model;
pub mod perplexity;
mod pieces;
pub mod sampler;
pub mod team;
pub mod tokenizer;
pub mod trace;
pub mod tuned;
