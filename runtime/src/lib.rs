//! A small memory-mapped runtime that runs GGUF language models on the CPU.

pub mod chat;
pub mod gguf;
pub mod team;
pub mod tokenizer;
