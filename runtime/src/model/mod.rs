//! Models: what they are ([`ModelSpec`], read by an architecture of [`arch`]) and what they hold ([`Weights`], borrowed
//! from the mapped file).

pub mod arch;
mod balance;
mod describe;
mod loader;
mod meta;
mod rope;
pub mod spec;
mod weights;

pub use meta::Meta;
pub use spec::ModelSpec;
pub use weights::{
    AttentionWeights, ConvWeights, DenseWeights, DirectWeights, ExpertsWeights, FfnWeights, LatentWeights,
    LayerWeights, Linear, MixerWeights, NormWeights, QkvWeights, Weights,
};

use crate::gguf::{Gguf, GgufError};
use std::fmt;

/// The widest attention head that is supported.
pub const MAX_HEAD_DIM: usize = 1024;

/// Why a file is not a model that runs: one line that names the file and the key or tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelError(String);

impl ModelError {
    pub(crate) fn new(file: &str, what: impl fmt::Display) -> ModelError {
        ModelError(format!("{file}: {what}"))
    }
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ModelError {}

impl From<GgufError> for ModelError {
    fn from(e: GgufError) -> ModelError {
        ModelError(e.to_string())
    }
}

/// A model: its description and its weights, borrowed from the file.
#[derive(Debug)]
pub struct Model<'a> {
    /// The file.
    pub gguf: &'a Gguf,
    /// What it is.
    pub spec: ModelSpec,
    /// What it holds.
    pub weights: Weights<'a>,
}

impl<'a> Model<'a> {
    /// Reads the spec and finds and checks every tensor. Copies nothing but names and, where the file has
    /// them misaligned, norm weights.
    ///
    /// # Errors
    /// [`ModelError`] names the first key or tensor that is missing, wrong or not supported.
    pub fn new(gguf: &'a Gguf) -> Result<Model<'a>, ModelError> {
        let name = gguf.string("general.architecture")?;
        let name =
            name.ok_or_else(|| ModelError::new(gguf.file(), "key `general.architecture` is missing"))?;
        let Some(architecture) = arch::find(name) else {
            let what = format!("architecture `{name}` is not supported; supported are {}", arch::names());
            return Err(ModelError::new(gguf.file(), what));
        };
        let meta = Meta { gguf, architecture: name };
        let spec = (architecture.spec)(&meta)?;
        spec.check(&meta)?;
        // Of the tensors only small ones are looked at.
        let sparsely = gguf.read_sparsely();
        let weights = Weights::new(gguf, &spec)?;
        drop(sparsely);
        Ok(Model { gguf, spec, weights })
    }

    /// Bytes of weights that one token reads: everything but the embedding rows of other tokens and the experts it does not use.
    pub fn bytes_per_token(&self) -> usize {
        let all: usize = self.gguf.tensors().iter().map(|t| t.bytes).sum();
        let tied = self.gguf.tensor("output.weight").is_none();
        let embedding = if tied { 0 } else { self.weights.embedding.data().len() };
        let positions = self.weights.positions.map_or(0, |m| m.data().len());
        let layers = self.spec.layers.iter().zip(&self.weights.layers);
        let unused: usize = layers.map(|(l, w)| unused_experts(&l.ffn, &w.ffn)).sum();
        all - embedding - positions - unused
    }
}

/// Bytes of the experts of a layer that a token does not use.
fn unused_experts(ffn: &spec::FfnSpec, weights: &FfnWeights<'_>) -> usize {
    let (Some(spec), FfnWeights::Experts(w)) = (&ffn.experts, weights) else { return 0 };
    let bytes = |l: &Linear<'_>| l.weight.data().len();
    let one = |e: &DenseWeights<'_>| e.gate.as_ref().map_or(0, bytes) + bytes(&e.up) + bytes(&e.down);
    w.experts.first().map_or(0, one) * (spec.n - spec.used)
}
