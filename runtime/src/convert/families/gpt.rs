//! GPT-NeoX (Pythia) and GPT-2 (Cerebras-GPT, LaMini-GPT): fused projections with biases, LayerNorm, GELU.

use super::{Order, Plan, Result};
use crate::convert::writer::Value;

pub(super) fn gptneox(p: &mut Plan<'_>) -> Result<()> {
    let c = p.config;
    let (dim, heads) = (c.size(&["hidden_size"])?, c.size(&["num_attention_heads"])?);
    let (layers, context) = (c.size(&["num_hidden_layers"])?, c.size(&["max_position_embeddings"])?);
    if !dim.is_multiple_of(heads) {
        return c.fail(format_args!("hidden_size {dim} is not a multiple of {heads} heads"));
    }
    let head_dim = dim / heads;
    p.number("context_length", context)?;
    p.number("embedding_length", dim)?;
    p.number("block_count", layers)?;
    p.number("feed_forward_length", c.size(&["intermediate_size"])?)?;
    p.number("attention.head_count", heads)?;
    let n_rot = (c.rotary_part(&["rotary_pct"])?.unwrap_or(0.25) * head_dim as f64) as usize;
    p.number("rope.dimension_count", n_rot)?;
    let parallel = c.opt_bool(&["use_parallel_residual"])?.unwrap_or(true);
    p.set("use_parallel_residual", Value::Bool(parallel));
    p.float("attention.layer_norm_epsilon", c.opt_float(&["layer_norm_eps"])?.unwrap_or(1e-5));
    p.activation(&["hidden_act"], "gelu")?;
    let rope = c.rope("full_attention", &["rotary_emb_base", "rope_theta"], 10000.0)?;
    p.rope_with_own_base(&rope, n_rot, context)?;
    p.copy("token_embd.weight", "gpt_neox.embed_in.weight")?;
    let fused = Order::FusedHeads { heads, head_dim };
    for i in 0..layers {
        let (to, from) = (format!("blk.{i}."), format!("gpt_neox.layers.{i}."));
        let (to, from) = (|n: &str| format!("{to}{n}"), |n: &str| format!("{from}{n}"));
        p.norm(&to("attn_norm"), &from("input_layernorm"))?;
        p.norm(&to("ffn_norm"), &from("post_attention_layernorm"))?;
        p.linear(&to("attn_qkv"), &from("attention.query_key_value"), fused)?;
        p.linear(&to("attn_output"), &from("attention.dense"), Order::Plain)?;
        p.linear(&to("ffn_up"), &from("mlp.dense_h_to_4h"), Order::Plain)?;
        p.linear(&to("ffn_down"), &from("mlp.dense_4h_to_h"), Order::Plain)?;
    }
    p.norm("output_norm", "gpt_neox.final_layer_norm")?;
    // Masks that old checkpoints hold.
    p.ignore(&[".attention.bias", ".attention.masked_bias"]);
    let tied = c.opt_bool(&["tie_word_embeddings"])?.unwrap_or(false);
    p.output("embed_out.weight", tied)
}

pub(super) fn gpt2(p: &mut Plan<'_>) -> Result<()> {
    let c = p.config;
    let (dim, layers) = (c.size(&["n_embd"])?, c.size(&["n_layer"])?);
    p.number("block_count", layers)?;
    p.number("context_length", c.size(&["n_positions", "n_ctx"])?)?;
    p.number("embedding_length", dim)?;
    p.number("feed_forward_length", c.opt_size(&["n_inner"])?.unwrap_or(4 * dim))?;
    p.number("attention.head_count", c.size(&["n_head"])?)?;
    p.float("attention.layer_norm_epsilon", c.opt_float(&["layer_norm_epsilon"])?.unwrap_or(1e-5));
    if c.opt_bool(&["scale_attn_by_inverse_layer_idx"])? == Some(true) {
        return c.fail("key `scale_attn_by_inverse_layer_idx` is set, which is not supported");
    }
    if c.opt_bool(&["scale_attn_weights"])? == Some(false) {
        p.key("kinglet.attention_scale", Value::F32(1.0));
    }
    // Always written: no other key of a file tells which GELU a model was trained with.
    p.activation(&["activation_function"], "")?;
    if c.get(&["activation_function"]).is_none() {
        p.text("kinglet.activation", "gelu_tanh");
    }
    let prefix = if p.has("wte.weight") { "" } else { "transformer." };
    p.copy("token_embd.weight", &format!("{prefix}wte.weight"))?;
    p.copy("position_embd.weight", &format!("{prefix}wpe.weight"))?;
    for i in 0..layers {
        let (to, from) = (format!("blk.{i}."), format!("{prefix}h.{i}."));
        let (to, from) = (|n: &str| format!("{to}{n}"), |n: &str| format!("{from}{n}"));
        p.norm(&to("attn_norm"), &from("ln_1"))?;
        p.norm(&to("ffn_norm"), &from("ln_2"))?;
        for (name, source) in [
            ("attn_qkv", "attn.c_attn"),
            ("attn_output", "attn.c_proj"),
            ("ffn_up", "mlp.c_fc"),
            ("ffn_down", "mlp.c_proj"),
        ] {
            p.linear(&to(name), &from(source), Order::Transposed)?;
        }
        p.ignore(&[from("attn.bias").as_str(), from("attn.masked_bias").as_str()]);
    }
    p.norm("output_norm", &format!("{prefix}ln_f"))?;
    p.head(true)
}
