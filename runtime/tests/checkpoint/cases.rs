//! Which fixture is which family's checkpoint, with the `config.json` that it would have.

use super::{Family, Undo, fixture, tensors, write};
use kinglet::gguf::Gguf;
use serde_json::{Value, json};
use std::path::Path;

fn number(gguf: &Gguf, key: &str) -> Option<Value> {
    let arch = gguf.string("general.architecture").unwrap().unwrap();
    let key = format!("{arch}.{key}");
    match gguf.uints(&key) {
        Ok(None) => None,
        Ok(Some(all)) if all.len() == 1 => Some(json!(all[0])),
        Ok(Some(all)) => Some(json!(all)),
        Err(_) => Some(json!(gguf.float(&key).unwrap().unwrap())),
    }
}

/// `config.json` with the sizes that most families call the same, and `more`.
fn config(gguf: &Gguf, class: &str, more: Value) -> Value {
    let mut config =
        json!({"architectures": [class], "tie_word_embeddings": gguf.tensor("output.weight").is_none()});
    let map = config.as_object_mut().unwrap();
    for (name, key) in [
        ("hidden_size", "embedding_length"),
        ("num_hidden_layers", "block_count"),
        ("intermediate_size", "feed_forward_length"),
        ("num_attention_heads", "attention.head_count"),
        ("num_key_value_heads", "attention.head_count_kv"),
        ("max_position_embeddings", "context_length"),
        ("head_dim", "attention.key_length"),
        ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
        ("layer_norm_eps", "attention.layer_norm_epsilon"),
        ("rope_theta", "rope.freq_base"),
        ("sliding_window", "attention.sliding_window"),
    ] {
        if let Some(value) = number(gguf, key) {
            map.insert(name.to_owned(), value);
        }
    }
    map.extend(more.as_object().unwrap().clone());
    config
}

/// Every family that can be converted: fixture, names, configuration.
#[rustfmt::skip]
pub fn cases() -> Vec<(&'static str, Family, Value)> {
    let open = |name: &str| Gguf::open(&fixture(name).join("model.gguf")).unwrap();
    let mut all = Vec::new();
    let mut case = |name, family: &dyn Fn(usize, usize) -> Family, class, more: Value| {
        let gguf = open(name);
        let heads = |key| number(&gguf, key).and_then(|n| n.as_u64()).unwrap_or(0) as usize;
        let (q, k) = (heads("attention.head_count"), heads("attention.head_count_kv"));
        all.push((name, family(q, if k == 0 { q } else { k }), config(&gguf, class, more)));
    };
    let interleaved = |q, k| super::llama(Undo::Interleave(q), Undo::Interleave(k));
    let plain = |_, _| super::llama(Undo::Nothing, Undo::Nothing);
    let pairs = |most: f64, n: usize| (0..n).map(|i| 1.0 + (most - 1.0) * i as f64 / (n - 1) as f64).collect::<Vec<_>>();
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64});
    let long = |n| json!({"type": "longrope", "short_factor": pairs(1.5, n), "long_factor": pairs(8.0, n), "attention_factor": 1.25});
    case("llama-tinyllama", &interleaved, "LlamaForCausalLM", json!({}));
    case("llama-mobilellama-oldkeys", &interleaved, "LlamaForCausalLM", json!({}));
    case("llama31", &interleaved, "LlamaForCausalLM", json!({"rope_scaling": llama3}));
    case("qwen2-tied", &plain, "Qwen2ForCausalLM", json!({}));
    case("qwen2-yarn", &plain, "Qwen2ForCausalLM", json!({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
        "original_max_position_embeddings": 32}}));
    case("tiny-qwen3", &plain, "Qwen3ForCausalLM", json!({}));
    case("tiny-minicpm", &interleaved, "MiniCPMForCausalLM", json!({"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 16}));
    case("tiny-minicpm3", &|_, _| super::minicpm3(), "MiniCPM3ForCausalLM", json!({"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 256,
        "head_dim": null, "q_lora_rank": 32, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8,
        "rope_scaling": {"type": "longrope", "short_factor": pairs(1.5, 4), "long_factor": pairs(8.0, 4), "original_max_position_embeddings": 16}}));
    let phi3 = |_, _| super::phi3();
    case("tiny-phi3-window", &phi3, "Phi3ForCausalLM", json!({"rope_scaling": long(4), "original_max_position_embeddings": 32}));
    case("tiny-phi3-long", &phi3, "Phi3ForCausalLM", json!({"rope_scaling": long(3), "original_max_position_embeddings": 32,
        "partial_rotary_factor": 0.75, "sliding_window": null}));
    let gemma = |_, _| super::gemma();
    case("tiny-gemma2", &gemma, "Gemma2ForCausalLM", json!({"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0,
        "query_pre_attn_scalar": 16, "hidden_activation": "gelu_pytorch_tanh"}));
    case("tiny-gemma3", &gemma, "Gemma3ForCausalLM", json!({"query_pre_attn_scalar": 8, "sliding_window_pattern": 6,
        "rope_local_base_freq": 10000.0, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}));
    case("gemma3-1b-style", &gemma, "Gemma3ForCausalLM", json!({"query_pre_attn_scalar": 48, "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 1e6}, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}}));
    let neox = |q, _| super::gptneox(q);
    let part = json!({"rotary_pct": 0.5, "hidden_act": "gelu"});
    case("tiny-gptneox", &neox, "GPTNeoXForCausalLM", part.clone());
    let serial = json!({"rotary_pct": 0.5, "hidden_act": "gelu", "use_parallel_residual": false});
    case("tiny-gptneox-serial", &neox, "GPTNeoXForCausalLM", serial);
    for (name, activation) in [("tiny-gpt2", "gelu_new"), ("tiny-gpt2-erf", "gelu")] {
        case(name, &|_, _| super::gpt2(), "GPT2LMHeadModel", json!({"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64,
            "n_inner": 64, "layer_norm_epsilon": 1e-5, "activation_function": activation}));
    }
    let stablelm = |_, _| super::stablelm();
    case("tiny-stablelm", &stablelm, "StableLmForCausalLM", json!({"partial_rotary_factor": 0.5}));
    case("tiny-stablelm-12b", &stablelm, "StableLmForCausalLM", json!({"partial_rotary_factor": 0.5, "use_parallel_residual": true,
        "qk_layernorm": true}));
    // No key of OpenELM has the norm's epsilon: it is always 1e-6, and the fixture's 1e-5.
    case("tiny-openelm", &|_, _| super::openelm(), "OpenELMForCausalLM", json!({"num_transformer_layers": 3, "model_dim": 32,
        "head_dim": 16, "max_context_length": 64, "num_query_heads": [3, 4, 6], "num_kv_heads": [1, 2, 2], "ffn_with_glu": true,
        "normalization_layer_name": "rms_norm", "activation_fn_name": "swish", "share_input_output_layers": true}));
    case("tiny-dclm", &|_, _| super::dclm(), "OpenLMModel", json!({"params_args_dict": {"hidden_dim": 32, "n_layers": 2,
        "n_heads": 4, "seq_len": 64, "model_norm": "gain_only_lp_layer_norm", "ffn_type": "swiglu_torch", "weight_tying": false}}));
    all
}

/// The checkpoint of a case, in `folder`.
pub fn checkpoint_of(folder: &Path, (name, family, config): &(&str, Family, Value), shards: bool) -> Gguf {
    let gguf = Gguf::open(&fixture(name).join("model.gguf")).unwrap();
    let layers = number(&gguf, "block_count").unwrap().as_u64().unwrap() as usize;
    write(folder, config, &tensors(&gguf, family, layers), shards);
    gguf
}
