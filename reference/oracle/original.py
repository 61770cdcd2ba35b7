#!/usr/bin/env python3
"""Checks cases against the families' classes in transformers.

    pip install torch==2.15.0 transformers==5.23.0
    python3 reference/oracle/original.py DIR...         folders of cases: reference/fixtures, or what variants.py made

decoder.py, which made the logits of those cases, has been checked against models that transformers made, for every family but
with one or two settings each; this checks it with whatever settings a case has. Each case's GGUF tensors are given their original names
(and rows of q and k their original order, and norms their original offset) and run in float32. Cases that transformers
cannot express (our own keys, factors of frequencies, other families) are passed over.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers as hf

from decoder import Model

NAMES = {
    "token_embd.weight": "model.embed_tokens.weight", "output.weight": "lm_head.weight", "output.bias": "lm_head.bias",
    "output_norm": "model.norm", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "ffn_gate_inp": "mlp.gate",
}
POST = {"post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}
GEMMA = POST | {"ffn_norm": "pre_feedforward_layernorm"}
PHI = {"output_norm": "model.final_layernorm", "attn_output": "self_attn.dense", "ffn_up": "mlp.fc1", "ffn_down": "mlp.fc2"}
# Architecture: class, and names that differ.
CLASSES = {
    "llama": ("Llama", {}), "qwen2": ("Qwen2", {}), "qwen3": ("Qwen3", {}), "granite": ("Granite", {}), "smollm3": ("SmolLM3", {}),
    "gemma": ("Gemma", {}), "gemma2": ("Gemma2", GEMMA), "gemma3": ("Gemma3", GEMMA), "olmo": ("Olmo", {}), "olmo2": ("Olmo2", POST),
    "starcoder2": ("Starcoder2", {"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}), "stablelm": ("StableLm", {}), "phi2": ("Phi", PHI),
    "qwen3moe": ("Qwen3Moe", {}), "olmoe": ("Olmoe", {}),
}
PERMUTED = ("llama", "granite", "smollm3", "olmo")


def rope(m):
    """`rope_parameters` of the layers that see everything."""
    theta = float(m.key("rope.freq_base", 1e6 if m.arch == "gemma3" else 10000.0))
    kind, factor = m.key("rope.scaling.type", "linear"), m.key("rope.scaling.factor", m.key("rope.scale_linear", 1.0))
    if kind == "linear" and factor != 1.0:
        return {"rope_type": "linear", "rope_theta": theta, "factor": factor}
    if kind != "yarn":
        return {"rope_type": "default", "rope_theta": theta}
    original = m.key("rope.scaling.original_context_length", m.key("context_length"))
    yarn = {"rope_type": "yarn", "rope_theta": theta, "factor": factor, "original_max_position_embeddings": original}
    for key, default in [("beta_fast", 32.0), ("beta_slow", 1.0)]:
        yarn[key] = m.key("rope.scaling.yarn_" + key, default)
    scale = m.key("rope.scaling.attn_factor", 1.0)
    return yarn if scale == 1.0 else yarn | {"attention_factor": scale * (0.1 * np.log(factor) + 1)}


def build(m):
    """The model without its weights, and the names of its tensors; `None` where transformers cannot say what the case does."""
    arch = m.arch
    known = arch in CLASSES and not any(k.startswith("kinglet.") for k in m.keys)
    if not known or m.has("rope_freqs") or m.has("rope_factors_long") or m.has("blk.0.ffn_up.0"):
        return None
    name, names = CLASSES[arch]
    heads = m.key("attention.head_count")
    head_dim, parameters, tied = m.key("attention.key_length", m.dim // heads), rope(m), not m.has("output")
    biases = {"attention_bias": "blk.0.attn_q.bias" in m.t or "blk.0.attn_qkv.bias" in m.t, "mlp_bias": "blk.0.ffn_up.bias" in m.t}
    config = {
        "vocab_size": m.key("vocab_size"), "hidden_size": m.dim, "intermediate_size": m.key("feed_forward_length", 4 * m.dim),
        "num_hidden_layers": m.n_layers, "num_attention_heads": heads, "head_dim": head_dim,
        "num_key_value_heads": m.key("attention.head_count_kv", heads), "max_position_embeddings": m.key("context_length"),
        "attn_implementation": "eager", "pad_token_id": None, "tie_word_embeddings": tied, "rope_parameters": parameters,
        "rms_norm_eps": m.eps, "layer_norm_eps": m.eps, "norm_epsilon": m.eps, **biases,
    }
    window = m.key("attention.sliding_window", 4096 if arch == "gemma2" else 0)
    layers = ["sliding_attention" if m.window(i) else "full_attention" for i in range(m.n_layers)]
    local = {"rope_type": "default", "rope_theta": m.key("rope.freq_base_swa", parameters["rope_theta"])}
    if arch == "llama" and m.has("blk.0.ffn_gate_inp"):
        name = "Mixtral"
        config |= {"num_local_experts": m.key("expert_count"), "num_experts_per_tok": m.key("expert_used_count")}
        if not m.key("expert_weights_norm", True) or m.key("expert_weights_scale", 1.0) != 1.0 or window:
            return None
    elif arch == "llama" and window or arch == "gemma2" and not window:
        return None
    elif arch == "granite":
        if not m.key("rope.scaling.finetuned", True):
            return None
        scale = m.key("attention.scale", 0.0) or head_dim**-0.5
        config |= {"embedding_multiplier": m.key("embedding_scale", 1.0), "logits_scaling": m.key("logit_scale", 1.0)}
        config |= {"residual_multiplier": m.key("residual_scale", 1.0), "attention_multiplier": scale}
    elif arch in ("gemma2", "gemma3"):
        config |= {"sliding_window": window or 4096, "query_pre_attn_scalar": head_dim, "layer_types": layers}
        caps = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
        config |= {cap: m.key(cap, default if arch == "gemma2" else 0.0) or None for cap, default in caps.items()}
        if arch == "gemma3":
            local["rope_theta"] = m.key("rope.freq_base_swa", 10000.0)
            config["rope_parameters"] = {"full_attention": parameters, "sliding_attention": local}
    elif arch == "olmo2" and window:
        name = "Olmo3"
        config |= {"sliding_window": window, "layer_types": layers}
        config["rope_parameters"] = {"full_attention": parameters, "sliding_attention": local}
    elif arch == "olmo":
        config["clip_qkv"] = m.key("attention.clamp_kqv", 0.0) or None
    elif arch == "starcoder2":
        config["use_bias"] = True
    elif arch == "stablelm":
        config |= {"use_parallel_residual": not m.has("blk.0.ffn_norm"), "qk_layernorm": m.has("blk.0.attn_q_norm")}
        config["use_qkv_bias"] = biases["attention_bias"]
    elif arch in ("qwen3moe", "olmoe"):
        width = m.t[f"blk.{m.n_layers - 1}.ffn_down_exps.weight"].shape[2]
        config |= {"num_experts": m.key("expert_count"), "num_experts_per_tok": m.key("expert_used_count")}
        config |= {"norm_topk_prob": m.key("expert_weights_norm", arch == "qwen3moe"), "moe_intermediate_size": width}
        config["mlp_only_layers"] = [i for i in range(m.n_layers) if not m.has(f"blk.{i}.ffn_gate_inp")]
        config["intermediate_size"] = width if arch == "olmoe" else config["intermediate_size"]
        if m.key("expert_weights_scale", 1.0) != 1.0:
            return None
    if arch in ("stablelm", "phi2"):
        parameters["partial_rotary_factor"] = m.key("rope.dimension_count", head_dim) / head_dim
    kind = getattr(hf, name + ("TextConfig" if arch == "gemma3" else "Config"))
    # Experts one by one: what multiplies them together wants rows of 16 bytes.
    return getattr(hf, name + "ForCausalLM")(kind(experts_implementation="eager", **config)).eval(), NAMES | names


def original(m, names):
    """The tensors under their original names."""
    heads = m.key("attention.head_count")
    sizes = {"attn_q": heads, "attn_k": m.key("attention.head_count_kv", heads)}
    head_dim = m.key("attention.key_length", m.dim // heads)
    for name, t in m.t.items():
        layer = ""
        if name.startswith("blk."):
            _, i, name = name.split(".", 2)
            layer = f"model.layers.{i}."
        part, end = name.rsplit(".", 1)
        parts = [(part, t)]
        if part == "attn_qkv":
            at = np.cumsum([n * head_dim for n in sizes.values()])
            parts = zip(["attn_q", "attn_k", "attn_v"], np.split(t, at))
        for part, t in parts:
            if m.arch in PERMUTED and part in sizes:
                n = sizes[part]
                t = t.reshape(n, len(t) // n // 2, 2, *t.shape[1:]).swapaxes(1, 2).reshape(t.shape)
            if m.arch.startswith("gemma") and "norm" in part:
                t = t - 1
            if m.arch == "stablelm" and part in ("attn_q_norm", "attn_k_norm"):
                for head, w in enumerate(t):
                    yield f"{layer}self_attn.{part[5]}_layernorm.norms.{head}.{end}", w
            elif part.endswith("_exps"):
                yield layer + part, t
            else:
                yield names.get(f"{part}.{end}") or f"{layer}{names[part]}.{end}", t


def check(folder):
    """The distance of the case's logits, over the largest of them; `None` for a case that is passed over."""
    m = Model(folder / "model.gguf", json.loads((folder / "case.json").read_text())["n_ctx"])
    built = build(m)
    if not built:
        return None
    model, names = built
    state = dict(original(m, names))
    for i in range(m.n_layers):
        blk = f"model.layers.{i}."
        if blk + "ffn_down_exps" in state:
            both = state.pop(blk + "ffn_gate_up_exps", None)
            if both is None:
                both = np.concatenate([state.pop(blk + "ffn_gate_exps"), state.pop(blk + "ffn_up_exps")], 1)
            state |= {f"{blk}mlp.experts.gate_up_proj": both, f"{blk}mlp.experts.down_proj": state.pop(blk + "ffn_down_exps")}
    state = {k: torch.tensor(v, dtype=torch.float32) for k, v in state.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [k for k in missing if k not in ("lm_head.weight", "lm_head.bias")]
    assert not missing and not unexpected, (folder, missing, unexpected)
    if model.config.tie_word_embeddings:
        model.tie_weights()
    if "lm_head.bias" not in state and getattr(model.lm_head, "bias", None) is not None:
        model.lm_head.bias.data.zero_()
    tokens = torch.tensor([json.loads((folder / "tokens.json").read_text())])
    with torch.no_grad():
        y = model(tokens).logits[0].numpy()
    expected = np.fromfile(folder / "logits.f32", "<f4").reshape(y.shape)
    return np.abs(y - expected).max() / np.abs(expected).max()


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    worst, far = {}, []
    for folder in sorted(case for root in sys.argv[1:] for case in Path(root).iterdir() if (case / "case.json").exists()):
        # Those that transformers made itself are no news, and decoder.py reads no quantized weights.
        if "transformers" in (folder / "case.json").read_text():
            continue
        distance = check(folder)
        if distance is not None:
            print(f"{folder.name:<24} {distance:.2e} of the largest logit", flush=True)
            arch = Model(folder / "model.gguf", None).arch
            worst.setdefault(arch, []).append(distance)
            far += [folder.name] if not distance < 2e-5 else []
    for arch, all_of in worst.items():
        print(f"{arch:<12} {len(all_of):>3} cases, at most {max(all_of):.1e}")
    sys.exit(f"too far: {', '.join(far)}" if far or not worst else 0)


if __name__ == "__main__":
    main()
