//! The spec that most decoders share. An architecture takes it and changes what it does differently.

use super::{
    Activation, AttentionSpec, ExpertsSpec, FfnSpec, LayerSpec, Meta, Mixer, ModelError, ModelSpec, Norm,
    QkNorm, Residual, RopeStyle,
};

/// Heads that a layer may have at most, and experts; the most that are known are 128 and 512. Slopes of so many heads, and names
/// of so many experts, are made before a tensor says that there are fewer.
const MAX_HEADS: usize = 4096;
const MAX_EXPERTS: usize = 1 << 16;

/// How a family differs from the first decoders.
pub(super) struct Base {
    /// Kind of all norms.
    pub(super) norm: Norm,
    /// The rotary embedding's pairs; `None` for models without one.
    pub(super) rope: Option<RopeStyle>,
    /// Activation of the feed-forward network, unless `kinglet.activation` names another.
    pub(super) activation: Activation,
    /// Whether it has a gate.
    pub(super) gated: bool,
    /// Key and value heads of each layer; `None` to read them.
    pub(super) kv_heads: Option<Vec<usize>>,
}

impl Base {
    /// RMSNorm, rotary embedding, SwiGLU: what began with Llama.
    pub(super) fn llama(style: RopeStyle) -> Base {
        let (norm, activation) = (Norm::Rms, Activation::Silu);
        Base { norm, rope: Some(style), activation, gated: true, kv_heads: None }
    }

    /// LayerNorm, no gate: what began with GPT-2.
    pub(super) fn gpt(rope: Option<RopeStyle>, activation: Activation) -> Base {
        Base { norm: Norm::Layer, rope, activation, gated: false, kv_heads: None }
    }

    /// Reads it.
    pub(super) fn read(self, meta: &Meta<'_>) -> Result<ModelSpec, ModelError> {
        let dim = meta.size("embedding_length")?;
        let heads = meta.per_layer("attention.head_count", None)?;
        let kv_heads = match self.kv_heads {
            Some(kv) => kv,
            None => meta.per_layer("attention.head_count_kv", Some(&heads))?,
        };
        // Networks without a gate were always four times as wide as the stream before a key could say otherwise. A file whose
        // networks are all experts needs no key.
        let all_experts = |i| meta.has_tensor(&format!("blk.{i}.ffn_gate_inp.weight"));
        let default = (!self.gated || (0..heads.len()).all(all_experts)).then(|| vec![4 * dim; heads.len()]);
        let ffn_dims = meta.per_layer("feed_forward_length", default.as_deref())?;
        let head_dim = match meta.opt_size("attention.key_length")? {
            Some(n) => n,
            None => dim / heads[0],
        };
        let value_dim = meta.opt_size("attention.value_length")?.unwrap_or(head_dim);
        let fail = |what: String| Err(ModelError::new(meta.gguf.file(), what));
        for (i, (h, kv)) in heads.iter().zip(&kv_heads).enumerate() {
            if *h > MAX_HEADS {
                return fail(format!("layer {i} has {h} query heads; at most {MAX_HEADS} are supported"));
            }
            if h % kv != 0 || kv > h {
                return fail(format!(
                    "layer {i} has {h} query heads for {kv} key heads, which is not a multiple"
                ));
            }
        }
        let scale = meta.attention_scale()?.unwrap_or(1.0 / (head_dim as f32).sqrt());
        let clamp = meta.softcap("attention.clamp_kqv")?;
        let softcap = meta.softcap("attn_logit_softcapping")?;
        let windows = meta.windows(0, None)?;
        let rotated = meta.rope_layers(|_| true)?;
        let activation = meta.activation(self.activation)?;
        let attention = |i: usize| AttentionSpec {
            n_heads: heads[i],
            n_kv_heads: kv_heads[i],
            head_dim,
            value_dim,
            latent: None,
            clamp,
            qk_norm: QkNorm::None,
            rope: (self.rope.is_some() && rotated[i]).then_some(0),
            rope_start: 0,
            window: windows[i],
            scale,
            softcap,
            slopes: Vec::new(),
            sub_norm: false,
        };
        let ffn = |i: usize| FfnSpec {
            dim: ffn_dims[i],
            activation,
            gated: self.gated,
            sub_norm: false,
            experts: None,
        };
        let layer = |i: usize| LayerSpec {
            mixer: Mixer::Attention(attention(i)),
            ffn: ffn(i),
            residual: Residual::Serial,
            mixer_norm: Some("attn_norm"),
            ffn_norm: Some("ffn_norm"),
            post_norms: false,
            residual_scale: 1.0,
        };
        let norm_eps = match self.norm {
            Norm::Rms => meta.positive("attention.layer_norm_rms_epsilon")?,
            Norm::Layer => meta.positive("attention.layer_norm_epsilon")?,
            Norm::Plain => meta.opt_positive("attention.layer_norm_epsilon")?.unwrap_or(1e-5),
        };
        Ok(ModelSpec {
            architecture: meta.architecture.to_owned(),
            vocab_size: meta.vocab_size()?,
            dim,
            context_length: meta.size("context_length")?,
            embedding_scale: 1.0,
            learned_positions: false,
            embedding_norm: false,
            norm: self.norm,
            norm_eps,
            ropes: self.rope.map(|style| meta.rope(style, head_dim)).transpose()?.into_iter().collect(),
            layers: (0..heads.len()).map(layer).collect(),
            output_norm: "output_norm",
            logit_scale: 1.0,
            logit_softcap: meta.softcap("final_logit_softcapping")?,
        })
    }
}

/// What most architectures change.
impl ModelSpec {
    /// Every attention of the model, to be changed.
    pub(super) fn attentions_mut(&mut self) -> impl Iterator<Item = &mut AttentionSpec> {
        self.layers.iter_mut().filter_map(|l| match &mut l.mixer {
            Mixer::Attention(a) => Some(a),
            Mixer::ShortConv(_) => None,
        })
    }

    /// Norms queries and keys.
    pub(super) fn norm_queries_and_keys(mut self, how: QkNorm) -> ModelSpec {
        self.attentions_mut().for_each(|a| a.qk_norm = how);
        self
    }

    /// Gives layers of their own windows, of which every `period`-th has none ([`Meta::windows`]).
    pub(super) fn windows(
        &mut self,
        meta: &Meta<'_>,
        period: usize,
        default: Option<usize>,
    ) -> Result<(), ModelError> {
        let windows = meta.windows(period, default)?;
        self.attentions_mut().zip(windows).for_each(|(a, window)| a.window = window);
        Ok(())
    }

    /// Lets both halves of every layer read the stream at once; without `ffn_norm` they share the first half's norm.
    pub(super) fn parallel(&mut self, mixer_norm: &'static str, ffn_norm: Option<&'static str>) {
        for layer in &mut self.layers {
            layer.residual = Residual::Parallel;
            (layer.mixer_norm, layer.ffn_norm) = (Some(mixer_norm), ffn_norm);
        }
    }

    /// Adds biases to scores that grow with the distance, up to `max` (Press et al., "Train Short, Test Long", 2022).
    pub(super) fn alibi(&mut self, max: f32) {
        for a in self.attentions_mut() {
            a.slopes = slopes(a.n_heads, f64::from(max));
        }
    }

    /// The multipliers of Granite and MiniCPM, where 0 is none; `logit_scale` divides.
    pub(super) fn multipliers(
        &mut self,
        meta: &Meta<'_>,
        embedding: f32,
        residual: f32,
        logit: f32,
    ) -> Result<(), ModelError> {
        let said = |key: &str, default: f32| -> Result<f32, ModelError> {
            match meta.opt_float(key)? {
                None => Ok(default),
                Some(0.0) => Ok(1.0),
                Some(_) => Ok(meta.opt_positive(key)?.unwrap_or(default)),
            }
        };
        self.embedding_scale = said("embedding_scale", embedding)?;
        self.logit_scale = 1.0 / said("logit_scale", logit)?;
        let residual = said("residual_scale", residual)?;
        self.layers.iter_mut().for_each(|l| l.residual_scale = residual);
        Ok(())
    }

    /// Makes a mixture of experts of every layer that has one. `renormalize` unless the file says otherwise.
    pub(super) fn experts(&mut self, meta: &Meta<'_>, renormalize: bool) -> Result<(), ModelError> {
        let fail = |key: &str, what: String| {
            Err(ModelError::new(meta.gguf.file(), format!("key `{}` {what}", meta.key(key))))
        };
        let (n, used) = (meta.size("expert_count")?, meta.size("expert_used_count")?);
        if n > MAX_EXPERTS {
            return fail("expert_count", format!("is {n}; at most {MAX_EXPERTS} are supported"));
        }
        if used > n {
            return fail("expert_used_count", format!("is {used} of {n} experts"));
        }
        let gating = meta.gguf.uint(&meta.key("expert_gating_func"))?.unwrap_or(0);
        if gating > 1 {
            return fail("expert_gating_func", format!("is {gating}; only softmax (1) is supported"));
        }
        let renormalize = meta.opt_bool("expert_weights_norm")?.unwrap_or(renormalize);
        let scale = meta.opt_float("expert_weights_scale")?.filter(|s| *s != 0.0).unwrap_or(1.0);
        let width = meta.opt_size("expert_feed_forward_length")?;
        let said_shared = match meta.gguf.uint(&meta.key("expert_shared_feed_forward_length"))? {
            None | Some(0) => None,
            Some(_) => meta.opt_size("expert_shared_feed_forward_length")?,
        };
        for (i, layer) in self.layers.iter_mut().enumerate() {
            let rows = |part: &str| meta.dimension(&format!("blk.{i}.{part}.weight"), 1);
            let columns = |part: &str| meta.dimension(&format!("blk.{i}.{part}.weight"), 0);
            let found = columns("ffn_down_exps").or(columns("ffn_down.0"));
            if rows("ffn_gate_inp").is_none() && found.is_none() {
                continue;
            }
            // The widths have keys in some files only.
            layer.ffn.dim = width.or(found).unwrap_or(layer.ffn.dim);
            let shared = said_shared.or(rows("ffn_up_shexp"));
            layer.ffn.experts = Some(ExpertsSpec { n, used, renormalize, scale, shared });
        }
        Ok(())
    }
}

/// ALiBi's slopes: powers of one number for the heads up to a power of two, and the odd powers of its root for the rest.
fn slopes(n_heads: usize, max: f64) -> Vec<f32> {
    let whole = 1usize << n_heads.max(1).ilog2();
    let slope = |h: usize| {
        let power = if h < whole { (h + 1) as f64 } else { (2 * (h - whole) + 1) as f64 / 2.0 };
        libm::exp2(-max * power / whole as f64) as f32
    };
    (0..n_heads).map(slope).collect()
}

#[cfg(test)]
mod tests {
    use super::slopes;

    #[test]
    fn slopes_of_any_number_of_heads() {
        assert_eq!(slopes(4, 8.0), [0.25, 0.0625, 1.0 / 64.0, 1.0 / 256.0]);
        // Those of four, then the first and third of eight.
        assert_eq!(slopes(6, 8.0), [0.25, 0.0625, 1.0 / 64.0, 1.0 / 256.0, 0.5, 0.125]);
    }
}
