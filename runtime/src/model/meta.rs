//! [`Meta`]: the metadata of one architecture, with errors that name the key.

use super::ModelError;
use super::spec::Activation;
use crate::gguf::{Gguf, TensorInfo, Value};

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

    pub(super) fn fail(&self, key: &str, what: impl std::fmt::Display) -> ModelError {
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
        let values = self.per_layer_or_zero(name, default)?;
        match values.contains(&0) {
            true => Err(self.fail(&self.key(name), "holds 0, not a size")),
            false => Ok(values),
        }
    }

    /// As [`Meta::per_layer`], but a layer may have 0.
    ///
    /// # Errors
    /// As there.
    pub fn per_layer_or_zero(&self, name: &str, default: Option<&[usize]>) -> Result<Vec<usize>, ModelError> {
        let (key, n) = (self.key(name), self.n_layers()?);
        let Some(values) = self.gguf.uints(&key)? else {
            return default.map(<[usize]>::to_vec).ok_or_else(|| self.fail(&key, "is missing"));
        };
        let values = if values.len() == 1 { vec![values[0]; n] } else { values };
        if values.len() != n {
            return Err(self.fail(&key, format!("has {} values for {n} layers", values.len())));
        }
        match values.iter().find(|v| **v > MAX_SIZE) {
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

    /// A yes or no; `None` when the key is absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn opt_bool(&self, name: &str) -> Result<Option<bool>, ModelError> {
        Ok(self.gguf.boolean(&self.key(name))?)
    }

    /// Whether the file has the tensor.
    pub fn has_tensor(&self, name: &str) -> bool {
        self.gguf.tensor(name).is_some()
    }

    /// `expert_count`; 0 when the key is absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn n_experts(&self) -> Result<u64, ModelError> {
        Ok(self.gguf.uint(&self.key("expert_count"))?.unwrap_or(0))
    }

    /// Dimension `i` (the contiguous one is 0) of a tensor, when the file has it and it is a size.
    pub fn dimension(&self, tensor: &str, i: usize) -> Option<usize> {
        let n = *self.gguf.tensor(tensor)?.shape.get(i)?;
        (1..=MAX_SIZE).contains(&n).then_some(n as usize)
    }

    /// A tensor that must be there.
    ///
    /// # Errors
    /// When it is not.
    pub fn require_tensor(&self, name: &str) -> Result<&'a TensorInfo, ModelError> {
        let missing = || ModelError::new(self.gguf.file(), format!("tensor `{name}` is missing"));
        self.gguf.tensor(name).ok_or_else(missing)
    }

    /// Key `kinglet.activation`, or `default`.
    ///
    /// # Errors
    /// When it is not the name of an activation.
    pub fn activation(&self, default: Activation) -> Result<Activation, ModelError> {
        let key = "kinglet.activation";
        match self.gguf.string(key)? {
            None => Ok(default),
            Some("silu") => Ok(Activation::Silu),
            Some("gelu") => Ok(Activation::GeluErf),
            Some("gelu_tanh") => Ok(Activation::GeluTanh),
            Some("relu") => Ok(Activation::Relu),
            Some("relu2") => Ok(Activation::Relu2),
            Some(other) => {
                let what = format!("is `{other}`, not one of silu, gelu, gelu_tanh, relu and relu2");
                Err(self.fail(key, what))
            }
        }
    }

    /// What scores are multiplied by, when the file says so: `kinglet.attention_scale`, then `attention.scale`, where 0 means
    /// that it does not.
    ///
    /// # Errors
    /// When it is negative or not a number.
    pub fn attention_scale(&self) -> Result<Option<f32>, ModelError> {
        for key in ["kinglet.attention_scale".to_owned(), self.key("attention.scale")] {
            match self.gguf.float(&key)? {
                None | Some(0.0) => {}
                Some(x) if x.is_finite() && x > 0.0 => return Ok(Some(x)),
                Some(x) => return Err(self.fail(&key, format!("is {x}, not a scale"))),
            }
        }
        Ok(None)
    }

    /// How many keys a query of each layer sees; `None` for all.
    ///
    /// `kinglet.windows` has a number for each layer. Without it `attention.sliding_window` (or `default_window`) is the window of
    /// every layer but each `period`-th, where a `period` of 0 leaves out none; `attention.sliding_window_pattern` replaces
    /// `period` or says for each layer whether it has the window. A window of 0 is none.
    ///
    /// # Errors
    /// When a key is something else or has another number of values than the model layers.
    pub fn windows(
        &self,
        period: usize,
        default_window: Option<usize>,
    ) -> Result<Vec<Option<usize>>, ModelError> {
        let n = self.n_layers()?;
        let per_layer = |key: &str, values: Vec<u64>| {
            if values.len() == n {
                return Ok(values);
            }
            Err(self.fail(key, format!("has {} values for {n} layers", values.len())))
        };
        let window = |w: u64| (w > 0).then(|| usize::try_from(w).unwrap_or(usize::MAX));
        if let Some(values) = self.gguf.uints("kinglet.windows")? {
            return Ok(per_layer("kinglet.windows", values)?.into_iter().map(window).collect());
        }
        let all = self.gguf.uint(&self.key("attention.sliding_window"))?;
        let all = all.map_or(default_window, window);
        let key = self.key("attention.sliding_window_pattern");
        let has: Vec<bool> = match self.gguf.get(&key) {
            Some(Value::Array(_)) => {
                per_layer(&key, self.gguf.flags(&key)?.unwrap_or_default())?.iter().map(|f| *f != 0).collect()
            }
            _ => {
                let period = self.gguf.uint(&key)?.unwrap_or(period as u64);
                if period > MAX_LAYERS {
                    return Err(self.fail(&key, format!("is {period}; at most {MAX_LAYERS} are possible")));
                }
                (1..=n as u64).map(|i| period == 0 || i % period != 0).collect()
            }
        };
        Ok(has.into_iter().map(|has| all.filter(|_| has)).collect())
    }

    /// Which layers rotate queries and keys: `kinglet.rope_layers` says so for each (0 or 1, or booleans); without it, `default`.
    ///
    /// # Errors
    /// When the key is something else or has another number of values than the model layers.
    pub fn rope_layers(&self, default: impl Fn(usize) -> bool) -> Result<Vec<bool>, ModelError> {
        let (key, n) = ("kinglet.rope_layers", self.n_layers()?);
        match self.gguf.flags(key)? {
            None => Ok((0..n).map(default).collect()),
            Some(flags) if flags.len() == n => Ok(flags.into_iter().map(|f| f != 0).collect()),
            Some(flags) => Err(self.fail(key, format!("has {} values for {n} layers", flags.len()))),
        }
    }
}
