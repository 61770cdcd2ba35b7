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
    for (name, usual) in [("post_embed_norm", false), ("qk_norm", true), ("apply_qk_norm", true)] {
        if c.opt_bool(&[name])?.is_some_and(|set| set != usual) {
            return c.fail(format_args!("key `{name}` is {}, which is not supported", !usual));
        }
    }
    // How many experts there would be is said even where no layer has any.
    if c.opt_count(&["moe_freq"])? > 0 {
        return c.fail("key `moe_freq` is set; experts are not supported");
    }
    // Sizes may be left to a configuration of open_lm that is only named, and then are known from the tensors or from the name.
    let prefix = p.prefix_of("tok_embeddings.weight")?;
    let preset = c.opt_text(&["model"])?.and_then(preset);
    let dim = match c.opt_size(&["hidden_dim", "dim"])? {
        Some(dim) => dim,
        None => p.shape(&format!("{prefix}tok_embeddings.weight"))?.get(1).copied().unwrap_or(0),
    };
    let layers = match c.opt_size(&["n_layers"])? {
        Some(layers) => layers,
        None => (0..).take_while(|i| p.has(&format!("{prefix}layers.{i}.attention_norm.weight"))).count(),
    };
    let heads = match (c.opt_size(&["n_heads"])?, preset) {
        (Some(heads), _) => heads,
        (None, Some(heads)) => heads,
        (None, None) => c.size(&["n_heads"])?,
    };
    if !dim.is_multiple_of(heads) {
        return c.fail(format_args!("a width of {dim} is not a multiple of {heads} heads"));
    }
    // The width is not in the configuration.
    let width = p.shape(&format!("{prefix}layers.0.feed_forward.w3.weight"))?.get(1).copied().unwrap_or(0);
    p.number("context_length", c.opt_size(&["seq_len"])?.unwrap_or(2048))?;
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

/// Heads of the configurations that open_lm and DCLM name: `open_lm_1b_swiglutorch`, `d=1024_l=24_h=8`, as they are or as paths of
/// files.
fn preset(name: &str) -> Option<usize> {
    let name = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".json");
    if let Some(heads) = name.split('_').find_map(|part| part.strip_prefix("h=")) {
        return heads.parse().ok().filter(|n| *n > 0);
    }
    let size = name.strip_prefix("open_lm_")?.split('_').next()?;
    match size {
        "411m" => Some(8),
        "1b" => Some(16),
        "3b" | "7b" => Some(32),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::preset;

    #[test]
    fn heads_by_name() {
        for (name, heads) in [
            ("open_lm_1b_swiglutorch", Some(16)),
            ("training/open_lm_configs/open_lm_7b_swiglutorch.json", Some(32)),
            ("d=1024_l=24_h=8", Some(8)),
            ("open_lm_x", None),
            ("d=1_h=0", None),
            ("", None),
        ] {
            assert_eq!(preset(name), heads, "{name}");
        }
    }
}
