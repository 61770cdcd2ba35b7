"""The small cases of reference/fixtures: for each family its keys and tensors, random weights, and the logits of decoder.py.

    python3 reference/oracle/decoder.py make reference/fixtures

A case is a few lines here: `attention`, `network` and the norms add the tensors that most families share. Sizes are as small as every
feature allows: rows of 32 (so that tests can quantize them), head counts that are no powers of two, windows shorter than the text.
"""

import json
import struct
import zlib

import numpy as np

from decoder import Model

DIM, VOCAB, TOKENS = 32, 48, 20


class Case:
    def __init__(
        self, name, arch, layers=2, heads=4, kv_heads=None, head_dim=None, ffn=32, norm="rms", dim=DIM, vocab=VOCAB, context=64, **keys
    ):
        self.name, self.arch, self.layers, self.ffn, self.dim, self.vocab = name, arch, layers, ffn, dim, vocab
        self.heads, self.kv_heads = heads, kv_heads or heads
        self.head_dim = head_dim or dim // heads
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))
        self.keys, self.tensors, self.n_ctx = {"general.architecture": arch}, [], None
        self.key(context_length=context, embedding_length=dim, block_count=layers, feed_forward_length=ffn)
        self.key(**{"attention.head_count": heads, "attention.head_count_kv": self.kv_heads})
        eps = "attention.layer_norm_rms_epsilon" if norm == "rms" else "attention.layer_norm_epsilon"
        self.key(**{eps: 1e-5, **{k.replace("__", "."): v for k, v in keys.items()}})
        if head_dim:
            self.key(**{"attention.key_length": head_dim, "attention.value_length": head_dim})
        self.bias_norms, self.half = norm == "bias", False
        self.matrix("token_embd", vocab, dim, 2.0)

    def key(self, **keys):
        self.keys.update({f"{self.arch}.{k}": v for k, v in keys.items()})
        return self

    def tensor(self, name, values):
        self.tensors.append((name, np.asarray(values, "<f4")))

    def matrix(self, name, rows, cols, size=1.0, bias=False, experts=None):
        shape = (experts, rows, cols) if experts else (rows, cols)
        self.tensor(name + ".weight", self.rng.normal(0, size / np.sqrt(cols), shape))
        if bias:
            self.vector(name + ".bias", rows)

    def vector(self, name, n):
        self.tensor(name, self.rng.normal(0, 0.3, n))

    def norm(self, name, n=None, bias=None):
        n = n or self.dim
        self.tensor(name + ".weight", 1 + self.rng.uniform(-0.25, 0.25, n))
        if self.bias_norms if bias is None else bias:
            self.vector(name + ".bias", n)

    def attention(self, i, fused=False, bias=False, o_bias=None, qk=None, heads=None, kv_heads=None):
        heads, kv = heads or self.heads, kv_heads or self.kv_heads
        blk, d = f"blk.{i}.", self.head_dim
        parts = [("q", heads), ("k", kv), ("v", kv)]
        for part, n in [("qkv", heads + 2 * kv)] if fused else parts:
            self.matrix(f"{blk}attn_{part}", n * d, self.dim, 1.6, bias)
        self.matrix(blk + "attn_output", self.dim, heads * d, 1.0, bias if o_bias is None else o_bias)
        for part, n in parts[:2]:
            shape = {"head": d, "own": (n, d), "whole": n * d}.get(qk)
            if qk:
                self.norm(f"{blk}attn_{part}_norm", shape, bias=False)

    def network(self, i, gated=True, bias=False, fused=False, ffn=None, suffix=""):
        ffn = ffn or self.ffn
        if gated and not fused:
            self.matrix(f"blk.{i}.ffn_gate{suffix}", ffn, self.dim, 1.5, bias)
        self.matrix(f"blk.{i}.ffn_up{suffix}", 2 * ffn if fused else ffn, self.dim, 1.5, bias)
        self.matrix(f"blk.{i}.ffn_down{suffix}", self.dim, ffn, 1.5, bias)

    def experts(self, i, n, ffn):
        for part, rows, cols in [("gate", ffn, self.dim), ("up", ffn, self.dim), ("down", self.dim, ffn)]:
            self.matrix(f"blk.{i}.ffn_{part}_exps", rows, cols, 1.5, experts=n)
        self.matrix(f"blk.{i}.ffn_gate_inp", n, self.dim, 2.0)

    def norms(self, i, *names):
        for name in names or ("attn_norm", "ffn_norm"):
            self.norm(f"blk.{i}.{name}")

    def output(self, tied=False, bias=False, norm="output_norm"):
        if norm:
            self.norm(norm)
        if not tied:
            self.matrix("output", self.vocab, self.dim, 2.0, bias)
        return self

    def llama_layers(self, network=None, **attention):
        for i in range(self.layers):
            self.norms(i)
            self.attention(i, **attention)
            self.network(i, **(network or {}))
        return self

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        keys = {**self.keys, f"{self.arch}.vocab_size": self.vocab, "tokenizer.ggml.model": "no_vocab"}
        half = lambda name, t: self.half and t.ndim > 1 and "norm" not in name
        self.tensors = [(name, t.astype("<f2") if half(name, t) else t) for name, t in self.tensors]
        out = struct.pack("<IIQQ", 0x46554747, 3, len(self.tensors), len(keys))
        out += b"".join(string(k) + struct.pack("<I", kind(v)) + value(v) for k, v in keys.items())
        at = 0
        for name, t in self.tensors:
            out += string(name) + struct.pack("<I", t.ndim) + struct.pack(f"<{t.ndim}Q", *t.shape[::-1])
            out += struct.pack("<IQ", int(t.dtype == np.float16), at)
            at += (t.nbytes + 31) // 32 * 32
        for _, t in self.tensors:
            out += bytes(-len(out) % 32) + t.tobytes()
        (folder / "model.gguf").write_bytes(out)
        tokens = [int(t) for t in self.rng.integers(0, self.vocab, TOKENS)]
        (folder / "tokens.json").write_text(json.dumps(tokens) + "\n")
        logits = Model(folder / "model.gguf", self.n_ctx).logits(tokens)
        assert np.isfinite(logits).all() and 0.2 < logits.std() < 100, (self.name, logits.std())
        logits.astype("<f4").tofile(folder / "logits.f32")
        case = {
            "name": self.name, "oracle": "reference/oracle/decoder.py (numpy, float64)", "n_tokens": TOKENS, "vocab": self.vocab,
            "n_ctx": self.n_ctx, "logit_std": round(float(logits.std()), 3),
            "suggested_tolerance": {"rms": 1e-4, "max_abs": 1e-3},
        }
        (folder / "case.json").write_text(json.dumps(case, indent=1) + "\n")
        return logits


def string(s):
    return struct.pack("<Q", len(s.encode())) + s.encode()


def kind(v):
    return {bool: 7, int: 4, float: 6, str: 8, list: 9}[type(v)]


def value(v):
    if isinstance(v, list):
        return struct.pack("<IQ", kind(v[0]), len(v)) + b"".join(map(value, v))
    if isinstance(v, str):
        return string(v)
    return struct.pack({bool: "<?", int: "<I", float: "<f"}[type(v)], v)


def cases():
    """Every case, made."""
    c = Case("tiny-bitnet", "bitnet", kv_heads=2)
    c.llama_layers()
    for i in range(c.layers):
        c.norm(f"blk.{i}.attn_sub_norm"), c.norm(f"blk.{i}.ffn_sub_norm", c.ffn)
    yield c.output(tied=True)
    # The 2B of 2025.
    c = Case("tiny-bitnet-relu2", "bitnet", layers=1, kv_heads=1, hidden_act="relu2")
    c.llama_layers()
    c.norm("blk.0.attn_sub_norm"), c.norm("blk.0.ffn_sub_norm", c.ffn)
    yield c.output(tied=True)

    # Six heads: ALiBi's slopes past the power of two.
    c = Case("tiny-bloom", "bloom", heads=6, head_dim=8, norm="bias")
    c.norm("token_embd_norm")
    yield c.llama_layers(network={"gated": False, "bias": True}, fused=True, bias=True).output(tied=True)

    yield Case("tiny-dclm", "dclm", norm="plain").llama_layers(qk="whole").output()

    for name, kv, norms in [("7b", 1, ["attn_norm"]), ("40b", 2, ["attn_norm", "attn_norm_2"])]:
        c = Case(f"tiny-falcon-{name}", "falcon", kv_heads=kv, norm="bias", ffn=64)
        for i in range(c.layers):
            c.norms(i, *norms), c.attention(i, fused=True), c.network(i, gated=False)
        yield c.output(tied=True)

    yield Case("tiny-gemma", "gemma", kv_heads=1, head_dim=16).llama_layers().output(tied=True)

    caps = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "attention__sliding_window": 5}
    c = Case("tiny-gemma2", "gemma2", layers=3, kv_heads=2, head_dim=16, **caps)
    for i in range(c.layers):
        c.norms(i, "attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"), c.attention(i), c.network(i)
    yield c.output(tied=True)

    linear = {"rope__scaling__type": "linear", "rope__scaling__factor": 4.0, "rope__freq_base": 1e6}
    c = Case("tiny-gemma3", "gemma3", layers=6, heads=2, kv_heads=1, head_dim=8, attention__sliding_window=5, **linear)
    for i in range(c.layers):
        c.norms(i, "attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
        c.attention(i, qk="head"), c.network(i)
    yield c.output(tied=True)

    for name in ["gpt2", "gpt2-erf"]:
        c = Case("tiny-" + name, "gpt2", norm="bias", ffn=64)
        c.matrix("position_embd", 64, DIM, 1.0)
        if name == "gpt2-erf":
            c.keys["kinglet.activation"] = "gelu"
        yield c.llama_layers(network={"gated": False, "bias": True}, fused=True, bias=True).output(tied=True)

    for name, parallel in [("", True), ("-serial", False)]:
        c = Case("tiny-gptneox" + name, "gptneox", norm="bias", rope__dimension_count=4, use_parallel_residual=parallel)
        yield c.llama_layers(network={"gated": False, "bias": True}, fused=True, bias=True).output()

    scales = {"attention__scale": 0.2, "embedding_scale": 6.0, "residual_scale": 0.4, "logit_scale": 1.25}
    yield Case("tiny-granite", "granite", kv_heads=2, **scales).llama_layers().output(tied=True)

    c = Case("tiny-granite-nope", "granite", layers=1, kv_heads=1, rope__scaling__finetuned=False, logit_scale=0.75)
    yield c.llama_layers().output()

    yield Case("tiny-internlm2", "internlm2", kv_heads=2, rope__freq_base=1e6).llama_layers().output()

    c = Case("tiny-lfm2", "lfm2", layers=4, kv_heads=2, shortconv__l_cache=4)
    c.keys["lfm2.attention.head_count_kv"] = [0, 2, 0, 2]
    for i in range(c.layers):
        c.norms(i), c.network(i)
        if i % 2:
            c.attention(i, qk="head")
        else:
            c.matrix(f"blk.{i}.shortconv.in_proj", 3 * DIM, DIM), c.matrix(f"blk.{i}.shortconv.out_proj", DIM, DIM)
            c.tensor(f"blk.{i}.shortconv.conv.weight", c.rng.normal(0, 0.6, (DIM, 4)))
    yield c.output(tied=True, norm="token_embd_norm")

    # Mixtral: `llama` with experts.
    c = Case("tiny-llama-moe", "llama", kv_heads=2, expert_count=4, expert_used_count=2)
    for i in range(c.layers):
        c.norms(i), c.attention(i), c.experts(i, 4, c.ffn)
    yield c.output()

    # As the first files had it: a tensor for each expert; in the second layer gate and up are one.
    c = Case("tiny-llama-moe-each", "llama", kv_heads=2, expert_count=3, expert_used_count=2)
    for i in range(c.layers):
        c.norms(i), c.attention(i), c.experts(i, 3, c.ffn)
        gate, up, down = (c.tensors.pop(at)[1] for at in (-4, -3, -2))
        for e in range(3) if i == 0 else ():
            for part, t in [("gate", gate), ("up", up), ("down", down)]:
                c.tensor(f"blk.{i}.ffn_{part}.{e}.weight", t[e])
        if i == 1:
            c.tensor(f"blk.{i}.ffn_gate_up_exps.weight", np.concatenate([gate, up], 1))
            c.tensor(f"blk.{i}.ffn_down_exps.weight", down)
    yield c.output()

    yield Case("tiny-minicpm", "minicpm", kv_heads=2, logit_scale=2.0).llama_layers().output(tied=True)

    # Values as wide as no key says, and a sequence past the context length: long factors.
    c = Case("tiny-minicpm3", "minicpm3", **{"attention__q_lora_rank": 32, "attention__kv_lora_rank": 32})
    c.key(**{"attention.key_length": 24, "rope.dimension_count": 8, "context_length": 16})
    c.n_ctx = 32
    for i in range(c.layers):
        blk = f"blk.{i}."
        c.norms(i), c.network(i), c.norm(blk + "attn_q_a_norm"), c.norm(blk + "attn_kv_a_norm")
        c.matrix(blk + "attn_q_a", 32, DIM, 1.6), c.matrix(blk + "attn_q_b", 4 * 24, 32, 1.6)
        c.matrix(blk + "attn_kv_a_mqa", 32 + 8, DIM, 1.6), c.matrix(blk + "attn_kv_b", 4 * (16 + 8), 32, 1.6)
        c.matrix(blk + "attn_output", DIM, 4 * 8)
    for part, most in [("short", 1.5), ("long", 8.0)]:
        c.tensor(f"rope_factors_{part}.weight", np.linspace(1, most, 4))
    yield c.output()

    # Queries without a latent vector.
    c = Case("tiny-minicpm3-direct", "minicpm3", layers=1, **{"attention__kv_lora_rank": 32, "attention__key_length": 24})
    c.key(**{"rope.dimension_count": 8, "attention.value_length": 16})
    blk = "blk.0."
    c.norms(0), c.network(0), c.norm(blk + "attn_kv_a_norm"), c.matrix(blk + "attn_q", 4 * 24, DIM, 1.6)
    c.matrix(blk + "attn_kv_a_mqa", 32 + 8, DIM, 1.6), c.matrix(blk + "attn_kv_b", 4 * (16 + 16), 32, 1.6)
    c.matrix(blk + "attn_output", DIM, 4 * 16)
    yield c.output(tied=True)

    c = Case("tiny-mpt", "mpt", heads=6, head_dim=8, norm="plain", attention__max_alibi_bias=4.0, attention__clamp_kqv=1.5)
    yield c.llama_layers(network={"gated": False}, fused=True, qk="whole").output(tied=True)

    c = Case("tiny-olmo", "olmo", norm="plain", attention__clamp_kqv=1.5)
    for i in range(c.layers):
        c.attention(i), c.network(i)
    yield c.output(norm=None)

    yarn = {"type": "yarn", "factor": 4.0, "original_context_length": 16}
    yarn = {f"rope__scaling__{k}": v for k, v in yarn.items()}
    for name, layers, keys in [("olmo2", 2, {}), ("olmo3", 4, {"attention__sliding_window": 5, **yarn})]:
        c = Case("tiny-" + name, "olmo2", layers=layers, **keys)
        for i in range(layers):
            c.norms(i, "post_attention_norm", "post_ffw_norm"), c.attention(i, qk="whole"), c.network(i)
        yield c.output()

    c = Case("tiny-olmoe", "olmoe", expert_count=6, expert_used_count=3)
    for i in range(c.layers):
        c.norms(i), c.attention(i, qk="whole"), c.experts(i, 6, c.ffn)
    yield c.output()

    c = Case("tiny-openelm", "openelm", layers=3, head_dim=16)
    heads, kv_heads, ffn = [3, 4, 6], [1, 2, 2], [32, 64, 96]
    c.key(**{"attention.head_count": heads, "attention.head_count_kv": kv_heads, "feed_forward_length": ffn})
    for i in range(c.layers):
        c.norms(i), c.network(i, ffn=ffn[i])
        c.attention(i, fused=True, qk="head", heads=heads[i], kv_heads=kv_heads[i])
    yield c.output(tied=True)

    c = Case("tiny-phi2", "phi2", norm="bias", rope__dimension_count=4)
    for i in range(c.layers):
        c.norms(i, "attn_norm"), c.attention(i, fused=True, bias=True), c.network(i, gated=False, bias=True)
    yield c.output(bias=True)

    # Short factors with a window, and long ones with a part of each head rotated.
    factor = {"rope__scaling__attn_factor": 1.25, "attention__sliding_window": 5}
    for name, n_rot, n_ctx, keys in [("window", 8, 32, factor), ("long", 6, 64, {"attention__sliding_window": 0})]:
        c = Case("tiny-phi3-" + name, "phi3", kv_heads=2, rope__dimension_count=n_rot, **keys)
        c.key(**{"rope.scaling.original_context_length": 32, "rope.scaling.attn_factor": 1.25})
        c.n_ctx = n_ctx
        for part, most in [("short", 1.5), ("long", 8.0)]:
            c.tensor(f"rope_factors_{part}.weight", np.linspace(1, most, n_rot // 2))
        yield c.llama_layers(network={"fused": True}, fused=True).output(tied=name == "long")

    # A shared expert behind a gate.
    c = Case("tiny-qwen2moe", "qwen2moe", kv_heads=2, ffn=96, expert_count=5, expert_used_count=2)
    c.key(expert_feed_forward_length=32, expert_shared_feed_forward_length=64)
    for i in range(c.layers):
        c.norms(i), c.attention(i, bias=True, o_bias=False), c.experts(i, 5, 32)
        c.network(i, ffn=64, suffix="_shexp"), c.matrix(f"blk.{i}.ffn_gate_inp_shexp", 1, DIM)
    yield c.output()

    yield Case("tiny-qwen3", "qwen3", kv_heads=2, head_dim=16).llama_layers(qk="head").output(tied=True)

    # One layer without experts among those with.
    c = Case("tiny-qwen3moe", "qwen3moe", kv_heads=2, head_dim=16, ffn=64, expert_count=5, expert_used_count=3)
    c.key(expert_feed_forward_length=32)
    for i in range(c.layers):
        c.norms(i), c.attention(i, qk="head"), c.network(i) if i == 0 else c.experts(i, 5, 32)
    yield c.output()

    yield Case("tiny-smollm3", "smollm3", layers=4, kv_heads=1, rope__freq_base=5e4).llama_layers().output(tied=True)

    c = Case("tiny-stablelm", "stablelm", norm="bias", rope__dimension_count=4, use_parallel_residual=False)
    yield c.llama_layers().output()
    c = Case("tiny-stablelm-12b", "stablelm", kv_heads=2, norm="bias", rope__dimension_count=4, use_parallel_residual=True)
    for i in range(c.layers):
        c.norms(i, "attn_norm"), c.attention(i, bias=True, o_bias=False, qk="own"), c.network(i)
    yield c.output()

    c = Case("tiny-starcoder2", "starcoder2", kv_heads=2, norm="bias", ffn=64)
    yield c.llama_layers(network={"gated": False, "bias": True}, bias=True).output(tied=True)


def make(out):
    for case in cases():
        logits = case.write(out / case.name)
        print(f"{case.name:<24} logits {logits.std():.2f}")
