//! Gemma 2 and 3: norms that multiply by one more than their weight, windows on some layers.

use super::{Layout, Plan, Result};
use crate::convert::writer::Value;

const LAYER: Layout = Layout {
    prefix: "model.",
    norms: &[
        ("attn_norm", "input_layernorm"),
        ("post_attention_norm", "post_attention_layernorm"),
        ("ffn_norm", "pre_feedforward_layernorm"),
        ("post_ffw_norm", "post_feedforward_layernorm"),
    ],
    matrices: &[
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ],
};

/// What both have in common; `usual` says which layers have a window.
fn plan(p: &mut Plan<'_>, qk_norm: bool, usual: impl Fn(usize) -> bool) -> Result<()> {
    let (c, s) = (p.config, p.sizes()?);
    p.norm_offset = 1.0;
    p.rms_eps()?;
    p.activation(&["hidden_activation"], "gelu_tanh")?;
    let rope = c.rope("full_attention", &["rope_theta"], if qk_norm { 1e6 } else { 10000.0 })?;
    p.rope(&rope, s.head_dim, s.context)?;
    let scalar = c.float(&["query_pre_attn_scalar"])?;
    if scalar <= 0.0 {
        return c.fail("key `query_pre_attn_scalar` is not above zero");
    }
    p.key("kinglet.attention_scale", Value::F32((1.0 / scalar.sqrt()) as f32));
    let window = c.opt_size(&["sliding_window"])?.unwrap_or(0);
    p.set("attention.sliding_window", Value::U32(window as u32));
    let sliding = p.sliding(s.layers, usual)?;
    p.windows(sliding.into_iter().map(|s| if s { window } else { 0 }).collect());
    p.copy("token_embd.weight", "model.embed_tokens.weight")?;
    for i in 0..s.layers {
        p.layer(i, &LAYER)?;
        if qk_norm {
            for part in ["q", "k"] {
                let from = format!("model.layers.{i}.self_attn.{part}_norm");
                p.norm(&format!("blk.{i}.attn_{part}_norm"), &from)?;
            }
        }
    }
    p.norm("output_norm", "model.norm")?;
    p.head(true)
}

/// Softcaps, written as 0 where there are none, because decoders have defaults.
fn softcap(p: &mut Plan<'_>, key: &str, name: &str) -> Result<()> {
    p.float(key, p.config.opt_float(&[name])?.unwrap_or(0.0));
    Ok(())
}

pub(super) fn gemma2(p: &mut Plan<'_>) -> Result<()> {
    softcap(p, "attn_logit_softcapping", "attn_logit_softcapping")?;
    softcap(p, "final_logit_softcapping", "final_logit_softcapping")?;
    plan(p, false, |i| i % 2 == 0)
}

pub(super) fn gemma3(p: &mut Plan<'_>) -> Result<()> {
    let c = p.config;
    if let Some(cap) = c.opt_float(&["attn_logit_softcapping"])? {
        return c.fail(format_args!("key `attn_logit_softcapping` is {cap}; Gemma 3 has none"));
    }
    if c.opt_float(&["final_logit_softcapping"])?.is_some() {
        softcap(p, "final_logit_softcapping", "final_logit_softcapping")?;
    }
    let local = c.rope("sliding_attention", &["rope_local_base_freq"], 10000.0)?;
    // Before transformers 5 the layers with a window have a base of their own and no stretching.
    let nested = c.get(&["rope_parameters"]).is_some();
    if nested && local.kind != "default" {
        return c.fail(format_args!(
            "the rotary embedding `{}` of layers with a window is not supported",
            local.kind
        ));
    }
    p.float("rope.freq_base_swa", local.theta);
    let period = c.opt_size(&["sliding_window_pattern", "_sliding_window_pattern"])?.unwrap_or(6);
    plan(p, true, |i| (i + 1) % period != 0)
}
