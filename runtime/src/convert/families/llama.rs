//! Llama and what differs from it in little: Mistral, Fox, Qwen2, Qwen3, MiniCPM, MiniCPM3.

use super::{Layout, Order, Plan, Result};

pub(super) const LAYER: Layout = Layout {
    prefix: "model.",
    norms: &[("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")],
    matrices: &[
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ],
};

/// Sizes that every family of this kind has.
pub(super) struct Sizes {
    pub layers: usize,
    pub dim: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub context: usize,
}

impl Plan<'_> {
    /// Reads the sizes, and writes their keys.
    pub(super) fn sizes(&mut self) -> Result<Sizes> {
        let c = self.config;
        let (dim, heads) = (c.size(&["hidden_size"])?, c.size(&["num_attention_heads"])?);
        let head_dim = match c.opt_size(&["head_dim"])? {
            Some(head_dim) => head_dim,
            None if dim.is_multiple_of(heads) => dim / heads,
            None => return c.fail(format_args!("hidden_size {dim} is not a multiple of {heads} heads")),
        };
        let sizes = Sizes {
            layers: c.size(&["num_hidden_layers"])?,
            dim,
            heads,
            kv_heads: c.opt_size(&["num_key_value_heads"])?.unwrap_or(heads),
            head_dim,
            context: c.size(&["max_position_embeddings"])?,
        };
        self.number("block_count", sizes.layers)?;
        self.number("context_length", sizes.context)?;
        self.number("embedding_length", dim)?;
        self.number("feed_forward_length", c.size(&["intermediate_size"])?)?;
        self.number("attention.head_count", heads)?;
        self.number("attention.head_count_kv", sizes.kv_heads)?;
        if head_dim * heads != dim || c.get(&["head_dim"]).is_some() {
            self.number("attention.key_length", head_dim)?;
            self.number("attention.value_length", head_dim)?;
        }
        Ok(sizes)
    }

    pub(super) fn rms_eps(&mut self) -> Result<()> {
        let eps = self.config.opt_float(&["rms_norm_eps"])?.unwrap_or(1e-6);
        self.float("attention.layer_norm_rms_epsilon", eps);
        Ok(())
    }

    fn body(&mut self, s: &Sizes, order: Order, qk_norm: bool) -> Result<()> {
        self.rms_eps()?;
        self.activation(&["hidden_act"], "silu")?;
        let rope = self.config.rope("full_attention", &["rope_theta"], 10000.0)?;
        self.rope(&rope, s.head_dim, s.context)?;
        self.copy("token_embd.weight", "model.embed_tokens.weight")?;
        for i in 0..s.layers {
            self.layer(i, &LAYER)?;
            for part in ["q", "k"] {
                let from = format!("model.layers.{i}.self_attn.{part}_");
                self.linear(&format!("blk.{i}.attn_{part}"), &format!("{from}proj"), order)?;
                if qk_norm {
                    self.norm(&format!("blk.{i}.attn_{part}_norm"), &format!("{from}norm"))?;
                }
            }
        }
        self.norm("output_norm", "model.norm")
    }

    /// The output is the embedding when the configuration says so; a checkpoint without an output that does not is damaged.
    pub(super) fn head(&mut self, usual: bool) -> Result<()> {
        let tied = self.config.opt_bool(&["tie_word_embeddings"])?.unwrap_or(usual);
        self.output("lm_head.weight", tied)
    }
}

fn permuted(s: &Sizes) -> Result<Order> {
    match s.head_dim % 2 {
        0 => Ok(Order::Interleaved { head_dim: s.head_dim }),
        _ => Err(format!("heads of {} values cannot be rotated in pairs", s.head_dim)),
    }
}

pub(super) fn llama(p: &mut Plan<'_>) -> Result<()> {
    let s = p.sizes()?;
    let order = permuted(&s)?;
    p.number("rope.dimension_count", s.head_dim)?;
    if let Some(window) = p.config.opt_size(&["sliding_window"])? {
        p.windows(vec![window; s.layers]);
    }
    p.body(&s, order, false)?;
    // Fox is tied, and says so; transformers' default for the rest is not.
    p.head(false)
}

/// The windows of Qwen: of the layers from `max_window_layers` on.
fn qwen_windows(p: &mut Plan<'_>, layers: usize) -> Result<()> {
    let used = p.config.opt_bool(&["use_sliding_window"])?.unwrap_or(false);
    let Some(window) = p.config.opt_size(&["sliding_window"])?.filter(|_| used) else { return Ok(()) };
    let first = p.config.opt_size(&["max_window_layers"])?.unwrap_or(28);
    let sliding = p.sliding(layers, |i| i >= first)?;
    p.windows(sliding.into_iter().map(|s| if s { window } else { 0 }).collect());
    Ok(())
}

pub(super) fn qwen2(p: &mut Plan<'_>) -> Result<()> {
    let s = p.sizes()?;
    qwen_windows(p, s.layers)?;
    p.body(&s, Order::Plain, false)?;
    p.head(false)
}

pub(super) fn qwen3(p: &mut Plan<'_>) -> Result<()> {
    let s = p.sizes()?;
    qwen_windows(p, s.layers)?;
    p.body(&s, Order::Plain, true)?;
    p.head(false)
}

/// The factors of MiniCPM, for which llama.cpp's decoder has the same defaults as the models have values.
fn multipliers(p: &mut Plan<'_>, s: &Sizes) -> Result<()> {
    let c = p.config;
    if c.opt_size(&["num_experts"])?.is_some() {
        return c.fail("MiniCPM with experts is not supported");
    }
    let depth = c.float(&["scale_depth"])?;
    p.float("embedding_scale", c.float(&["scale_emb"])?);
    p.float("residual_scale", depth / (s.layers as f64).sqrt());
    p.float("logit_scale", s.dim as f64 / c.float(&["dim_model_base"])?);
    Ok(())
}

pub(super) fn minicpm(p: &mut Plan<'_>) -> Result<()> {
    let s = p.sizes()?;
    multipliers(p, &s)?;
    let order = permuted(&s)?;
    p.body(&s, order, false)?;
    // The configuration's default, of transformers.
    p.head(true)
}

const LATENT: Layout = Layout {
    prefix: "model.",
    norms: &[
        ("attn_norm", "input_layernorm"),
        ("attn_q_a_norm", "self_attn.q_a_layernorm"),
        ("attn_kv_a_norm", "self_attn.kv_a_layernorm"),
        ("ffn_norm", "post_attention_layernorm"),
    ],
    matrices: &[
        ("attn_q_a", "self_attn.q_a_proj"),
        ("attn_q_b", "self_attn.q_b_proj"),
        ("attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"),
        ("attn_kv_b", "self_attn.kv_b_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ],
};

/// Queries, keys and values from narrow latent vectors; only the end of each head is rotated.
pub(super) fn minicpm3(p: &mut Plan<'_>) -> Result<()> {
    let (c, s) = (p.config, p.sizes()?);
    multipliers(p, &s)?;
    p.rms_eps()?;
    p.activation(&["hidden_act"], "silu")?;
    let n_rot = c.size(&["qk_rope_head_dim"])?;
    p.number("attention.q_lora_rank", c.size(&["q_lora_rank"])?)?;
    p.number("attention.kv_lora_rank", c.size(&["kv_lora_rank"])?)?;
    p.number("attention.key_length", c.size(&["qk_nope_head_dim"])? + n_rot)?;
    if let Some(width) = c.opt_size(&["v_head_dim"])? {
        p.number("attention.value_length", width)?;
    }
    p.number("rope.dimension_count", n_rot)?;
    let rope = c.rope("full_attention", &["rope_theta"], 10000.0)?;
    p.rope(&rope, n_rot, s.context)?;
    p.copy("token_embd.weight", "model.embed_tokens.weight")?;
    for i in 0..s.layers {
        p.layer(i, &LATENT)?;
    }
    p.norm("output_norm", "model.norm")?;
    p.head(true)
}
