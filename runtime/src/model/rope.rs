//! The rotary embedding that a file's `rope.*` keys and factor tensors describe.

use super::meta::Meta;
use super::spec::{RopeFactors, RopeScaling, RopeSpec, RopeStyle};
use super::{ModelError, loader};

impl Meta<'_> {
    /// The rotary embedding of heads of `head_dim` values.
    ///
    /// # Errors
    /// When a key or a factor has a value that makes no sense.
    pub fn rope(&self, style: RopeStyle, head_dim: usize) -> Result<RopeSpec, ModelError> {
        let n_rot = self.opt_size("rope.dimension_count")?.unwrap_or(head_dim);
        if n_rot > head_dim || !n_rot.is_multiple_of(2) {
            let what = format!("is {n_rot}: not an even number up to the head's {head_dim}");
            return Err(self.fail(&self.key("rope.dimension_count"), what));
        }
        let scaling = self.rope_scaling()?;
        let factors = self.rope_factors(n_rot / 2)?;
        let attention_factor = self.rope_attention_factor(&scaling, &factors)?;
        Ok(RopeSpec { style, n_rot, theta: self.rope_theta(10000.0)?, scaling, factors, attention_factor })
    }

    /// The base of the frequencies: `kinglet.rope_theta`, then `rope.freq_base`, then `default`.
    ///
    /// # Errors
    /// When a key is not a number above zero.
    pub fn rope_theta(&self, default: f64) -> Result<f64, ModelError> {
        let key = "kinglet.rope_theta";
        match self.gguf.float(key)? {
            Some(x) if x.is_finite() && x > 0.0 => Ok(f64::from(x)),
            Some(x) => Err(self.fail(key, format!("is {x}, not above zero"))),
            None => Ok(self.opt_positive("rope.freq_base")?.map_or(default, f64::from)),
        }
    }

    fn rope_scaling(&self) -> Result<RopeScaling, ModelError> {
        let key = self.key("rope.scaling.type");
        let factor = self.opt_positive("rope.scaling.factor")?;
        // `rope.scale_linear` is how old converters wrote a linear factor.
        let factor = factor.or(self.opt_positive("rope.scale_linear")?).map_or(1.0, f64::from);
        match self.gguf.string(&key)? {
            Some("none") => Ok(RopeScaling::None),
            // What LongRoPE stretches is in its factors.
            Some("longrope" | "su") => {
                self.require_tensor("rope_factors_long.weight")?;
                Ok(RopeScaling::None)
            }
            None | Some("linear") if factor == 1.0 => Ok(RopeScaling::None),
            None | Some("linear") => Ok(RopeScaling::Linear { factor }),
            Some("yarn") => {
                let beta = |name, default| -> Result<f64, ModelError> {
                    Ok(self.opt_positive(name)?.map_or(default, f64::from))
                };
                Ok(RopeScaling::Yarn {
                    factor,
                    original_context: self.original_context()? as f64,
                    beta_fast: beta("rope.scaling.yarn_beta_fast", 32.0)?,
                    beta_slow: beta("rope.scaling.yarn_beta_slow", 1.0)?,
                })
            }
            Some(other) => {
                let what =
                    format!("is `{other}`, which is not supported (none, linear, yarn and longrope are)");
                Err(self.fail(&key, what))
            }
        }
    }

    /// Positions of the training before any stretching.
    fn original_context(&self) -> Result<usize, ModelError> {
        match self.opt_size("rope.scaling.original_context_length")? {
            Some(n) => Ok(n),
            None => self.size("context_length"),
        }
    }

    /// What the file says; for YaRN times `0.1 ln(factor) + 1`, over `0.1 m ln(factor) + 1` where there is a `yarn_log_multiplier`
    /// of `m`; for a LongRoPE that says nothing what the original computes.
    fn rope_attention_factor(&self, scaling: &RopeScaling, factors: &RopeFactors) -> Result<f64, ModelError> {
        let said = self.opt_positive("rope.scaling.attn_factor")?.map(f64::from);
        if let RopeScaling::Yarn { factor, .. } = scaling {
            let sharpen = |m: f64| if *factor > 1.0 { 0.1 * m * libm::log(*factor) + 1.0 } else { 1.0 };
            let m = self.opt_float("rope.scaling.yarn_log_multiplier")?.map_or(0.0, f64::from);
            return Ok(sharpen(1.0) / sharpen(m) * said.unwrap_or(1.0));
        }
        match factors {
            RopeFactors::ByContext { original_context, .. } if said.is_none() => {
                let (original, all) = (*original_context as f64, self.size("context_length")? as f64);
                let stretched = all > original && original > 1.0;
                Ok(if stretched {
                    (1.0 + libm::log(all / original) / libm::log(original)).sqrt()
                } else {
                    1.0
                })
            }
            _ => Ok(said.unwrap_or(1.0)),
        }
    }

    fn rope_factors(&self, pairs: usize) -> Result<RopeFactors, ModelError> {
        let (short, long) = ("rope_factors_short.weight", "rope_factors_long.weight");
        if self.has_tensor(short) || self.has_tensor(long) {
            return Ok(RopeFactors::ByContext {
                original_context: self.original_context()?,
                short: self.factors(short, pairs)?,
                long: self.factors(long, pairs)?,
            });
        }
        let fixed = "rope_freqs.weight";
        if self.has_tensor(fixed) {
            Ok(RopeFactors::Fixed(self.factors(fixed, pairs)?))
        } else {
            Ok(RopeFactors::None)
        }
    }

    fn factors(&self, name: &str, pairs: usize) -> Result<Vec<f32>, ModelError> {
        let factors = loader::f32_values(self.gguf, self.require_tensor(name)?, &[pairs])?;
        if factors.iter().any(|f| !f.is_finite() || *f <= 0.0) {
            let what = format!("tensor `{name}` holds a factor that is not above zero");
            return Err(ModelError::new(self.gguf.file(), what));
        }
        Ok(factors.into_owned())
    }
}
