//! A small memory-mapped runtime that runs GGUF language models on the CPU.

pub mod chat;
pub mod cli;
pub mod gguf;
pub mod hub;
pub mod team;
pub mod tokenizer;
