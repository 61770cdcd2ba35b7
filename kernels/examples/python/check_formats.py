"""Every format through libkinglet from Python, against the gguf package: dequantized weights, and products with them.

    pip install -r requirements.txt
    KINGLET_LIBRARY=…/libkinglet.so python check_formats.py
"""

import sys

import gguf
import kinglet
import numpy as np

ROWS, COLUMNS = 5, 3
# Where the f16 scales of a block are, so that they can be made ordinary numbers.
SCALES = {
    "Q4_1": [0, 2], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "TQ1_0": [52], "TQ2_0": [64], "MXFP4": [], "IQ1_M": [], "F32": [], "F16": [], "BF16": [],
}


def blocks(rng, name, rows, size, block):
    data = rng.integers(0, 256, (rows, size), dtype=np.uint8)
    if name in ("F32", "F16", "BF16"):
        values = rng.standard_normal(rows * size // {"F32": 4}.get(name, 2)).astype(np.float32)
        if name == "F16":
            return values.astype(np.float16).view(np.uint8).reshape(rows, size)
        return (values if name == "F32" else (values.view(np.uint32) >> 16).astype(np.uint16)).view(np.uint8).reshape(rows, size)
    each = data.reshape(-1, block)
    for at in SCALES.get(name, [0]):
        each[:, at:at + 2] = rng.uniform(-0.05, 0.05, (len(each), 1)).astype(np.float16).view(np.uint8)
    if name == "MXFP4":
        each[:, 0] = rng.integers(118, 126, len(each))
    if name == "IQ1_M":  # The scale's four nibbles are the top ones of the last eight bytes' odd ones.
        scale = rng.uniform(0.001, 0.05, len(each)).astype(np.float16).view(np.uint16)
        for i in range(4):
            each[:, 49 + 2 * i] = (each[:, 49 + 2 * i] & 15) | (((scale >> (4 * i)) & 15) << 4).astype(np.uint8)
    return data


def main():
    kernels = kinglet.Kernels()
    portable = kinglet.Kernels("scalar")
    print(f"libkinglet {kernels.lib.kinglet_version().decode()}, tier {kernels.tier}, {len(kernels.kernels())} kernels")
    failed = 0
    for name, number in kinglet.FORMATS.items():
        rng = np.random.default_rng(number)
        kind = gguf.GGMLQuantizationType(number)
        length, block = gguf.GGML_QUANT_SIZES[kind]
        assert kind.name == name and kernels.row_size(number, 512) == 512 // length * block, name
        data = blocks(rng, name, ROWS, 512 // length * block, block)
        w = kinglet.Matrix(data, number, ROWS, 512)
        ours = kernels.dequantize(w)
        view = {"F32": np.float32, "F16": np.float16}.get(name, np.uint8)
        theirs = gguf.dequantize(data.view(view), kind).astype(np.float32).reshape(ROWS, 512)
        assert np.isfinite(theirs).all() and np.abs(theirs).max() > 0, name
        weights_off = np.abs(ours.astype(np.float64) - theirs).max() / np.abs(theirs).max()

        # Whole numbers with 127 the largest of each 32: their quantization is exact, and so is the product but for its few roundings.
        x = rng.integers(-127, 128, (COLUMNS, 512)).astype(np.float32)
        x[:, ::32] = 127
        bias = rng.standard_normal(ROWS).astype(np.float32)
        y = kernels.linear(w, x, bias)
        exact = x.astype(np.float64) @ theirs.T.astype(np.float64) + bias
        magnitude = np.abs(x).astype(np.float64) @ np.abs(theirs).T.astype(np.float64) + np.abs(bias)
        product_off = (np.abs(y - exact) / magnitude).max()
        same = np.array_equal(y.view(np.uint32), portable.linear(w, x, bias).view(np.uint32))
        good = weights_off < 3e-7 and product_off < 3e-6 and same
        print(f"{name:8} weights off by {weights_off:.1e}, products by {product_off:.1e}, tiers {'equal' if same else 'DIFFER'}: "
              f"{'ok' if good else 'WRONG'}")
        failed += not good

    x = np.random.default_rng(1).standard_normal((4, 100)).astype(np.float32)
    norm = x / np.sqrt((x.astype(np.float64) ** 2).mean(axis=1, keepdims=True) + 1e-5)
    assert np.allclose(kernels.rms_norm(x, np.ones(100), 1e-5), norm, rtol=1e-6)
    try:
        kernels.linear(kinglet.Matrix(np.zeros(17, np.uint8), kinglet.FORMATS["Q4_0"], 1, 32), np.zeros((1, 32)))
        failed += 1
    except kinglet.Error as e:
        print("a matrix that is too short is refused:", e)
    assert kernels.verify() == 0
    print("WRONG" if failed else "all formats agree")
    return failed


if __name__ == "__main__":
    sys.exit(main())
