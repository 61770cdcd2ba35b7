//! StableLM 3B and Zephyr, StableLM 2 (1.6B and 12B): LayerNorm, part of each head rotated.

use super::{Order, Plan, Result, llama};
use crate::convert::writer::Value;

pub(super) fn plan(p: &mut Plan<'_>) -> Result<()> {
    let s = p.sizes()?;
    let c = p.config;
    let part = c.rotary_part(&["partial_rotary_factor", "rope_pct"])?.unwrap_or(0.25);
    let n_rot = (part * s.head_dim as f64) as usize;
    p.number("rope.dimension_count", n_rot)?;
    let parallel = c.opt_bool(&["use_parallel_residual"])?.unwrap_or(false);
    p.set("use_parallel_residual", Value::Bool(parallel));
    p.float("attention.layer_norm_epsilon", c.opt_float(&["layer_norm_eps", "norm_eps"])?.unwrap_or(1e-5));
    p.activation(&["hidden_act"], "silu")?;
    let rope = c.rope("full_attention", &["rope_theta"], 10000.0)?;
    p.rope_with_own_base(&rope, n_rot, s.context)?;
    let normed = c.opt_bool(&["qk_layernorm"])?.unwrap_or(false);
    p.copy("token_embd.weight", "model.embed_tokens.weight")?;
    for i in 0..s.layers {
        let from = |n: &str| format!("model.layers.{i}.{n}");
        p.norm(&format!("blk.{i}.attn_norm"), &from("input_layernorm"))?;
        // Parallel halves share a norm.
        if !parallel {
            p.norm(&format!("blk.{i}.ffn_norm"), &from("post_attention_layernorm"))?;
        }
        for (name, source) in llama::LAYER.matrices {
            p.linear(&format!("blk.{i}.{name}"), &from(source), Order::Plain)?;
        }
        for (part, heads) in [("q", s.heads), ("k", s.kv_heads)] {
            p.linear(
                &format!("blk.{i}.attn_{part}"),
                &from(&format!("self_attn.{part}_proj")),
                Order::Plain,
            )?;
            if normed {
                let norms: Vec<String> = (0..heads)
                    .map(|h| from(&format!("self_attn.{part}_layernorm.norms.{h}.weight")))
                    .collect();
                p.stack(&format!("blk.{i}.attn_{part}_norm.weight"), &norms)?;
            }
        }
    }
    p.norm("output_norm", "model.norm")?;
    p.head(false)
}
