//! `minicpm`: MiniCPM 1B and 2B, MiniCPM4. Llama's decoder with multipliers. Files without their keys are MiniCPM-2B's.

use super::{Base, Meta, ModelError, ModelSpec, RopeStyle};

/// Of the embedding.
const EMBEDDING: f32 = 12.0;
/// Of what a layer adds, times the root of the number of layers.
const DEPTH: f32 = 1.4;
/// Width at which logits are not scaled.
const BASE_DIM: f32 = 256.0;

pub(super) fn spec(meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
    let mut spec = Base::llama(RopeStyle::Interleaved).read(meta)?;
    multipliers(&mut spec, meta)?;
    Ok(spec)
}

/// The multipliers, where the file does not say otherwise.
pub(super) fn multipliers(spec: &mut ModelSpec, meta: &Meta<'_>) -> Result<(), ModelError> {
    let (depth, width) = (spec.layers.len() as f32, spec.dim as f32);
    spec.multipliers(meta, EMBEDDING, DEPTH / depth.sqrt(), width / BASE_DIM)
}
