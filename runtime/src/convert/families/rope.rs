//! Rotary embeddings that are stretched past the training's context.

use super::{Plan, Result};
use crate::convert::config::Rope;
use crate::convert::writer::Value;

const LONG: &str = "rope_factors_long.weight";
const SHORT: &str = "rope_factors_short.weight";

impl Plan<'_> {
    /// [`Plan::rope`] for families whose files, as llama.cpp writes them, do not tell the base.
    pub(super) fn rope_with_own_base(&mut self, rope: &Rope, n_rot: usize, context: usize) -> Result<()> {
        self.key("kinglet.rope_theta", Value::F32(rope.theta as f32));
        self.rope(rope, n_rot, context)
    }

    /// Keys and tensors of a rotary embedding over `n_rot` values of each head, in a model for `context` positions.
    pub(super) fn rope(&mut self, rope: &Rope, n_rot: usize, context: usize) -> Result<()> {
        self.float("rope.freq_base", rope.theta);
        let p = &rope.parameters;
        let original = p.opt_size(&["original_max_position_embeddings"])?;
        match rope.kind.as_str() {
            "default" => Ok(()),
            "linear" => {
                self.set("rope.scaling.type", Value::Text("linear".to_owned()));
                self.float("rope.scaling.factor", p.float(&["factor"])?);
                Ok(())
            }
            "yarn" => {
                let (factor, given) = (p.float(&["factor"])?, p.opt_float(&["attention_factor"])?);
                self.set("rope.scaling.type", Value::Text("yarn".to_owned()));
                self.float("rope.scaling.factor", factor);
                self.number("rope.scaling.original_context_length", original.unwrap_or(context))?;
                for (key, name) in [("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")] {
                    if let Some(beta) = p.opt_float(&[name])? {
                        self.float(&format!("rope.scaling.{key}"), beta);
                    }
                }
                if p.get(&["mscale", "mscale_all_dim"]).is_some() {
                    return p.fail("key `mscale` of the rotary embedding is not supported");
                }
                if let Some(given) = given {
                    // Decoders multiply what is written by what they compute themselves.
                    let computed = if factor > 1.0 { 0.1 * libm::log(factor) + 1.0 } else { 1.0 };
                    self.float("rope.scaling.attn_factor", given / computed);
                }
                Ok(())
            }
            "llama3" => {
                let factors = self.llama3(rope, n_rot, original.unwrap_or(8192) as f64)?;
                self.values("rope_freqs.weight", factors);
                Ok(())
            }
            "longrope" | "su" => self.longrope(rope, n_rot, context, original),
            other => p.fail(format_args!(
                "the rotary embedding `{other}` is not supported (default, linear, yarn, llama3 and longrope are)"
            )),
        }
    }

    /// Llama 3.1's factors: low frequencies are divided by `factor`, high ones stay, and between the two it is blended.
    fn llama3(&self, rope: &Rope, n_rot: usize, original: f64) -> Result<Vec<f32>> {
        let p = &rope.parameters;
        let value = |name, usual| -> Result<f64> { Ok(p.opt_float(&[name])?.unwrap_or(usual)) };
        let factor = value("factor", 8.0)?;
        let (low, high) = (value("low_freq_factor", 1.0)?, value("high_freq_factor", 4.0)?);
        if !(factor > 0.0 && low > 0.0 && high > low) {
            return p.fail("the factors of the rotary embedding make no sense");
        }
        let one = |i: usize| {
            let frequency = 1.0 / libm::pow(rope.theta, (2 * i) as f64 / n_rot as f64);
            let wavelength = 2.0 * std::f64::consts::PI / frequency;
            if wavelength < original / high {
                1.0
            } else if wavelength > original / low {
                factor as f32
            } else {
                let smooth = (original / wavelength - low) / (high - low);
                (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
            }
        };
        Ok((0..n_rot / 2).map(one).collect())
    }

    fn longrope(&mut self, rope: &Rope, n_rot: usize, context: usize, original: Option<usize>) -> Result<()> {
        let p = &rope.parameters;
        let original = match original {
            Some(n) => n,
            None => self.config.opt_size(&["original_max_position_embeddings"])?.unwrap_or(context),
        };
        for (name, from) in [(LONG, "long_factor"), (SHORT, "short_factor")] {
            let factors = p.need(&[from], p.opt_floats(&[from])?)?;
            if factors.len() != n_rot / 2 {
                let n = factors.len();
                return p.fail(format_args!("key `{from}` has {n} values for {} pairs", n_rot / 2));
            }
            self.values(name, factors);
        }
        self.set("rope.scaling.type", Value::Text("longrope".to_owned()));
        self.number("rope.scaling.original_context_length", original)?;
        let ratio = context as f64 / original as f64;
        let computed = if ratio > 1.0 && original > 1 {
            (1.0 + libm::log(ratio) / libm::log(original as f64)).sqrt()
        } else {
            1.0
        };
        let factor = p.opt_float(&["attention_factor"])?.unwrap_or(computed);
        self.float("rope.scaling.attn_factor", factor);
        Ok(())
    }
}
