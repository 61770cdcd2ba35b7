//! OpenELM: each layer has its own number of heads and width.

use super::{Order, Plan, Result};
use crate::convert::writer::Value;

pub(super) fn plan(p: &mut Plan<'_>) -> Result<()> {
    let c = p.config;
    let (layers, dim) = (c.size(&["num_transformer_layers"])?, c.size(&["model_dim"])?);
    let (head_dim, context) = (c.size(&["head_dim"])?, c.size(&["max_context_length"])?);
    if c.opt_bool(&["ffn_with_glu"])? == Some(false) {
        return c.fail("key `ffn_with_glu` is false, which is not supported");
    }
    if let Some(other) = c.opt_text(&["normalization_layer_name"])?.filter(|n| *n != "rms_norm") {
        return c.fail(format_args!("the norm `{other}` is not supported"));
    }
    if c.opt_bool(&["normalize_qk_projections"])? == Some(false) {
        return c.fail("key `normalize_qk_projections` is false, which is not supported");
    }
    let heads = |name: &str| -> Result<Vec<i32>> {
        let all = match c.opt_sizes(&[name]) {
            Ok(Some(all)) => all,
            // One number for all layers.
            _ => vec![c.size(&[name])?; layers],
        };
        if all.len() != layers {
            return c.fail(format_args!("key `{name}` has {} values for {layers} layers", all.len()));
        }
        Ok(all.into_iter().map(|n| n as i32).collect())
    };
    let (queries, keys) = (heads("num_query_heads")?, heads("num_kv_heads")?);
    let mut widths = Vec::new();
    for i in 0..layers {
        widths.push(
            p.shape(&format!("transformer.layers.{i}.ffn.proj_2.weight"))?.get(1).copied().unwrap_or(0),
        );
    }
    p.number("block_count", layers)?;
    p.number("context_length", context)?;
    p.number("embedding_length", dim)?;
    p.set("feed_forward_length", Value::I32s(widths.iter().map(|n| *n as i32).collect()));
    p.set("attention.head_count", Value::I32s(queries));
    p.set("attention.head_count_kv", Value::I32s(keys));
    p.float("rope.freq_base", c.opt_float(&["rope_freq_constant"])?.unwrap_or(10000.0));
    // The norm's own default; no key of the configuration has it.
    p.float("attention.layer_norm_rms_epsilon", 1e-6);
    p.number("rope.dimension_count", head_dim)?;
    p.number("attention.key_length", head_dim)?;
    p.number("attention.value_length", head_dim)?;
    p.activation(&["activation_fn_name"], "silu")?;
    p.copy("token_embd.weight", "transformer.token_embeddings.weight")?;
    for (i, width) in widths.into_iter().enumerate() {
        let (to, from) = (|n: &str| format!("blk.{i}.{n}"), |n: &str| format!("transformer.layers.{i}.{n}"));
        p.norm(&to("attn_norm"), &from("attn_norm"))?;
        p.norm(&to("ffn_norm"), &from("ffn_norm"))?;
        p.norm(&to("attn_q_norm"), &from("attn.q_norm"))?;
        p.norm(&to("attn_k_norm"), &from("attn.k_norm"))?;
        p.linear(&to("attn_qkv"), &from("attn.qkv_proj"), Order::Plain)?;
        p.linear(&to("attn_output"), &from("attn.out_proj"), Order::Plain)?;
        p.halves(&to("ffn_gate.weight"), &to("ffn_up.weight"), &from("ffn.proj_1.weight"), width)?;
        p.linear(&to("ffn_down"), &from("ffn.proj_2"), Order::Plain)?;
    }
    p.norm("output_norm", "transformer.norm")?;
    let tied = c.opt_bool(&["share_input_output_layers"])?.unwrap_or(true);
    p.output("lm_head.weight", tied)
}

impl Plan<'_> {
    /// Two matrices of `width` rows that the checkpoint holds as one, the first above the second.
    pub(super) fn halves(&mut self, first: &str, second: &str, from: &str, width: usize) -> Result<()> {
        let shape = self.shape(from)?;
        if shape.first() != Some(&(2 * width)) {
            return Err(format!("tensor `{from}` has the shape {shape:?}, and not {} rows", 2 * width));
        }
        self.part(first, from, 0, width)?;
        self.part(second, from, width, width)
    }
}
