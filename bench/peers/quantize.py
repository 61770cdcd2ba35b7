#!/usr/bin/env python3
"""Compares the error of kinglet's quantizers with llama.cpp's (without an importance matrix) on the same tensors.

    pip install llama-cpp-python==0.3.36 gguf==0.19.0
    cargo build --release -p kinglet-kernels --example encode
    bench/peers/quantize.py [MODEL.gguf ...] [--types Q4_K,Q6_K] [--rows 256] [--encode PATH]

Tensors: normally distributed values; values with heavy tails (Student's t, 4 degrees of freedom); values around a mean; small
ones; and, of each MODEL given, its matrices dequantized, with a little noise so that they do not lie on a grid. llama.cpp encodes with
`ggml_quantize_chunk`, kinglet with the example `encode`; both are decoded by the `gguf` package. Printed, as the table of
bench/log/quantize.md: rms of the error divided by the rms of the values, of both, and their ratio. The exit code is 1 when kinglet's error is the
larger anywhere.
"""

import argparse
import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFReader, quants

TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "Q4_K", "Q5_K", "Q6_K"]
COLS = 2048


def llama_cpp():
    from llama_cpp import _ggml

    f = _ggml.libggml.ggml_quantize_chunk
    f.restype = ctypes.c_size_t
    f.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]

    def encode(x, kind):
        out = np.zeros(quants.quant_shape_to_byte_shape(x.shape, kind), dtype=np.uint8)
        written = f(int(kind), x.ctypes.data, out.ctypes.data, 0, x.shape[0], x.shape[1], None)
        assert written == out.nbytes, (written, out.nbytes)
        return out

    return encode


def kinglet(program):
    def encode(x, kind):
        out = subprocess.run([program, kind.name, str(x.shape[1])], input=x.tobytes(), stdout=subprocess.PIPE, check=True).stdout
        return np.frombuffer(out, dtype=np.uint8).reshape(quants.quant_shape_to_byte_shape(x.shape, kind))

    return encode


def tensors(models, rows):
    rng = np.random.default_rng(1)
    shape = (rows, COLS)
    yield "normal", rng.standard_normal(shape) * 0.02
    yield "heavy tails", rng.standard_t(4, shape) * 0.02
    yield "around a mean", rng.standard_normal(shape) * 0.02 + 0.03
    yield "small", rng.standard_normal(shape) * 1e-5
    for model in models:
        # One matrix of each kind, from the middle of the model.
        seen = {}
        for t in GGUFReader(model).tensors:
            if len(t.shape) == 2 and t.shape[0] % 32 == 0:
                seen.setdefault(".".join(p for p in t.name.split(".") if not p.isdigit()), []).append(t)
        for kind, all in sorted(seen.items()):
            t = all[len(all) // 2]
            x = quants.dequantize(t.data[:rows], t.tensor_type)
            # Rows that are no whole super-blocks are cut anew, so that K-quants see real weights too.
            x = x if x.shape[1] % 256 == 0 else x.reshape(-1)[: x.size // 256 * 256].reshape(-1, 256)
            # Rows of tensors that are in use lie on the grid of their own format.
            x = x + rng.standard_normal(x.shape) * x.std() * 0.05
            yield f"{Path(model).stem}: {kind}", x


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL.gguf", help="models whose matrices are compared too")
    parser.add_argument("--types", default=",".join(TYPES), help="formats, separated by commas")
    parser.add_argument("--rows", type=int, default=256, help="rows of each tensor (default: 256)")
    default = Path(__file__).parents[2] / "target/release/examples/encode"
    parser.add_argument("--encode", default=default, help="kinglet's example program")
    args = parser.parse_args()
    ours, theirs, worse = kinglet(args.encode), llama_cpp(), False
    kinds = [T[name.strip()] for name in args.types.split(",")]
    print("| tensor | " + " | ".join(k.name for k in kinds) + " |\n|" + "---|" * (len(kinds) + 1))
    ratios = {kind: [] for kind in kinds}
    for name, x in tensors(args.models, args.rows):
        x = np.ascontiguousarray(x, dtype=np.float32)
        cells = []
        for kind in kinds:
            a, b = (np.sqrt(np.mean((quants.dequantize(f(x, kind), kind) - x) ** 2.0, dtype=np.float64)) for f in (ours, theirs))
            rms = np.sqrt(np.mean(x**2.0, dtype=np.float64))
            worse |= bool(a > b)
            ratios[kind].append(a / b)
            cells.append(f"{100 * a / rms:.3f} / {100 * b / rms:.3f} % = {a / b:.3f}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print("| geometric mean of ratios | " + " | ".join(f"{np.exp(np.mean(np.log(r))):.3f}" for r in ratios.values()) + " |")
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
