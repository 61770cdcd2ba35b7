#!/usr/bin/env python3
"""Checks small cases of reference/fixtures against the families' classes in transformers.

    pip install torch==2.15.0 transformers==5.23.0
    python3 reference/oracle/original.py reference/fixtures

decoder.py, which made the logits of those cases, has been checked against larger models made by transformers for most families; here
are the others. Each case's GGUF tensors are given their original names (and rows of q and k their original order, and norms their
original offset) and run in float32.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers as hf

from decoder import Model

COMMON = {
    "token_embd.weight": "model.embed_tokens.weight", "output.weight": "lm_head.weight", "output.bias": "lm_head.bias",
    "output_norm": "model.norm", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "ffn_gate_inp": "mlp.gate",
}
PHI = {"output_norm": "model.final_layernorm", "attn_output": "self_attn.dense", "ffn_up": "mlp.fc1", "ffn_down": "mlp.fc2"}
OLMO = {
    "post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm",
    "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
CASES = {
    "tiny-phi2": (hf.PhiForCausalLM, hf.PhiConfig, PHI, {
        "rope_parameters": {**PLAIN, "partial_rotary_factor": 0.5}}),
    "tiny-olmo": (hf.OlmoForCausalLM, hf.OlmoConfig, {}, {"clip_qkv": 1.5, "tie_word_embeddings": False}),
    "tiny-gemma": (hf.GemmaForCausalLM, hf.GemmaConfig, {}, {"head_dim": 16, "tie_word_embeddings": True}),
    "tiny-olmo3": (hf.Olmo3ForCausalLM, hf.Olmo3Config, OLMO, {"sliding_window": 5, "rope_parameters": {
        "full_attention": YARN, "sliding_attention": PLAIN}}),
    "tiny-llama-moe": (hf.MixtralForCausalLM, hf.MixtralConfig, {}, {"num_local_experts": 4, "num_experts_per_tok": 2,
        "rope_parameters": PLAIN}),
}


def original(m, names):
    """The tensors under their original names."""
    heads = m.key("attention.head_count")
    sizes = {"attn_q": heads, "attn_k": m.key("attention.head_count_kv")}
    for name, t in m.t.items():
        layer = ""
        if name.startswith("blk."):
            _, i, name = name.split(".", 2)
            layer = f"model.layers.{i}."
        part, end = name.rsplit(".", 1)
        if part == "attn_qkv":
            for p, piece in zip("qkv", np.split(t, 3)):
                yield f"{layer}self_attn.{p}_proj.{end}", piece
            continue
        if part.endswith("_exps"):
            yield layer + part, t
            continue
        if m.arch in ("llama", "olmo") and part in sizes:
            n = sizes[part]
            t = t.reshape(n, len(t) // n // 2, 2, -1).swapaxes(1, 2).reshape(t.shape)
        if m.arch == "gemma" and "norm" in part:
            t = t - 1
        full = names.get(name) or COMMON.get(name)
        yield full or f"{layer}{names.get(part) or COMMON[part]}.{end}", t


def check(root, case):
    kind, config, names, extra = CASES[case]
    m = Model(root / case / "model.gguf", None)
    eps = {"rms_norm_eps": m.eps, "layer_norm_eps": m.eps}
    config = config(
        vocab_size=m.key("vocab_size"), hidden_size=m.dim, intermediate_size=m.key("feed_forward_length"),
        num_hidden_layers=m.n_layers, num_attention_heads=m.key("attention.head_count"),
        num_key_value_heads=m.key("attention.head_count_kv"), max_position_embeddings=64, attn_implementation="eager",
        pad_token_id=None, **{"tie_word_embeddings": False, **eps, **extra},
    )
    model = kind(config).eval()
    state = {k: torch.tensor(v, dtype=torch.float32) for k, v in original(m, names)}
    for i in range(m.n_layers):
        blk = f"model.layers.{i}."
        if blk + "ffn_up_exps" in state:
            gate, up, down = (state.pop(f"{blk}ffn_{p}_exps") for p in ("gate", "up", "down"))
            state |= {f"{blk}mlp.experts.gate_up_proj": torch.cat([gate, up], 1), f"{blk}mlp.experts.down_proj": down}
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [k for k in missing if k != "lm_head.weight"]
    assert not missing and not unexpected, (case, missing, unexpected)
    if config.tie_word_embeddings:
        model.tie_weights()
    tokens = torch.tensor([json.loads((root / case / "tokens.json").read_text())])
    with torch.no_grad():
        y = model(tokens).logits[0].numpy()
    expected = np.fromfile(root / case / "logits.f32", "<f4").reshape(y.shape)
    distance = np.abs(y - expected).max() / np.abs(expected).max()
    print(f"{case:<20} {distance:.2e} of the largest logit")
    return distance < 2e-5


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    good = [check(Path(sys.argv[1]), case) for case in CASES]
    sys.exit(0 if all(good) else "too far")
