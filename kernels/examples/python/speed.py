"""Products with a model's quantized weights from Python: by NumPy, as an engine without kernels has to, and by libkinglet.

    pip install -r requirements.txt
    KINGLET_LIBRARY=…/libkinglet.so OMP_NUM_THREADS=1 python speed.py MODEL.gguf [LAYER]

For each matrix of a layer (0), milliseconds for 1 and for 64 columns, as Markdown: the gguf package's dequantization and NumPy's product, NumPy's
product with weights that were dequantized before (4 bytes each), and kinglet's. Runs take turns, medians of seven, one thread each.
"""

import statistics
import sys
import time

import gguf
import kinglet
import numpy as np

REPEAT = 7


def milliseconds(f):
    start = time.perf_counter()
    f()
    return 1e3 * (time.perf_counter() - start)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    kernels = kinglet.Kernels()
    prefix = f"blk.{sys.argv[2] if len(sys.argv) > 2 else 0}."
    layer = [t for t in gguf.GGUFReader(sys.argv[1]).tensors if t.name.startswith(prefix) and len(t.shape) == 2]
    layer = [t for t in layer if t.tensor_type.name in kinglet.FORMATS and t.tensor_type.name not in ("F32", "F16", "BF16")]
    if not layer:
        sys.exit(f"{sys.argv[1]} has no quantized matrix whose name begins with {prefix}")
    print(f"{kernels.tier}, NumPy {np.__version__}\n")
    print("| tensor | format | rows x columns | n | gguf and NumPy | NumPy on f32 | kinglet | times as fast | |")
    print("|---|---|---|---:|---:|---:|---:|---:|---:|")
    for t in layer:
        cols, rows = (int(n) for n in t.shape)
        w = kinglet.Matrix(t.data, t.tensor_type.value, rows, cols)
        dense = gguf.dequantize(t.data, t.tensor_type).reshape(rows, cols)
        for n in (1, 64):
            x = np.random.default_rng(n).standard_normal((n, cols)).astype(np.float32)
            near = np.abs(kernels.linear(w, x) - x @ dense.T).max() / np.abs(x @ dense.T).max()
            assert near < 0.05, f"{t.name}: off by {near}"
            runs = [
                lambda: x @ gguf.dequantize(t.data, t.tensor_type).reshape(rows, cols).T,
                lambda: x @ dense.T,
                lambda: kernels.linear(w, x),
            ]
            both, product, ours = (statistics.median(c) for c in zip(*([milliseconds(f) for f in runs] for _ in range(REPEAT))))
            print(f"| {t.name} | {t.tensor_type.name} | {rows} x {cols} | {n} | {both:.2f} | {product:.3f} | {ours:.3f} | "
                  f"{both / ours:.0f} | {product / ours:.1f} |")


if __name__ == "__main__":
    main()
