#!/usr/bin/env python3
"""Makes a tiny checkpoint of each family that `kinglet convert` knows with transformers' own classes, converts it, and compares logits.

    pip install torch==2.15.0 transformers==5.23.0 gguf==0.19.0 safetensors==0.8.0
    pip install llama-cpp-python==0.3.36                                             # for --llama
    python3 reference/oracle/checkpoints.py --kinglet target/release/kinglet [--llama] [--keep DIR] [FAMILY ...]

Weights are random. Logits of the F32 file must be within 2e-5 of the largest of transformers' (4e-4 for what llama.cpp does in f16).
With --llama the file is loaded by llama.cpp too, and for each quantized type the tensors have the types that llama.cpp's own quantizer
gives them, with no larger an error. MiniCPM has no class in transformers: it is Llama with its factors multiplied into the weights.
OpenELM and DCLM are compared with this folder's decoder in runtime/tests/convert.rs.
"""

import argparse
import ctypes
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from gguf import GGUFReader, quants

VOCAB, DIM, FFN, LAYERS, CONTEXT, HEADS = 320, 256, 512, 4, 256, 8
TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K"]
FTYPES = {"Q4_0": 2, "Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "Q8_0": 7, "IQ4_NL": 25, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18}
SIZES = {
    "vocab_size": VOCAB, "hidden_size": DIM, "intermediate_size": FFN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "max_position_embeddings": CONTEXT, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None,
}
GPT2 = {"vocab_size": VOCAB, "n_embd": DIM, "n_layer": LAYERS, "n_head": HEADS, "n_positions": CONTEXT, "n_inner": FFN, "bos_token_id": 1, "eos_token_id": 2}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
LONG = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": np.linspace(1, 1.5, 16).tolist(), "long_factor": np.linspace(1, 8, 16).tolist()}


def plain(theta):
    return {"rope_type": "default", "rope_theta": theta}


# Family, class in transformers, configuration, class that config.json names where it is another.
CASES = {
    "qwen2": (hf.Qwen2ForCausalLM, {**SIZES, "num_key_value_heads": 2, "tie_word_embeddings": True, "rope_parameters": plain(1e6)}, None),
    "mistral-nemo": (hf.MistralForCausalLM, {**SIZES, "num_key_value_heads": 2, "head_dim": 64, "sliding_window": None, "rope_parameters": plain(1e6)}, None),
    "llama-3.1": (hf.LlamaForCausalLM, {**SIZES, "num_key_value_heads": 2, "rope_parameters": LLAMA3}, None),
    "tinyllama": (hf.LlamaForCausalLM, {**SIZES, "num_key_value_heads": 1, "rope_parameters": plain(1e4)}, None),
    "mobilellama": (hf.LlamaForCausalLM, {**SIZES, "rope_parameters": plain(1e4)}, None),
    "fox": (hf.LlamaForCausalLM, {**SIZES, "num_key_value_heads": 4, "tie_word_embeddings": True, "rope_parameters": plain(1e4)}, "FoxForCausalLM"),
    "pythia": (hf.GPTNeoXForCausalLM, {**SIZES, "rope_parameters": {**plain(1e4), "partial_rotary_factor": 0.25}}, None),
    "cerebras-gpt": (hf.GPT2LMHeadModel, {**GPT2, "activation_function": "gelu"}, None),
    "lamini-gpt": (hf.GPT2LMHeadModel, {**GPT2, "activation_function": "gelu_new"}, None),
    "phi-3.5": (hf.Phi3ForCausalLM, {**SIZES, "num_key_value_heads": HEADS, "max_position_embeddings": 1024, "original_max_position_embeddings": 256, "sliding_window": 300, "rope_parameters": LONG}, None),
    "stablelm-zephyr": (hf.StableLmForCausalLM, {**SIZES, "num_key_value_heads": HEADS, "rope_parameters": {**plain(1e4), "partial_rotary_factor": 0.25}}, None),
    "gemma-2": (hf.Gemma2ForCausalLM, {**SIZES, "num_key_value_heads": 4, "head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 12, "rope_parameters": plain(1e4)}, None),
    "minicpm": (hf.LlamaForCausalLM, {**SIZES, "tie_word_embeddings": False, "rope_parameters": plain(1e4)}, "MiniCPMForCausalLM"),
    "qwen3": (hf.Qwen3ForCausalLM, {**SIZES, "num_key_value_heads": 2, "head_dim": 64, "rope_parameters": plain(1e6)}, None),
}
MINICPM = {"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 64}


def random_model(name):
    kind, config, _ = CASES[name]
    torch.manual_seed(len(name) * 1000 + sum(name.encode()))
    model = kind(kind.config_class(attn_implementation="eager", **config)).eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            if p.dim() == 2:
                p.normal_(0, 1.5 / math.sqrt(DIM))
            else:
                p.normal_(0 if key.endswith("bias") or name == "gemma-2" else 1, 0.2)
    return model


def save(name, model, folder):
    model.save_pretrained(folder, max_shard_size="1MB" if len(name) % 2 else "1GB")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    if CASES[name][2]:
        config["architectures"] = [CASES[name][2]]
    if name == "minicpm":
        config |= MINICPM
        # What the factors do, in a model that has none.
        with torch.no_grad():
            model.model.embed_tokens.weight *= MINICPM["scale_emb"]
            model.lm_head.weight /= DIM / MINICPM["dim_model_base"]
            for layer in model.model.layers:
                layer.self_attn.o_proj.weight *= MINICPM["scale_depth"] / math.sqrt(LAYERS)
                layer.mlp.down_proj.weight *= MINICPM["scale_depth"] / math.sqrt(LAYERS)
    path.write_text(json.dumps(config))


def kinglet(program, *args):
    done = subprocess.run([program, *map(str, args)], stderr=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"kinglet {' '.join(map(str, args))}: {done.stderr.decode()}")


def llama_logits(path, tokens):
    import llama_cpp as L

    model = L.llama_model_load_from_file(str(path).encode(), L.llama_model_default_params())
    if not model:
        return None
    params = L.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = 256
    params.type_k = params.type_v = 0
    params.flash_attn_type = 0
    context = L.llama_init_from_model(model, params)
    batch = L.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, i, 1, 0, 1
    assert L.llama_decode(context, batch) == 0
    rows = [np.ctypeslib.as_array(L.llama_get_logits_ith(context, i), (VOCAB,)).copy() for i in range(len(tokens))]
    L.llama_batch_free(batch)
    L.llama_free(context)
    L.llama_model_free(model)
    return np.stack(rows)


def llama_quantize(source, to, kind):
    import llama_cpp as L

    params = L.llama_model_quantize_default_params()
    params.ftype, params.nthread = FTYPES[kind], 1
    assert L.llama_model_quantize(str(source).encode(), str(to).encode(), ctypes.byref(params)) == 0


def values(path):
    return {t.name: (t.tensor_type.name, quants.dequantize(t.data, t.tensor_type)) for t in GGUFReader(path).tensors}


def compare_types(args, folder, tmp):
    """Types of all tensors, and errors of the quantized ones."""
    exact, good = values(tmp / "f32.gguf"), True
    kinglet(args.kinglet, "convert", folder, "-o", tmp / "f16.gguf", "--tokenizer", "none", "-q", "--force")
    for kind in TYPES:
        ours, theirs = tmp / "ours.gguf", tmp / "theirs.gguf"
        kinglet(args.kinglet, "convert", folder, "-o", ours, "--type", kind, "--tokenizer", "none", "-q", "--force")
        llama_quantize(tmp / "f32.gguf", theirs, kind)
        ours, theirs = values(ours), values(theirs)
        types = {n for n in exact if ours[n][0] != theirs[n][0]}
        rms = lambda v, n: np.sqrt(np.mean((v[n][1].reshape(exact[n][1].shape) - exact[n][1]) ** 2.0))
        worse = {n for n in exact if n not in types and ours[n][0] != "F32" and rms(ours, n) > rms(theirs, n)}
        for n in sorted(types):
            print(f"    {kind}: {n} is {ours[n][0]}, llama.cpp has {theirs[n][0]}")
        for n in sorted(worse):
            print(f"    {kind}: {n} has the error {rms(ours, n):.3e}, llama.cpp's {rms(theirs, n):.3e}")
        good &= not types and not worse
    return good


def check(args, name, tmp):
    folder, path = tmp / name, tmp / "f32.gguf"
    model = random_model(name)
    save(name, model, folder)
    tokens = np.random.default_rng(3).integers(3, VOCAB, 40).tolist()
    with torch.no_grad():
        expected = model(torch.tensor([tokens])).logits[0].numpy()
    kinglet(args.kinglet, "convert", folder, "-o", path, "--type", "F32", "--tokenizer", "none", "-q", "--force")
    (tmp / "ids.json").write_text(json.dumps(tokens))
    kinglet(args.kinglet, "logits", path, "--tokens", tmp / "ids.json", "--out", tmp / "logits.f32", "--kv", "f32", "--ctx", "64", "-q")
    got = np.fromfile(tmp / "logits.f32", "<f4").reshape(expected.shape)
    largest = np.abs(expected).max()
    ours, line, good = np.abs(got - expected).max() / largest, "", True
    if args.llama:
        theirs = llama_logits(path, tokens)
        line = "does not load" if theirs is None else f"{np.abs(theirs - expected).max() / largest:.1e}"
        good = theirs is not None and compare_types(args, folder, tmp)
        line = f", llama.cpp {line}, types and errors {'as' if good else 'NOT as'} its own"
    print(f"{name:<16} {ours:.1e} of the largest logit{line}", flush=True)
    return good and ours <= 2e-5


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinglet", default="target/release/kinglet", help="the program")
    parser.add_argument("--llama", action="store_true", help="load the files with llama.cpp, and compare its quantizer")
    parser.add_argument("--keep", type=Path, help="leave checkpoints and files in this folder")
    parser.add_argument("families", nargs="*", help=f"of {', '.join(CASES)} (default: all)")
    args = parser.parse_args()
    if args.llama:
        import llama_cpp as L

        args.quiet = L.llama_log_callback(lambda level, text, data: None)
        L.llama_log_set(args.quiet, ctypes.c_void_p())
    with tempfile.TemporaryDirectory() as tmp:
        tmp = args.keep or Path(tmp)
        tmp.mkdir(exist_ok=True)
        good = [check(args, name, tmp) for name in args.families or CASES]
    sys.exit(0 if all(good) else "not all are as they should be")


if __name__ == "__main__":
    main()
