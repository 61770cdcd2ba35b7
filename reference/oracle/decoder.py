#!/usr/bin/env python3
"""A second decoder, in numpy and float64, that reads only a GGUF file: the oracle of the small models in reference/fixtures.

    pip install numpy
    python3 reference/oracle/decoder.py check DIR...    distance from the logits.f32 of each case folder
    python3 reference/oracle/decoder.py make OUT        makes the small cases of reference/oracle/families.py in OUT

It is written from the original definitions of the families and shares nothing with the Rust decoder. `check` over a set of cases whose
logits come from the original implementations (transformers, open_lm, the models' own code) is what makes it an oracle: it
must print distances near 1e-6 of the largest logit, which is what rounding to f32 costs the other side.
"""

import json
import math
import struct
import sys
from pathlib import Path

import numpy as np


def read_gguf(path):
    """The metadata and the F32 and F16 tensors, shaped as in PyTorch, of a GGUF v3 file."""
    data = Path(path).read_bytes()
    at = 0

    def take(fmt):
        nonlocal at
        (value,) = struct.unpack_from("<" + fmt, data, at)
        at += struct.calcsize("<" + fmt)
        return value

    def string():
        nonlocal at
        n = take("Q")
        at += n
        return data[at - n : at].decode()

    def value(kind):
        if kind == 8:
            return string()
        if kind == 9:
            of, n = take("I"), take("Q")
            return [value(of) for _ in range(n)]
        return take({0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}[kind])

    assert take("I") == 0x46554747 and take("I") == 3, path
    n_tensors, n_keys = take("Q"), take("Q")
    keys = {}
    for _ in range(n_keys):
        key = string()
        keys[key] = value(take("I"))
    infos = []
    for _ in range(n_tensors):
        name = string()
        shape = [take("Q") for _ in range(take("I"))]
        kind, offset = take("I"), take("Q")
        assert kind in (0, 1), f"{name} is neither F32 nor F16"
        infos.append((name, shape[::-1], kind, offset))
    start = (at + 31) // 32 * 32
    tensors = {}
    for name, shape, kind, offset in infos:
        flat = np.frombuffer(data, ["<f4", "<f2"][kind], math.prod(shape), start + offset)
        tensors[name] = flat.reshape(shape).astype(np.float64)
    return keys, tensors


erf = np.vectorize(math.erf)
ACTIVATIONS = {
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
}


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


LAYER_NORM = {"bloom", "dclm", "falcon", "gpt2", "gptneox", "mpt", "olmo", "phi2", "stablelm", "starcoder2"}
INTERLEAVED = {"llama", "minicpm", "granite", "smollm3", "internlm2", "olmo"}
NO_ROPE = {"bloom", "gpt2", "mpt"}
NO_GATE = {"bloom", "falcon", "gpt2", "gptneox", "mpt", "phi2", "starcoder2"}
GEMMA = {"gemma", "gemma2", "gemma3"}
ACTIVATION = {
    "bloom": "gelu_tanh", "gpt2": "gelu_tanh", "phi2": "gelu_tanh", "starcoder2": "gelu_tanh", "gemma": "gelu_tanh",
    "gemma2": "gelu_tanh", "gemma3": "gelu_tanh", "falcon": "gelu", "gptneox": "gelu", "mpt": "gelu",
}


class Model:
    def __init__(self, path, n_ctx):
        self.keys, self.t = read_gguf(path)
        self.arch = self.keys["general.architecture"]
        self.n_ctx = n_ctx or self.key("context_length")
        self.n_layers = self.key("block_count")
        self.dim = self.key("embedding_length")
        kind = "layer_norm_epsilon" if self.arch in LAYER_NORM else "layer_norm_rms_epsilon"
        self.eps = self.key("attention." + kind, 1e-5)
        name = self.keys.get("kinglet.activation", self.key("hidden_act", ACTIVATION.get(self.arch, "silu")))
        self.act = ACTIVATIONS[name]

    def key(self, name, default=None):
        value = self.keys.get(f"{self.arch}.{name}", default)
        assert value is not None, name
        return value

    def per_layer(self, name, i, default=None):
        value = self.key(name, default)
        return value[i] if isinstance(value, list) else value

    def norm(self, x, name):
        """Over the last axis of the weight; [heads][head_dim] weights norm each head by itself."""
        w, b = self.t.get(name + ".weight"), self.t.get(name + ".bias")
        if self.arch in LAYER_NORM:
            x = x - x.mean(-1, keepdims=True)
        y = x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps)
        y = y if w is None else y * w
        return y if b is None else y + b

    def linear(self, x, name):
        y = x @ self.t[name + ".weight"].T
        return y + self.t[name + ".bias"] if name + ".bias" in self.t else y

    def has(self, name):
        return name + ".weight" in self.t

    # Position

    def rope(self, x, i, windowed):
        """Rotates the first (MLA: last) `rope.dimension_count` values of x: [n][heads][head_dim]."""
        head_dim = x.shape[-1]
        n_rot = self.key("rope.dimension_count", head_dim)
        base = self.keys.get("kinglet.rope_theta", self.key("rope.freq_base", 1e6 if self.arch == "gemma3" else 10000.0))
        # Old files have a factor and no type.
        factor = self.key("rope.scaling.factor", self.key("rope.scale_linear", 1.0))
        kind = self.key("rope.scaling.type", "linear")
        scale = self.key("rope.scaling.attn_factor", 1.0)
        if self.arch == "gemma3" and windowed:
            base, factor = self.key("rope.freq_base_swa", 10000.0), 1.0
        if self.arch == "olmo2" and windowed:
            kind, scale, base = "none", 1.0, self.key("rope.freq_base_swa", base)
        freq = base ** (-np.arange(0, n_rot, 2) / n_rot)
        for part in ["rope_freqs", "rope_factors_short", "rope_factors_long"]:
            long = self.n_ctx > self.key("rope.scaling.original_context_length", self.key("context_length"))
            if self.has(part) and part != ("rope_factors_short" if long else "rope_factors_long"):
                freq = freq / self.t[part + ".weight"]
        if kind == "linear":
            freq = freq / factor
        if kind == "yarn":
            turns = self.key("rope.scaling.original_context_length", self.key("context_length")) / (2 * math.pi)

            def pair(rotations):
                return n_rot * math.log(turns / rotations) / (2 * math.log(base))

            fast, slow = self.key("rope.scaling.yarn_beta_fast", 32.0), self.key("rope.scaling.yarn_beta_slow", 1.0)
            low, high = max(math.floor(pair(fast)), 0), min(math.ceil(pair(slow)), n_rot - 1)
            ramp = np.clip((np.arange(n_rot // 2) - low) / max(high - low, 0.001), 0, 1)
            freq = freq / factor * ramp + freq * (1 - ramp)
            scale *= 0.1 * math.log(factor) + 1
        angle = np.arange(x.shape[0])[:, None, None] * freq
        cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
        start = head_dim - n_rot if self.arch == "minicpm3" else 0
        part = x[..., start : start + n_rot]
        out = x.copy()
        y = out[..., start : start + n_rot]
        if self.arch in INTERLEAVED:
            a, b = part[..., 0::2], part[..., 1::2]
            y[..., 0::2], y[..., 1::2] = a * cos - b * sin, b * cos + a * sin
        else:
            a, b = part[..., : n_rot // 2], part[..., n_rot // 2 :]
            y[..., : n_rot // 2], y[..., n_rot // 2 :] = a * cos - b * sin, b * cos + a * sin
        return out

    def window(self, i):
        """How many keys a query of layer i sees, itself included; 0 for all."""
        if "kinglet.windows" in self.keys:
            return self.keys["kinglet.windows"][i]
        size = self.key("attention.sliding_window", 4096 if self.arch == "gemma2" else 0)
        pattern = self.key("attention.sliding_window_pattern", {"gemma2": 2, "gemma3": 6, "olmo2": 4}.get(self.arch, 0))
        local = pattern[i] if isinstance(pattern, list) else pattern == 0 or i % pattern != pattern - 1
        return size if local else 0

    def rotated(self, i):
        if "kinglet.rope_layers" in self.keys:
            return self.keys["kinglet.rope_layers"][i]
        if self.arch in NO_ROPE or self.arch == "granite" and not self.key("rope.scaling.finetuned", True):
            return False
        return not (self.arch == "smollm3" and i % 4 == 3)

    def slopes(self, n):
        most = {"bloom": 8.0}.get(self.arch) or self.key("attention.max_alibi_bias", 0.0)
        whole = 2 ** math.floor(math.log2(n))
        first = [2 ** (-most * (h + 1) / whole) for h in range(whole)]
        rest = [2 ** (-most * (2 * h + 1) / (2 * whole)) for h in range(n - whole)]
        return np.array(first + rest) if most > 0 else np.zeros(n)

    # Halves of a layer

    def projections(self, h, blk, heads, kv_heads, head_dim, value_dim):
        n = len(h)
        if self.has(blk + "attn_kv_a_mqa"):
            n_rot, rank = self.key("rope.dimension_count"), self.key("attention.kv_lora_rank")
            if self.has(blk + "attn_q_a"):
                q = self.linear(self.norm(self.linear(h, blk + "attn_q_a"), blk + "attn_q_a_norm"), blk + "attn_q_b")
            else:
                q = self.linear(h, blk + "attn_q")
            kv_a = self.linear(h, blk + "attn_kv_a_mqa")
            kv = self.linear(self.norm(kv_a[:, :rank], blk + "attn_kv_a_norm"), blk + "attn_kv_b")
            kv = kv.reshape(n, heads, head_dim - n_rot + value_dim)
            end = np.repeat(kv_a[:, None, rank:], heads, 1)
            k = np.concatenate([kv[..., : head_dim - n_rot], end], -1)
            return q.reshape(n, heads, head_dim), k, kv[..., head_dim - n_rot :]
        if self.has(blk + "attn_qkv"):
            sizes = np.cumsum([heads * head_dim, kv_heads * head_dim])
            q, k, v = np.split(self.linear(h, blk + "attn_qkv"), sizes, 1)
        else:
            q, k, v = (self.linear(h, blk + part) for part in ("attn_q", "attn_k", "attn_v"))
        limit = self.key("attention.clamp_kqv", 0.0)
        if limit:
            q, k, v = (np.clip(x, -limit, limit) for x in (q, k, v))
        whole = self.has(blk + "attn_q_norm") and self.t[blk + "attn_q_norm.weight"].shape == (heads * head_dim,)
        whole &= heads > 1
        if whole:
            q, k = self.norm(q, blk + "attn_q_norm"), self.norm(k, blk + "attn_k_norm")
        q, k = q.reshape(n, heads, head_dim), k.reshape(n, kv_heads, head_dim)
        if self.has(blk + "attn_q_norm") and not whole:
            q, k = self.norm(q, blk + "attn_q_norm"), self.norm(k, blk + "attn_k_norm")
        return q, k, v.reshape(n, kv_heads, value_dim)

    def attention(self, h, i):
        blk, n = f"blk.{i}.", len(h)
        heads = self.per_layer("attention.head_count", i)
        kv_heads = self.per_layer("attention.head_count_kv", i, heads)
        head_dim = self.key("attention.key_length", self.dim // heads)
        value_dim = self.t[blk + "attn_output.weight"].shape[1] // heads
        q, k, v = self.projections(h, blk, heads, kv_heads, head_dim, value_dim)
        window = self.window(i)
        if self.rotated(i):
            q, k = self.rope(q, i, window > 0), self.rope(k, i, window > 0)
        k, v = (np.repeat(x, heads // k.shape[1], 1) for x in (k, v))
        scale = self.key("attention.scale", 0.0) or 1 / math.sqrt(head_dim)
        if (self.arch, self.n_layers) in [("gemma2", 46), ("gemma3", 62)]:
            scale = 1 / math.sqrt(self.dim / heads)
        scores = np.einsum("qhd,khd->hqk", q, k) * self.keys.get("kinglet.attention_scale", scale)
        cap = self.key("attn_logit_softcapping", 50.0 if self.arch == "gemma2" else 0.0)
        if cap:
            scores = cap * np.tanh(scores / cap)
        distance = np.arange(n)[None, :] - np.arange(n)[:, None]
        if self.arch in ("bloom", "mpt"):
            scores = scores + self.slopes(heads)[:, None, None] * distance
        seen = distance <= 0
        if window:
            seen &= distance > -window
        scores = np.where(seen, scores, -np.inf)
        out = np.einsum("hqk,khd->qhd", softmax(scores), v).reshape(n, -1)
        if self.has(blk + "attn_sub_norm"):
            out = self.norm(out, blk + "attn_sub_norm")
        return self.linear(out, blk + "attn_output")

    def short_conv(self, h, i):
        blk = f"blk.{i}.shortconv."
        gate_in, gate_out, x = np.split(self.linear(h, blk + "in_proj"), 3, 1)
        w = self.t[blk + "conv.weight"]
        kernel = w.shape[1]
        x = np.concatenate([np.zeros((kernel - 1, self.dim)), gate_in * x])
        y = sum(w[:, j] * x[j : j + len(h)] for j in range(kernel))
        return self.linear(gate_out * y, blk + "out_proj")

    def network(self, h, blk, suffix=""):
        up = self.linear(h, f"{blk}ffn_up{suffix}")
        if self.arch in NO_GATE:
            h = self.act(up)
        elif self.has(f"{blk}ffn_gate{suffix}"):
            h = self.act(self.linear(h, f"{blk}ffn_gate{suffix}")) * up
        else:
            gate, up = np.split(up, 2, 1)
            h = self.act(gate) * up
        if self.has(blk + "ffn_sub_norm"):
            h = self.norm(h, blk + "ffn_sub_norm")
        return self.linear(h, f"{blk}ffn_down{suffix}")

    def ffn(self, h, i):
        blk = f"blk.{i}."
        if not self.has(blk + "ffn_gate_inp"):
            return self.network(h, blk)
        weights = softmax(self.linear(h, blk + "ffn_gate_inp"))
        used = self.key("expert_used_count")
        sum_to_1 = self.key("expert_weights_norm", self.arch in ("qwen3moe", "llama"))
        out = np.zeros_like(h)
        for t, w in enumerate(weights):
            chosen = np.argsort(-w, kind="stable")[:used]
            w = w[chosen] / (w[chosen].sum() if sum_to_1 else 1) * self.key("expert_weights_scale", 1.0)
            for weight, e in zip(w, chosen):
                gate, up, down = self.expert(blk, e)
                out[t] += weight * (down @ (self.act(gate @ h[t]) * (up @ h[t])))
        if self.has(blk + "ffn_up_shexp"):
            # One output, in some files a vector.
            gate = self.t[blk + "ffn_gate_inp_shexp.weight"].ravel()
            gate = 1 / (1 + np.exp(-(h @ gate)[:, None]))
            out += gate * self.network(h, blk, "_shexp")
        return out

    def expert(self, blk, e):
        if self.has(f"{blk}ffn_gate_up_exps"):
            gate, up = np.split(self.t[f"{blk}ffn_gate_up_exps.weight"][e], 2)
            return gate, up, self.t[f"{blk}ffn_down_exps.weight"][e]
        # The first files had a tensor for each expert.
        each = self.has(f"{blk}ffn_up.0")
        of = (lambda p: self.t[f"{blk}ffn_{p}.{e}.weight"]) if each else (lambda p: self.t[f"{blk}ffn_{p}_exps.weight"][e])
        return of("gate"), of("up"), of("down")

    def logits(self, tokens):
        arch, norm = self.arch, self.norm
        granite = arch in ("granite", "minicpm", "minicpm3")
        depth, wide = 1.4 / math.sqrt(self.n_layers), self.dim / 256
        defaults = (1.0, 1.0, 1.0) if arch == "granite" else (12.0, depth, wide)
        emb, residual, divide = (
            self.key(k, d) if granite else 1.0
            for k, d in zip(("embedding_scale", "residual_scale", "logit_scale"), defaults)
        )
        x = self.t["token_embd.weight"][tokens] * (math.sqrt(self.dim) if arch in GEMMA else emb)
        if self.has("position_embd"):
            x = x + self.t["position_embd.weight"][: len(tokens)]
        if arch == "bloom":
            x = norm(x, "token_embd_norm")
        parallel = arch in ("falcon", "phi2") or (arch == "gptneox" and self.key("use_parallel_residual", True))
        parallel |= arch == "stablelm" and not self.has("blk.0.ffn_norm")
        for i in range(self.n_layers):
            blk = f"blk.{i}."
            mix = self.short_conv if self.has(blk + "shortconv.conv") else self.attention
            if parallel:
                # Falcon 40B calls the norm of attention `attn_norm_2`.
                two = self.has(blk + "attn_norm_2")
                h = norm(x, blk + ("attn_norm_2" if two else "attn_norm"))
                g = norm(x, blk + "attn_norm") if two else h
                g = norm(x, blk + "ffn_norm") if self.has(blk + "ffn_norm") else g
                x = x + mix(h, i) + self.ffn(g, i)
            else:
                pre = arch != "olmo2"
                h = mix(norm(x, blk + "attn_norm") if pre else x, i)
                h = norm(h, blk + "post_attention_norm") if self.has(blk + "post_attention_norm") else h
                x = x + h * residual
                h = self.ffn(norm(x, blk + "ffn_norm") if pre else x, i)
                h = norm(h, blk + "post_ffw_norm") if self.has(blk + "post_ffw_norm") else h
                x = x + h * residual
        last = "output_norm" if self.has("output_norm") or arch == "olmo" else "token_embd_norm"
        x = norm(x, last)
        y = self.linear(x, "output" if self.has("output") else "token_embd") / divide
        cap = self.key("final_logit_softcapping", 30.0 if self.arch == "gemma2" else 0.0)
        return cap * np.tanh(y / cap) if cap else y


def run(folder):
    """The oracle's logits of a case folder."""
    case = json.loads((folder / "case.json").read_text())
    tokens = json.loads((folder / "tokens.json").read_text())
    return Model(folder / "model.gguf", case.get("n_ctx")).logits(tokens)


def check(folders):
    worst = 0.0
    for folder in map(Path, folders):
        tanh = folder / "logits_tanh_gelu.f32"
        expected = np.fromfile(tanh if "gpt2" in folder.name and tanh.exists() else folder / "logits.f32", "<f4")
        y = run(folder).ravel()
        rel = np.abs(y - expected).max() / np.abs(expected).max()
        print(f"{folder.name:<28} {rel:.2e} of the largest logit")
        worst = max(worst, rel)
    return worst < 2e-5


def main():
    if sys.argv[1:2] == ["check"]:
        sys.exit(0 if check(sys.argv[2:]) else "too far")
    if sys.argv[1:2] == ["make"] and len(sys.argv) == 3:
        from families import make

        return make(Path(sys.argv[2]))
    sys.exit(__doc__)


if __name__ == "__main__":
    main()
