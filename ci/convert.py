#!/usr/bin/env python3
"""The part of ci/convert.sh that looks at the files: convert.py KINGLET CONVERTED FIXTURES, with gguf and tokenizers installed."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from gguf import GGUFReader, quants
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

TYPES = ["F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "IQ4_NL", "Q5_1", "Q5_0", "Q4_1", "Q4_0"]
# rms of the error in parts of the values' own, for any type.
WORST = 0.13
kinglet, converted, fixtures = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
failed = []


def check(what, good, detail=""):
    if not good:
        failed.append(what)
        print(f"FAILED: {what} {detail}")


def run(*args):
    done = subprocess.run([kinglet, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    check(" ".join(map(str, args)), done.returncode == 0, done.stderr.decode())
    return done.stdout.decode()


def tensors(path):
    return {t.name: quants.dequantize(t.data, t.tensor_type) for t in GGUFReader(path).tensors}


def keys(path):
    return {k: f.contents() for k, f in GGUFReader(path).fields.items()}


def quantized(folder, exact, tmp, types):
    """Converts to each type; what the gguf package decodes must be nearly what it was."""
    for kind in types:
        out = tmp / "quantized.gguf"
        run("convert", folder, "-o", out, "--type", kind, "--tokenizer", "none", "--force", "-q")
        values = tensors(out)
        check(f"{folder.name} {kind}: names", set(values) == set(exact))
        for name, x in exact.items():
            error = np.sqrt(np.mean((values[name].reshape(x.shape) - x) ** 2.0)) / np.sqrt(np.mean(x**2.0))
            check(f"{folder.name} {kind}: {name}", error < WORST, f"is off by {error:.3f}")


def families(tmp):
    found = sorted(converted.glob("*.gguf"))
    check("checkpoints of every family", len(found) >= 20, f"{len(found)} files")
    for path in found:
        fixture = fixtures / path.stem
        ours, original = tensors(path), tensors(fixture / "model.gguf")
        check(f"{path.stem}: names", set(ours) == set(original))
        for name, x in original.items():
            check(f"{path.stem}: {name}", ours[name].shape == x.shape and np.allclose(ours[name], x, rtol=1e-6, atol=0))
        theirs = keys(fixture / "model.gguf")
        for key, value in keys(path).items():
            # OpenELM has no key for the norm's epsilon: it is always 1e-6, and the fixture's 1e-5.
            if key in theirs and key.startswith(theirs["general.architecture"] + ".") and "openelm.attention.layer_norm" not in key:
                check(f"{path.stem}: {key}", np.allclose(value, theirs[key]) if not isinstance(value, str) else value == theirs[key], f"{value}, not {theirs[key]}")
        n_ctx = json.loads((fixture / "case.json").read_text()).get("n_ctx") or 64
        run("logits", path, "--tokens", fixture / "tokens.json", "--out", tmp / "logits", "--kv", "f32", "--ctx", n_ctx, "-q")
        got, want = np.fromfile(tmp / "logits", "<f4"), np.fromfile(fixture / "logits.f32", "<f4")
        far = np.abs(got - want).max() / np.abs(want).max()
        check(f"{path.stem}: logits", far <= (1e-3 if "openelm" in path.stem else 2e-5), f"{far:.1e} of the largest")
        print(f"{path.stem:<28} {len(ours):>4} tensors, logits within {far:.1e} of the oracle's largest")
        quantized(converted / path.stem, original, tmp, TYPES)


def llama(folder, vocab):
    """A checkpoint of one layer, whose rows are whole super-blocks."""
    rng, dim, ffn, header, data = np.random.default_rng(vocab), 256, 512, {}, b""
    folder.mkdir(exist_ok=True)
    shapes = {"model.embed_tokens": (vocab, dim), "model.norm": (dim,), "lm_head": (vocab, dim)}
    for part, shape in {
        "input_layernorm": (dim,), "post_attention_layernorm": (dim,), "self_attn.q_proj": (dim, dim), "self_attn.k_proj": (dim // 2, dim),
        "self_attn.v_proj": (dim // 2, dim), "self_attn.o_proj": (dim, dim), "mlp.gate_proj": (ffn, dim), "mlp.up_proj": (ffn, dim),
        "mlp.down_proj": (dim, ffn),
    }.items():
        shapes["model.layers.0." + part] = shape
    for name, shape in shapes.items():
        x = (rng.standard_t(5, shape) * 0.05).astype("<f4").tobytes()
        header[name + ".weight"] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(x)]}
        data += x
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "hidden_size": dim, "intermediate_size": ffn, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
    }))


QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEXTS = [
    "The kinglet is the smallest bird of its forest.", " two  spaces and   three", "tabs\tand\nlines\r\n\n\nend ", "12345 67,89 3.14",
    "naïve café, größer, Übermut", "日本語 und العربية", "emoji 🐦🦜 and \u200b zero width", "don't we'll I'M", "", " ", "▁ a▁b",
]


def tokenizer(kind):
    spm = kind.startswith("spm")
    specials = ["<unk>", "<s>", "</s>"] if spm else ["<|endoftext|>"]
    bytes_ = [f"<0x{b:02X}>" for b in range(256)] if spm else []
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True) if spm else models.BPE())
    alphabet = [] if spm else pre_tokenizers.ByteLevel.alphabet()
    if spm:
        # Words for the training only: SentencePiece's own rules join across none either.
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        t.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    elif kind == "gpt-2":
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif kind == "qwen2":
        split = pre_tokenizers.Split(Regex(QWEN2), "isolated")
        t.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    corpus = [p.read_text() for p in sorted(Path("kernels/src").rglob("*.rs"))] + [p.read_text() for p in sorted(Path(".").glob("*.md"))]
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=3000, special_tokens=specials + bytes_, initial_alphabet=alphabet, show_progress=False))
    if spm:
        t.pre_tokenizer = None
        if kind == "spm-gemma":
            t.normalizer = normalizers.Replace(" ", "▁")
            t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        elif kind == "spm-mistral":
            t.normalizer = None
            t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
        t.decoder = decoders.ByteFallback()
    made = json.loads(t.to_str())
    # Bytes are ordinary tokens of the model.
    made["added_tokens"] = [a for a in made["added_tokens"] if a["content"] in specials]
    return made


def tokenizers(tmp):
    for kind in ["gpt-2", "qwen2", "spm-llama", "spm-mistral", "spm-gemma"]:
        folder, out = tmp / kind, tmp / f"{kind}.gguf"
        made = tokenizer(kind)
        llama(folder, len(made["model"]["vocab"]))
        (folder / "tokenizer.json").write_text(json.dumps(made))
        bos = "<s>" if kind.startswith("spm") else "<|endoftext|>"
        (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": bos, "eos_token": bos, "add_bos_token": False, "chat_template": "x"}))
        run("convert", folder, "-o", out, "--type", "Q4_K_M", "-q")
        own, found = Tokenizer.from_str(json.dumps(made)), keys(out)
        check(f"{kind}: model", found["tokenizer.ggml.model"] == ("llama" if kind.startswith("spm") else "gpt2"))
        check(f"{kind}: template", found["tokenizer.chat_template"] == "x")
        for text in TEXTS:
            # SentencePiece puts its space before a text that begins with one too; this way of the library's does not, and no key of
            # GGUF tells them apart.
            if kind == "spm-mistral" and text.startswith((" ", "▁")):
                continue
            (tmp / "text").write_bytes(text.encode())
            got = json.loads(run("tokenize", out, "--no-bos", "--no-special", "--file", tmp / "text", "-q"))
            want = own.encode(text, add_special_tokens=False).ids
            check(f"{kind}: ids of {text!r}", got == want, f"{got}, not {want}")
        print(f"{kind:<28} tokenizer of {len(made['model']['vocab'])} tokens, {len(TEXTS)} texts")
    quantized(tmp / "gpt-2", tensors(run_f32(tmp / "gpt-2", tmp)), tmp, TYPES)


def run_f32(folder, tmp):
    run("convert", folder, "-o", tmp / "exact.gguf", "--type", "F32", "--tokenizer", "none", "--force", "-q")
    return tmp / "exact.gguf"


with tempfile.TemporaryDirectory() as tmp:
    families(Path(tmp))
    tokenizers(Path(tmp))
sys.exit(f"{len(failed)} checks failed" if failed else 0)
