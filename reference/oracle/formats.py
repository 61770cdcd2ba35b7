#!/usr/bin/env python3
"""Golden data for the weight formats, from the `gguf` Python package (an independent implementation).

    pip install gguf            # also installs numpy
    python3 reference/oracle/formats.py golden kernels/tests/data/formats.bin
    python3 reference/oracle/formats.py grids > kernels/src/format/grids.rs && rustfmt kernels/src/format/grids.rs

`golden` writes, per format and little-endian: u32 ggml type, u32 number of blocks, the blocks, their weights as f32.
The first blocks of a format are random in every byte; the others have a chosen scale (and min): ordinary, subnormal,
negative zero, infinite, NaN. `grids` prints the codebooks of the IQ formats as Rust.
"""

import random
import struct
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T, quants

# Offsets of the f16 scales (and mins) in each block; MXFP4 has an exponent byte, IQ1_M spreads its f16 over nibbles.
SCALES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2],
    T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ2_XXS: [0], T.IQ2_XS: [0], T.IQ3_XXS: [0], T.IQ1_S: [0], T.IQ4_NL: [0], T.IQ3_S: [0],
    T.IQ2_S: [0], T.IQ4_XS: [0], T.IQ1_M: [], T.TQ1_0: [52], T.TQ2_0: [64], T.MXFP4: [],
}
SPECIAL = [0x2A66, 0xA2F1, 0x0003, 0x8000, 0x7C00, 0x7E00]


def golden(path):
    rng = random.Random(20)
    with open(path, "wb") as out:
        for kind, offsets in SCALES.items():
            length, size = GGML_QUANT_SIZES[kind]
            blocks = [bytearray(rng.randbytes(size)) for _ in range(2 if length == 256 else 4)]
            for bits in SPECIAL[: 4 if length == 256 else 6]:
                block = bytearray(rng.randbytes(size))
                for at in offsets:
                    block[at : at + 2] = struct.pack("<H", bits)
                if kind == T.IQ1_M:
                    for i in range(4):
                        block[48 + 2 * i + 1] = (block[48 + 2 * i + 1] & 15) | ((bits >> (4 * i)) & 15) << 4
                blocks.append(block)
            if kind == T.MXFP4:
                for block, exponent in zip(blocks, [0, 1, 2, 127, 254, 255]):
                    block[0] = exponent
            data = np.frombuffer(b"".join(blocks), dtype=np.uint8).reshape(len(blocks), size)
            with np.errstate(all="ignore"):
                values = quants.dequantize(data, kind).astype("<f4")
            assert values.size == len(blocks) * length
            out.write(struct.pack("<II", kind, len(blocks)) + data.tobytes() + values.tobytes())


def grids():
    print("""//! Codebooks of the IQ1, IQ2 and IQ3 formats: one `u16` per entry, one digit per weight, lowest bits first.
//!
//! IQ1 and IQ2 entries are 8 digits of 2 bits, IQ3 entries 4 digits of 4 bits; a digit is an index into the values beside
//! the table. Facts of ggml's `ggml-common.h` (`iq2xxs_grid` and so on), printed by `reference/oracle/formats.py grids`.

/// The weights of every entry of a codebook.
const fn expand<const LEN: usize, const N: usize>(digits: &[u16; N], values: &[i8]) -> [[i8; LEN]; N] {
    let bits = 16 / LEN;
    let mut out = [[0; LEN]; N];
    let mut i = 0;
    while i < N {
        let mut k = 0;
        while k < LEN {
            out[i][k] = values[(digits[i] >> (bits * k)) as usize & ((1 << bits) - 1)];
            k += 1;
        }
        i += 1;
    }
    out
}
""")
    for kind, scale in [(quants.IQ1_S, 8), (quants.IQ2_XXS, 1), (quants.IQ2_XS, 1), (quants.IQ2_S, 1), (quants.IQ3_XXS, 1), (quants.IQ3_S, 1)]:
        n, length = kind.grid_shape
        digits = np.frombuffer(bytes.fromhex(kind.grid_hex.decode()), dtype="<u2")
        assert digits.size == n
        values = ", ".join(str(v * scale) for v in kind.grid_map)
        kind.init_grid()
        name = kind.__name__
        what = "8 times the weights" if scale == 8 else "Absolute weights"
        print(f"/// {what} of {name}{' and IQ1_M' if scale == 8 else ''}.")
        print(f"pub(super) static {name}: [[i8; {length}]; {n}] = expand(&{name}_DIGITS, &[{values}]);")
        print(f"#[rustfmt::skip]\nconst {name}_DIGITS: [u16; {n}] = [")
        for i in range(0, n, 13):
            print("    " + " ".join(f"0x{d:04x}," for d in digits[i : i + 13]))
        print("];\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["grids"]:
        grids()
    elif len(sys.argv) == 3 and sys.argv[1] == "golden":
        golden(sys.argv[2])
    else:
        sys.exit(__doc__)
