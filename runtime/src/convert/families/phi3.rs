//! Phi-3, Phi-3.5, Phi-4 and Phi-4-mini: fused projections, LongRoPE.

use super::{Layout, Plan, Result};
use crate::convert::writer::Value;

const LAYER: Layout = Layout {
    prefix: "model.",
    norms: &[("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")],
    matrices: &[
        ("attn_qkv", "self_attn.qkv_proj"),
        ("attn_output", "self_attn.o_proj"),
        // Gates first, then what they gate.
        ("ffn_up", "mlp.gate_up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ],
};

pub(super) fn plan(p: &mut Plan<'_>) -> Result<()> {
    let s = p.sizes()?;
    p.rms_eps()?;
    p.activation(&["hidden_act"], "silu")?;
    let part = p.config.rotary_part(&["partial_rotary_factor"])?.unwrap_or(1.0);
    let n_rot = (part * s.head_dim as f64) as usize;
    p.number("rope.dimension_count", n_rot)?;
    let rope = p.config.rope("full_attention", &["rope_theta"], 10000.0)?;
    if rope.kind == "default" {
        let original = p.config.opt_size(&["original_max_position_embeddings"])?.unwrap_or(s.context);
        p.number("rope.scaling.original_context_length", original)?;
    }
    p.rope(&rope, n_rot, s.context)?;
    // 0 tells a Phi-4 from a Phi-3.
    let window = p.config.opt_size(&["sliding_window"])?.unwrap_or(0);
    p.set("attention.sliding_window", Value::U32(window as u32));
    p.copy("token_embd.weight", "model.embed_tokens.weight")?;
    for i in 0..s.layers {
        p.layer(i, &LAYER)?;
    }
    p.norm("output_norm", "model.norm")?;
    p.head(false)
}
