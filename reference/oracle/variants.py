#!/usr/bin/env python3
"""Random models of every family, with the logits of decoder.py: sizes, head counts, windows, scalings, missing keys and F16 matrices as they come.

    pip install numpy
    python3 reference/oracle/variants.py OUT [FIRST [LAST]]     cases of the seeds FIRST..=LAST (0..=3) of every family
    cargo run --release -p kinglet --example conformance -- OUT

Where `families.py` has one small case for what a test must not miss, this has whatever an architecture allows.
"""

import sys
import zlib
from pathlib import Path

import numpy as np

from families import Case


class Random:
    """What a variant is made of."""

    def __init__(self, family, seed):
        self.rng = np.random.default_rng([zlib.crc32(family.encode()), seed])

    def of(self, *values):
        return values[self.rng.integers(len(values))]

    def sometimes(self, chance=0.5):
        return bool(self.rng.random() < chance)

    def sizes(self, own_head_dim=True, even=True, kv=True, gated=True):
        """Keyword arguments of a `Case`."""
        heads = self.of(1, 2, 3, 4, 5, 6, 8)
        kv_heads = self.of(*[k for k in range(1, heads + 1) if heads % k == 0]) if kv else heads
        dims = [d for d in range(20, 90) if d % heads == 0 and (d // heads % 2 == 0 or not even)]
        size = {"dim": self.of(*dims), "heads": heads, "kv_heads": kv_heads}
        if own_head_dim and self.sometimes():
            size["head_dim"] = self.of(4, 6, 10, 16, 24, 40)
        size |= {"layers": self.of(1, 2, 3, 5), "ffn": self.of(17, 32, 50, 65, 96), "vocab": self.of(33, 48, 77, 101)}
        return size | {"context": self.of(64, 70, 128)}

    def rope(self, yarn=True, linear=True):
        """Keys of a rotary embedding that may be stretched."""
        keys = {}
        if self.sometimes():
            keys["rope__freq_base"] = self.of(500.0, 5e4, 1e6)
        kind = self.of("none", "plain", "linear", "old", "older", "yarn", "yarn")
        if kind == "none":
            keys |= {"rope__scaling__type": "none", "rope__scaling__factor": 4.0}
        if linear and kind == "linear":
            keys |= {"rope__scaling__type": "linear", "rope__scaling__factor": self.of(2.0, 8.0)}
        if linear and kind == "old":
            keys["rope__scaling__factor"] = 2.5
        if linear and kind == "older":
            keys["rope__scale_linear"] = 3.0
        if yarn and kind == "yarn":
            keys |= {"rope__scaling__type": "yarn", "rope__scaling__factor": self.of(2.0, 4.0, 40.0)}
            if self.sometimes(0.8):
                keys["rope__scaling__original_context_length"] = self.of(8, 16, 32)
            if self.sometimes():
                keys |= {"rope__scaling__yarn_beta_fast": 8.0, "rope__scaling__yarn_beta_slow": 0.5}
            if self.sometimes(0.3):
                keys["rope__scaling__attn_factor"] = 0.8
        return keys

    def longrope(self, c, n_rot, said=True):
        """Factors for short and long contexts, and a context that is one of the two."""
        original = self.of(20, 24, 32)
        if said:
            c.key(**{"rope.scaling.original_context_length": original})
            c.n_ctx = self.of(original, original + 1, 64)
        else:
            c.key(context_length=original)
            c.n_ctx = self.of(original, 256)
        if self.sometimes():
            c.key(**{"rope.scaling.attn_factor": self.of(1.0, 1.19)})
        elif said:
            # What files without it mean.
            c.key(context_length=original)
        for part, most in [("short", 1.5), ("long", 8.0)]:
            c.tensor(f"rope_factors_{part}.weight", np.linspace(1, most, n_rot // 2))


def forget(c, *keys):
    for key in keys:
        c.keys.pop(f"{c.arch}.{key}", None)


def finish(r, c, **output):
    """Keys that may be missing: what they would say is what their absence means."""
    if c.kv_heads == c.heads and r.sometimes():
        forget(c, "attention.head_count_kv")
    if c.head_dim * c.heads == c.dim and r.sometimes():
        c.key(**{"attention.key_length": c.head_dim, "attention.value_length": c.head_dim})
    return c.output(**{"tied": r.sometimes(), **output})


def experts(r, c, width=None, per_expert=False):
    """Experts on every layer, in a random one of the ways that files have them."""
    n = r.of(1, 2, 3, 5, 8)
    c.key(expert_count=n, expert_used_count=r.of(*range(1, n + 1)))
    how = r.of("exps", "exps", "each" if per_expert else "exps", "gate_up" if not per_expert else "exps")
    width = width or c.ffn
    for i in range(c.layers):
        c.experts(i, n, width)
        gate, up, down = (c.tensors.pop(at)[1] for at in (-4, -3, -2))
        parts = {"gate": gate, "up": up, "down": down}
        if how == "each":
            for part, t in parts.items():
                for e in range(n):
                    c.tensor(f"blk.{i}.ffn_{part}.{e}.weight", t[e])
        elif how == "gate_up":
            c.tensor(f"blk.{i}.ffn_gate_up_exps.weight", np.concatenate([gate, up], 1))
            c.tensor(f"blk.{i}.ffn_down_exps.weight", down)
        else:
            for part, t in parts.items():
                c.tensor(f"blk.{i}.ffn_{part}_exps.weight", t)


# Families


def plain(arch, **layers):
    """RMSNorm, SwiGLU and a rotary embedding."""

    def make(r, name):
        c = Case(name, arch, **r.sizes(), **r.rope())
        return finish(r, c.llama_layers(**layers))

    return make


def llama(r, name):
    window = {"attention__sliding_window": r.of(1, 4, 7)} if r.sometimes(0.3) else {}
    stretched = r.sometimes(0.4)
    c = Case(name, "llama", **r.sizes(), **({} if stretched else r.rope()), **window)
    c.key(**{"rope.dimension_count": c.head_dim})
    if stretched and r.sometimes():
        c.tensor("rope_freqs.weight", r.rng.uniform(1, 8, c.head_dim // 2))
    elif stretched:
        c.key(**{"rope.scaling.type": "longrope"})
        r.longrope(c, c.head_dim)
    if r.sometimes(0.3):
        c.keys["kinglet.windows"] = [r.of(0, 3, 9) for _ in range(c.layers)]
    if r.sometimes(0.3):
        c.keys["kinglet.rope_layers"] = [r.sometimes() for _ in range(c.layers)]
    bias, mlp = r.sometimes(0.3), r.sometimes(0.3)
    return finish(r, c.llama_layers(bias=bias, network={"bias": mlp}, fused=r.sometimes(0.3)))


def mixture(arch, **attention):
    def make(r, name):
        sizes = r.sizes(own_head_dim=arch != "qwen2moe")
        width = None if arch == "llama" else r.of(8, 17, 32)
        c = Case(name, arch, **sizes, **r.rope())
        if width and r.sometimes():
            c.key(expert_feed_forward_length=width)
        if r.sometimes(0.3):
            c.key(expert_weights_norm=r.sometimes(), expert_weights_scale=r.of(0.5, 2.5))
        for i in range(c.layers):
            c.norms(i), c.attention(i, **attention)
        experts(r, c, width, per_expert=arch == "llama")
        if arch == "qwen2moe":
            shared = r.of(8, 33, 64)
            if r.sometimes():
                c.key(expert_shared_feed_forward_length=shared)
            for i in range(c.layers):
                c.network(i, ffn=shared, suffix="_shexp"), c.matrix(f"blk.{i}.ffn_gate_inp_shexp", 1, c.dim)
                if r.sometimes():
                    c.tensors[-1] = (c.tensors[-1][0], c.tensors[-1][1].ravel())
        return finish(r, c)

    return make


def gptneox(r, name):
    size = r.sizes(own_head_dim=False, kv=False)
    head_dim = size["dim"] // size["heads"]
    c = Case(name, "gptneox", norm="bias", **size, rope__dimension_count=r.of(*range(2, head_dim + 1, 2)))
    if r.sometimes(0.7):
        c.key(use_parallel_residual=r.sometimes())
    if r.sometimes():
        c.keys["kinglet.rope_theta"] = 1000.0
    if r.sometimes(0.3):
        c.keys["kinglet.activation"] = "gelu_tanh"
    fused = r.sometimes()
    return finish(r, c.llama_layers(network={"gated": False, "bias": True}, fused=fused, bias=True))


def gpt2(r, name):
    c = Case(name, "gpt2", norm="bias", **r.sizes(own_head_dim=False, kv=False, even=False))
    c.matrix("position_embd", c.keys["gpt2.context_length"], c.dim, 1.0)
    c.ffn = 4 * c.dim
    forget(c, "feed_forward_length")
    if r.sometimes():
        c.key(feed_forward_length=c.ffn)
    return finish(r, c.llama_layers(network={"gated": False, "bias": True}, fused=True, bias=True))


def phi2(r, name):
    size = r.sizes(own_head_dim=False)
    n_rot = r.of(*range(2, size["dim"] // size["heads"] + 1, 2))
    c = Case(name, "phi2", norm="bias", **size, rope__dimension_count=n_rot)
    for i in range(c.layers):
        c.norms(i, "attn_norm"), c.attention(i, fused=r.sometimes(), bias=True), c.network(i, gated=False, bias=True)
    return finish(r, c, bias=not r.sometimes(0.2), tied=False)


def phi3(r, name):
    size = r.sizes(own_head_dim=False)
    n_rot = r.of(*range(2, size["dim"] // size["heads"] + 1, 2))
    c = Case(name, "phi3", **size, rope__dimension_count=n_rot)
    if r.sometimes(0.7):
        c.key(**{"attention.sliding_window": r.of(0, 1, 6, 500)})
    if r.sometimes(0.7):
        r.longrope(c, n_rot)
    return finish(r, c.llama_layers(network={"fused": True}, fused=True))


def stablelm(r, name):
    size = r.sizes(own_head_dim=False)
    n_rot = r.of(*range(2, size["dim"] // size["heads"] + 1, 2))
    c = Case(name, "stablelm", norm="bias", **size, rope__dimension_count=n_rot, use_parallel_residual=r.sometimes())
    serial, qk, bias = r.sometimes(), r.of(None, "own"), r.sometimes()
    for i in range(c.layers):
        c.norms(i, *["attn_norm", "ffn_norm"][: 1 + serial])
        c.attention(i, bias=bias, o_bias=False, qk=qk), c.network(i)
    return finish(r, c)


def gemma(r, name):
    return finish(r, Case(name, "gemma", **r.sizes()).llama_layers(), tied=True)


def gemma2(r, name):
    c = Case(name, "gemma2", **r.sizes())
    for key, values in [("attn_logit_softcapping", (0.0, 2.0)), ("final_logit_softcapping", (0.0, 3.0))]:
        if r.sometimes(0.7):
            c.key(**{key: r.of(*values)})
    if r.sometimes(0.7):
        c.key(**{"attention.sliding_window": r.of(0, 1, 3, 11)})
    if r.sometimes(0.3):
        c.keys["kinglet.attention_scale"] = 0.17
    for i in range(c.layers):
        c.norms(i, "attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"), c.attention(i), c.network(i)
    return finish(r, c, tied=True)


def gemma3(r, name):
    c = Case(name, "gemma3", **{**r.sizes(), "layers": r.of(1, 2, 6, 7, 13)}, **r.rope(yarn=False))
    if r.sometimes(0.8):
        c.key(**{"attention.sliding_window": r.of(1, 5, 12)})
    if r.sometimes(0.4):
        pattern = r.of(2, 3, [r.sometimes() for _ in range(c.layers)])
        c.key(**{"attention.sliding_window_pattern": pattern})
    if r.sometimes(0.4):
        c.key(**{"rope.freq_base_swa": r.of(100.0, 10000.0)})
    if r.sometimes(0.3):
        c.key(final_logit_softcapping=3.0)
    for i in range(c.layers):
        c.norms(i, "attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
        c.attention(i, qk="head"), c.network(i)
    return finish(r, c, tied=True)


def minicpm(r, name):
    c = Case(name, "minicpm", **r.sizes())
    for key in ["embedding_scale", "residual_scale", "logit_scale"]:
        if r.sometimes(0.6):
            c.key(**{key: r.of(0.3, 1.7)})
    if r.sometimes():
        c.key(**{"rope.scaling.type": "longrope"})
        r.longrope(c, c.head_dim, said=r.sometimes())
    return finish(r, c.llama_layers())


def minicpm3(r, name):
    c = Case(name, "minicpm3", **r.sizes(kv=False, own_head_dim=False))
    n_rot, nope, value, rank = r.of(2, 6, 8), r.of(4, 10, 16), r.of(5, 8, 12), r.of(9, 20, 32)
    c.key(**{"attention.key_length": nope + n_rot, "rope.dimension_count": n_rot, "attention.kv_lora_rank": rank})
    if r.sometimes():
        c.key(**{"attention.value_length": value})
    q_rank = r.of(0, 12, 31)
    if q_rank:
        c.key(**{"attention.q_lora_rank": q_rank})
    for i in range(c.layers):
        blk = f"blk.{i}."
        c.norms(i), c.network(i), c.norm(blk + "attn_kv_a_norm", rank)
        if q_rank:
            c.norm(blk + "attn_q_a_norm", q_rank), c.matrix(blk + "attn_q_a", q_rank, c.dim, 1.6)
            c.matrix(blk + "attn_q_b", c.heads * (nope + n_rot), q_rank, 1.6)
        else:
            c.matrix(blk + "attn_q", c.heads * (nope + n_rot), c.dim, 1.6)
        c.matrix(blk + "attn_kv_a_mqa", rank + n_rot, c.dim, 1.6)
        c.matrix(blk + "attn_kv_b", c.heads * (nope + value), rank, 1.6)
        c.matrix(blk + "attn_output", c.dim, c.heads * value)
    if r.sometimes(0.7):
        r.longrope(c, n_rot, said=False)
    return c.output(tied=r.sometimes())


def openelm(r, name):
    c = Case(name, "openelm", **{**r.sizes(), "head_dim": r.of(4, 10, 16)})
    kv = [r.of(1, 2, 3) for _ in range(c.layers)]
    heads, ffn = [k * r.of(1, 2, 3) for k in kv], [r.of(20, 33, 64) for _ in kv]
    if r.sometimes(0.3):
        kv, heads, ffn = kv[:1] * c.layers, heads[:1] * c.layers, ffn[:1] * c.layers
        c.key(**{"attention.head_count": heads[0], "attention.head_count_kv": kv[0], "feed_forward_length": ffn[0]})
    else:
        c.key(**{"attention.head_count": heads, "attention.head_count_kv": kv, "feed_forward_length": ffn})
    if r.sometimes():
        c.key(**{"rope.dimension_count": c.head_dim})
    for i in range(c.layers):
        c.norms(i), c.network(i, ffn=ffn[i])
        c.attention(i, fused=r.sometimes(), qk="head", heads=heads[i], kv_heads=kv[i])
    return c.output(tied=r.sometimes(0.8))


def falcon(r, name):
    size = r.sizes(own_head_dim=False)
    c = Case(name, "falcon", norm="bias", **size)
    c.ffn = 4 * c.dim
    forget(c, "feed_forward_length")
    two = r.sometimes()
    for i in range(c.layers):
        c.norms(i, *["attn_norm", "attn_norm_2"][: 1 + two]), c.attention(i, fused=True), c.network(i, gated=False)
    return finish(r, c)


def bloom(r, name):
    c = Case(name, "bloom", norm="bias", **r.sizes(own_head_dim=False, kv=False, even=False))
    c.norm("token_embd_norm")
    fused = r.sometimes(0.8)
    return finish(r, c.llama_layers(network={"gated": False, "bias": True}, fused=fused, bias=True))


def mpt(r, name):
    norm = r.of("plain", "bias")
    c = Case(name, "mpt", norm=norm, **r.sizes(own_head_dim=False, even=False))
    learned = r.sometimes(0.3)
    if learned:
        c.matrix("position_embd", c.keys["mpt.context_length"], c.dim, 1.0)
    c.key(**{"attention.max_alibi_bias": 0.0 if learned else r.of(4.0, 8.0)})
    if r.sometimes():
        c.key(**{"attention.clamp_kqv": r.of(0.7, 1.5)})
    qk, bias = r.of(None, "whole") if c.heads > 1 and c.kv_heads == c.heads else None, norm == "bias"
    return finish(r, c.llama_layers(network={"gated": False, "bias": bias}, fused=True, qk=qk, bias=bias))


def starcoder2(r, name):
    c = Case(name, "starcoder2", norm="bias", **r.sizes(own_head_dim=False), **r.rope(yarn=False))
    return finish(r, c.llama_layers(network={"gated": False, "bias": True}, bias=True))


def olmo(r, name):
    c = Case(name, "olmo", norm="plain", **r.sizes(own_head_dim=False), **r.rope())
    if r.sometimes(0.6):
        c.key(**{"attention.clamp_kqv": r.of(0.6, 1.5)})
    for i in range(c.layers):
        c.attention(i), c.network(i)
    return finish(r, c, norm=None)


def olmo2(r, name):
    size = r.sizes(own_head_dim=False)
    size["heads"] = size["kv_heads"] = r.of(2, 4)
    size["dim"] = r.of(24, 40, 72)
    c = Case(name, "olmo2", **size, **r.rope())
    if r.sometimes():
        c.key(**{"attention.sliding_window": r.of(1, 5, 9)})
        if r.sometimes():
            c.key(**{"attention.sliding_window_pattern": r.of(2, [r.sometimes() for _ in range(c.layers)])})
        if r.sometimes(0.4):
            c.key(**{"rope.freq_base_swa": 700.0})
    for i in range(c.layers):
        c.norms(i, "post_attention_norm", "post_ffw_norm"), c.attention(i, qk="whole"), c.network(i)
    return finish(r, c)


def olmoe(r, name):
    c = Case(name, "olmoe", **{**r.sizes(own_head_dim=False), "heads": 4, "kv_heads": r.of(2, 4), "dim": r.of(24, 56)}, **r.rope())
    for i in range(c.layers):
        c.norms(i), c.attention(i, qk="whole")
    experts(r, c, r.of(9, 32))
    return finish(r, c)


def granite(r, name):
    c = Case(name, "granite", **r.sizes(), **r.rope(), logit_scale=r.of(0.7, 2.5))
    for key, values in [("attention.scale", (0.0, 0.2)), ("embedding_scale", (6.0,)), ("residual_scale", (0.0, 0.4))]:
        if r.sometimes(0.7):
            c.key(**{key: r.of(*values)})
    if c.keys.get("granite.residual_scale") == 0.0:
        c.key(residual_scale=1.0)
    if r.sometimes(0.3):
        c.key(**{"rope.scaling.finetuned": False})
    return finish(r, c.llama_layers(bias=r.sometimes(0.2), network={"bias": r.sometimes(0.2)}))


def smollm3(r, name):
    c = Case(name, "smollm3", **{**r.sizes(own_head_dim=False), "layers": r.of(3, 4, 9)}, **r.rope())
    return finish(r, c.llama_layers())


def bitnet(r, name):
    c = Case(name, "bitnet", **r.sizes(own_head_dim=False), **r.rope())
    if r.sometimes():
        c.key(hidden_act="relu2")
    c.llama_layers()
    for i in range(c.layers):
        c.norm(f"blk.{i}.attn_sub_norm"), c.norm(f"blk.{i}.ffn_sub_norm", c.ffn)
    return finish(r, c, tied=True)


def lfm2(r, name):
    kernel = r.of(2, 3, 5)
    c = Case(name, "lfm2", **{**r.sizes(own_head_dim=False), "layers": r.of(1, 3, 6)}, shortconv__l_cache=kernel)
    kv = [r.of(0, 0, c.kv_heads) for _ in range(c.layers)]
    c.key(**{"attention.head_count_kv": kv if c.layers > 1 else kv[0]})
    for i in range(c.layers):
        c.norms(i), c.network(i)
        if kv[i]:
            c.attention(i, qk="head")
        else:
            c.matrix(f"blk.{i}.shortconv.in_proj", 3 * c.dim, c.dim), c.matrix(f"blk.{i}.shortconv.out_proj", c.dim, c.dim)
            c.tensor(f"blk.{i}.shortconv.conv.weight", c.rng.normal(0, 0.6, (c.dim, kernel)))
    return c.output(tied=r.sometimes(), norm=r.of("token_embd_norm", "output_norm"))


def dclm(r, name):
    c = Case(name, "dclm", norm="plain", **{**r.sizes(kv=False), "heads": 4, "kv_heads": 4, "dim": r.of(24, 56)}, **r.rope())
    return finish(r, c.llama_layers(qk="whole"))


FAMILIES = {
    "llama": llama, "qwen2": plain("qwen2", bias=True, o_bias=False), "qwen3": plain("qwen3", qk="head"),
    "internlm2": plain("internlm2"), "llama-moe": mixture("llama"), "qwen2moe": mixture("qwen2moe", bias=True, o_bias=False),
    "qwen3moe": mixture("qwen3moe", qk="head"), "olmoe": olmoe, "gptneox": gptneox, "gpt2": gpt2, "phi2": phi2, "phi3": phi3,
    "stablelm": stablelm, "gemma": gemma, "gemma2": gemma2, "gemma3": gemma3, "minicpm": minicpm, "minicpm3": minicpm3,
    "openelm": openelm, "falcon": falcon, "bloom": bloom, "mpt": mpt, "starcoder2": starcoder2, "olmo": olmo, "olmo2": olmo2,
    "granite": granite, "smollm3": smollm3, "bitnet": bitnet, "lfm2": lfm2, "dclm": dclm,
}


def main():
    if not 2 <= len(sys.argv) <= 4 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    last = int(sys.argv[3]) if len(sys.argv) > 3 else first + 3
    for family, make in FAMILIES.items():
        for seed in range(first, last + 1):
            name = f"{family}-{seed}"
            case = make(Random(family, seed), name)
            # As converters write matrices by default.
            case.half = seed % 3 == 2
            logits = case.write(Path(sys.argv[1]) / name)
            print(f"{name:<16} logits {logits.std():.2f}")


if __name__ == "__main__":
    main()
