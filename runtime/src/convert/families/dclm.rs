//! DCLM, made with open_lm: LayerNorm without bias, queries and keys normed over all heads. The GGUF is kinglet's own definition.

use super::{Order, Plan, Result};

pub(super) fn plan(p: &mut Plan<'_>) -> Result<()> {
    // Settings are in the configuration itself, or as the arguments that the model was made with.
    let mut c = p.config.clone();
    for name in ["params_args_dict", "params"] {
        if let Some(inner) = p.config.inner(&[name])? {
            c = c.or(&inner);
        }
    }
    let expect = |names: &[&str], good: &[&str]| match c.opt_text(names)? {
        Some(value) if !good.contains(&value) => {
            c.fail(format_args!("`{value}` of key `{}` is not supported", names.join("` or `")))
        }
        _ => Ok(()),
    };
    expect(&["model_norm", "norm_type"], &["gain_only_lp_layer_norm", "gain_only_layer_norm"])?;
    expect(&["ffn_type"], &["swiglu", "swiglu_torch"])?;
    expect(&["positional_embedding_type"], &["rotary"])?;
    if c.opt_bool(&["post_embed_norm"])? == Some(true) {
        return c.fail("key `post_embed_norm` is set, which is not supported");
    }
    let (dim, heads) = (c.size(&["hidden_dim", "dim"])?, c.size(&["n_heads"])?);
    if !dim.is_multiple_of(heads) {
        return c.fail(format_args!("a width of {dim} is not a multiple of {heads} heads"));
    }
    let layers = c.size(&["n_layers"])?;
    let prefix = if p.has("tok_embeddings.weight") { "" } else { "model." };
    // The width is not in the configuration.
    let width = p.shape(&format!("{prefix}layers.0.feed_forward.w3.weight"))?.get(1).copied().unwrap_or(0);
    p.number("context_length", c.size(&["seq_len"])?)?;
    p.number("embedding_length", dim)?;
    p.number("block_count", layers)?;
    p.number("feed_forward_length", width)?;
    p.number("attention.head_count", heads)?;
    p.number("attention.head_count_kv", heads)?;
    p.float("attention.layer_norm_epsilon", c.opt_float(&["norm_eps"])?.unwrap_or(1e-5));
    p.number("rope.dimension_count", dim / heads)?;
    p.float("rope.freq_base", c.opt_float(&["rotary_base_frequency"])?.unwrap_or(10000.0));
    p.copy("token_embd.weight", &format!("{prefix}tok_embeddings.weight"))?;
    for i in 0..layers {
        let (to, from) = (|n: &str| format!("blk.{i}.{n}"), |n: &str| format!("{prefix}layers.{i}.{n}"));
        p.norm(&to("attn_norm"), &from("attention_norm"))?;
        p.norm(&to("ffn_norm"), &from("ffn_norm"))?;
        let fused = from("attention.in_proj.weight");
        let shape = p.shape(&fused)?;
        if shape.first() != Some(&(3 * dim)) {
            return Err(format!("tensor `{fused}` has the shape {shape:?}, and not {} rows", 3 * dim));
        }
        for (part, first) in [("q", 0), ("k", dim), ("v", 2 * dim)] {
            p.part(&to(&format!("attn_{part}.weight")), &fused, first, dim)?;
        }
        p.norm(&to("attn_q_norm"), &from("attention.q_norm"))?;
        p.norm(&to("attn_k_norm"), &from("attention.k_norm"))?;
        p.linear(&to("attn_output"), &from("attention.out_proj"), Order::Plain)?;
        p.halves(&to("ffn_gate.weight"), &to("ffn_up.weight"), &from("feed_forward.w12.weight"), width)?;
        p.linear(&to("ffn_down"), &from("feed_forward.w3"), Order::Plain)?;
    }
    p.norm("output_norm", &format!("{prefix}norm"))?;
    p.ignore(&["pos_embed.inv_freq"]);
    let tied = c.opt_bool(&["weight_tying"])?.unwrap_or(false);
    p.output(&format!("{prefix}output.weight"), tied)
}
