//! [`Meta`]: the metadata of one architecture, with errors that name the key.

use super::ModelError;
use super::spec::{RopeScaling, RopeSpec, RopeStyle};
use crate::gguf::Gguf;

/// Reads `{architecture}.*` keys.
#[derive(Debug, Clone, Copy)]
pub struct Meta<'a> {
    /// The file.
    pub gguf: &'a Gguf,
    /// `general.architecture`.
    pub architecture: &'a str,
}

/// Sizes beyond these are not models but mistakes; the products of any two fit in 64 bits.
const MAX_SIZE: u64 = 1 << 28;
/// Layers.
const MAX_LAYERS: u64 = 4096;

impl<'a> Meta<'a> {
    /// The full name of a key of this architecture.
    pub fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn fail(&self, key: &str, what: impl std::fmt::Display) -> ModelError {
        ModelError::new(self.gguf.file(), format!("key `{key}` {what}"))
    }

    /// A size: an integer from 1 to 2^28; `None` when the key is absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn opt_size(&self, name: &str) -> Result<Option<usize>, ModelError> {
        let key = self.key(name);
        match self.gguf.uint(&key)? {
            None => Ok(None),
            Some(n) if (1..=MAX_SIZE).contains(&n) => Ok(Some(n as usize)),
            Some(n) => Err(self.fail(&key, format!("is {n}, not a size from 1 to {MAX_SIZE}"))),
        }
    }

    /// A size that must be there.
    ///
    /// # Errors
    /// When it is absent or not a size.
    pub fn size(&self, name: &str) -> Result<usize, ModelError> {
        self.opt_size(name)?.ok_or_else(|| self.fail(&self.key(name), "is missing"))
    }

    /// `block_count`.
    ///
    /// # Errors
    /// When it is absent or absurd.
    pub fn n_layers(&self) -> Result<usize, ModelError> {
        let n = self.size("block_count")?;
        if n as u64 > MAX_LAYERS {
            return Err(
                self.fail(&self.key("block_count"), format!("is {n}; at most {MAX_LAYERS} are supported"))
            );
        }
        Ok(n)
    }

    /// One size per layer: an array of them, or one number for all; `default` when the key is absent.
    ///
    /// # Errors
    /// When an element is not a size or their number is not the number of layers.
    pub fn per_layer(&self, name: &str, default: Option<&[usize]>) -> Result<Vec<usize>, ModelError> {
        let (key, n) = (self.key(name), self.n_layers()?);
        let Some(values) = self.gguf.uints(&key)? else {
            return default.map(<[usize]>::to_vec).ok_or_else(|| self.fail(&key, "is missing"));
        };
        let values = if values.len() == 1 { vec![values[0]; n] } else { values };
        if values.len() != n {
            return Err(self.fail(&key, format!("has {} values for {n} layers", values.len())));
        }
        match values.iter().find(|v| !(1..=MAX_SIZE).contains(*v)) {
            Some(v) => Err(self.fail(&key, format!("holds {v}, not a size"))),
            None => Ok(values.into_iter().map(|v| v as usize).collect()),
        }
    }

    /// A finite number; `None` when the key is absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn opt_float(&self, name: &str) -> Result<Option<f32>, ModelError> {
        let key = self.key(name);
        match self.gguf.float(&key)? {
            Some(x) if !x.is_finite() => Err(self.fail(&key, format!("is {x}"))),
            other => Ok(other),
        }
    }

    /// A finite number above zero; `None` when the key is absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn opt_positive(&self, name: &str) -> Result<Option<f32>, ModelError> {
        match self.opt_float(name)? {
            Some(x) if x <= 0.0 => Err(self.fail(&self.key(name), format!("is {x}, not above zero"))),
            other => Ok(other),
        }
    }

    /// A finite number above zero that must be there.
    ///
    /// # Errors
    /// When it is absent or something else.
    pub fn positive(&self, name: &str) -> Result<f32, ModelError> {
        self.opt_positive(name)?.ok_or_else(|| self.fail(&self.key(name), "is missing"))
    }

    /// A softcap: absent and 0 both mean none.
    ///
    /// # Errors
    /// When it is negative or not a number.
    pub fn softcap(&self, name: &str) -> Result<Option<f32>, ModelError> {
        match self.opt_float(name)? {
            None | Some(0.0) => Ok(None),
            Some(x) if x > 0.0 => Ok(Some(x)),
            Some(x) => Err(self.fail(&self.key(name), format!("is {x}, not a softcap"))),
        }
    }

    /// Tokens in the vocabulary: `vocab_size`, or the number of rows of the embedding, which
    /// [`super::Weights`] checks against each other.
    ///
    /// # Errors
    /// When the file has neither.
    pub fn vocab_size(&self) -> Result<usize, ModelError> {
        let rows = self.gguf.tensor("token_embd.weight").and_then(|t| t.shape.get(1).copied());
        match rows {
            Some(rows) if (1..=MAX_SIZE).contains(&rows) => Ok(rows as usize),
            _ => Err(ModelError::new(
                self.gguf.file(),
                "tensor `token_embd.weight` is missing or not a matrix",
            )),
        }
    }

    /// The rotary embedding that `rope.*` keys describe.
    ///
    /// # Errors
    /// When a key has a value that makes no sense.
    pub fn rope(&self, style: RopeStyle, head_dim: usize) -> Result<RopeSpec, ModelError> {
        let n_rot = self.opt_size("rope.dimension_count")?.unwrap_or(head_dim);
        if n_rot > head_dim || !n_rot.is_multiple_of(2) {
            let what = format!("is {n_rot}: not an even number up to the head's {head_dim}");
            return Err(self.fail(&self.key("rope.dimension_count"), what));
        }
        let theta = f64::from(self.opt_positive("rope.freq_base")?.unwrap_or(10000.0));
        let scaling = self.rope_scaling()?;
        Ok(RopeSpec { style, n_rot, theta, scaling, factors: self.rope_factors(n_rot / 2)? })
    }

    fn rope_scaling(&self) -> Result<RopeScaling, ModelError> {
        let key = self.key("rope.scaling.type");
        let factor = self.opt_positive("rope.scaling.factor")?;
        // `rope.scale_linear` is how old converters wrote a linear factor.
        let factor = factor.or(self.opt_positive("rope.scale_linear")?).map_or(1.0, f64::from);
        match self.gguf.string(&key)? {
            Some("none") => Ok(RopeScaling::None),
            None | Some("linear") if factor == 1.0 => Ok(RopeScaling::None),
            None | Some("linear") => Ok(RopeScaling::Linear { factor }),
            Some("yarn") => {
                let original = self.opt_size("rope.scaling.original_context_length")?;
                let original = match original {
                    Some(n) => n,
                    None => self.size("context_length")?,
                };
                let beta = |name, default| -> Result<f64, ModelError> {
                    Ok(self.opt_positive(name)?.map_or(default, f64::from))
                };
                // 0.1 ln(factor) + 1, times what the file says.
                let sharpen = if factor > 1.0 { 0.1 * libm::log(factor) + 1.0 } else { 1.0 };
                Ok(RopeScaling::Yarn {
                    factor,
                    original_context: original as f64,
                    beta_fast: beta("rope.scaling.yarn_beta_fast", 32.0)?,
                    beta_slow: beta("rope.scaling.yarn_beta_slow", 1.0)?,
                    attention_factor: sharpen * beta("rope.scaling.attn_factor", 1.0)?,
                })
            }
            Some(other) => {
                Err(self
                    .fail(&key, format!("is `{other}`, which is not supported (none, linear and yarn are)")))
            }
        }
    }

    fn rope_factors(&self, pairs: usize) -> Result<Option<Vec<f32>>, ModelError> {
        let name = "rope_freqs.weight";
        let Some(t) = self.gguf.tensor(name) else { return Ok(None) };
        let factors = super::weights::f32_vector(self.gguf, t, pairs)?;
        if factors.iter().any(|f| !f.is_finite() || *f <= 0.0) {
            return Err(ModelError::new(
                self.gguf.file(),
                format!("tensor `{name}` holds a factor that is not above zero"),
            ));
        }
        Ok(Some(factors.into_owned()))
    }
}
