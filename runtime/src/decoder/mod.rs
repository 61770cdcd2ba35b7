//! The decoder: tokens in, logits out.
//!
//! [`Session`] holds what one conversation needs (the key-value cache and a position) and [`forward`](self) is the one forward
//! pass, driven by [`crate::model::ModelSpec`]. Logits never depend on the tier, the number of threads, the batch size or how
//! a prompt is cut into chunks (law 1).

mod attention;
mod cache;
mod conv;
mod ffn;
mod forward;
mod mixer;
mod moe;
mod ops;
mod rope;
mod session;
mod spread;

pub use cache::{cache_bytes, cache_bytes_read, kept_positions};
pub use session::{Session, SessionOptions, Want};

use std::fmt;

/// Why a token could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// A token id that the vocabulary does not have.
    Token {
        /// The id.
        id: u32,
        /// The size of the vocabulary.
        vocab_size: usize,
    },
    /// More positions than the context has.
    Context {
        /// How many positions are wanted.
        wanted: usize,
        /// How many there are.
        n_ctx: usize,
    },
    /// An option that makes no sense.
    Option(String),
    /// Memory ran out.
    Memory(String),
    /// A kernel refused; a defect of kinglet.
    Kernel(String),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Token { id, vocab_size } => {
                write!(f, "token {id} is out of range: the vocabulary has {vocab_size} tokens")
            }
            DecodeError::Context { wanted, n_ctx } => {
                write!(
                    f,
                    "{wanted} tokens do not fit a context of {n_ctx}; shorten the prompt or raise --ctx"
                )
            }
            DecodeError::Option(what) | DecodeError::Memory(what) => f.write_str(what),
            DecodeError::Kernel(what) => write!(f, "internal error: {what}"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<kinglet_kernels::Error> for DecodeError {
    fn from(e: kinglet_kernels::Error) -> DecodeError {
        DecodeError::Kernel(e.to_string())
    }
}
