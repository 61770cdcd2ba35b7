"""libkinglet for NumPy, by ctypes: matrices in GGUF blocks times f32 activations.

    kernels = kinglet.Kernels()                                # or Kernels("avx2"), or Kernels(library="…/libkinglet.so")
    w = kinglet.Matrix(blocks, kinglet.FORMATS["Q4_K"], rows, cols)   # blocks: any contiguous array of bytes, also mapped
    y = kernels.linear(w, x)                                   # x: [n, cols] float32; y: [n, rows]

Arrays are used where they lie; nothing is copied. Errors are `kinglet.Error`, with the library's own words.
"""

import ctypes
import ctypes.util
import os

import numpy as np

ABI = 1
FORMATS = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12,
    "Q5_K": 13, "Q6_K": 14, "IQ2_XXS": 16, "IQ2_XS": 17, "IQ3_XXS": 18, "IQ1_S": 19, "IQ4_NL": 20, "IQ3_S": 21,
    "IQ2_S": 22, "IQ4_XS": 23, "IQ1_M": 29, "BF16": 30, "TQ1_0": 34, "TQ2_0": 35, "MXFP4": 39,
}
_FLOATS = (0, 1, 30)
_p, _size, _u32, _f32 = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32, ctypes.c_float


class Error(RuntimeError):
    """A call that the library refused."""


class _Matrix(ctypes.Structure):
    _fields_ = [("size", _size), ("data", _p), ("data_size", _size), ("rows", _size), ("cols", _size), ("stride", _size),
                ("format", _u32), ("reserved", _u32)]


class _Options(ctypes.Structure):
    _fields_ = [("size", _size), ("tier", ctypes.c_char_p), ("cap", ctypes.c_char_p), ("ignore_environment", _u32),
                ("reserved", _u32)]


class _KernelInfo(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char * 48), ("op", ctypes.c_char * 24), ("tier", ctypes.c_char * 24),
                ("layout", ctypes.c_char * 24), ("format", _u32), ("cache", _u32), ("tile_rows", _u32), ("tile_columns", _u32)]


_SIGNATURES = {
    "kinglet_detect": [ctypes.POINTER(_Options), ctypes.POINTER(_p)],
    "kinglet_row_size": [_u32, _size, ctypes.POINTER(_size)],
    "kinglet_linear_workspace": [_p, ctypes.POINTER(_Matrix), _size, ctypes.POINTER(_size)],
    "kinglet_linear": [_p, ctypes.POINTER(_Matrix), _p, _size, _p, _p, _size, _p, _size],
    "kinglet_dequantize_row": [_p, ctypes.POINTER(_Matrix), _size, _p],
    "kinglet_encode_row": [_u32, _p, _size, _p, _size],
    "kinglet_rms_norm": [_p, _p, _size, _size, _p, _f32, _p],
    "kinglet_softmax": [_p, _p, _size, _size],
    "kinglet_kernel_at": [_p, _size, ctypes.POINTER(_KernelInfo)],
    "kinglet_verify": [_p, ctypes.c_uint64, ctypes.POINTER(_size)],
}


class Matrix:
    """A weight matrix in GGUF blocks, borrowed from `blocks`."""

    def __init__(self, blocks, format, rows, cols):
        self.blocks = np.ascontiguousarray(blocks).view(np.uint8).reshape(-1)
        self.rows, self.cols, self.format = rows, cols, format
        data = self.blocks.ctypes.data
        self.c = _Matrix(ctypes.sizeof(_Matrix), data, self.blocks.nbytes, rows, cols, 0, format, 0)


def _array(name, x, shape):
    x = np.ascontiguousarray(x, dtype=np.float32)
    if x.shape != shape:
        raise Error(f"{name} has shape {x.shape}, expected {shape}")
    return x


class Kernels:
    """The kernels of one tier: the fastest here, or the one named."""

    def __init__(self, tier=None, library=None):
        path = library or os.environ.get("KINGLET_LIBRARY") or ctypes.util.find_library("kinglet") or "libkinglet.so.1"
        self.lib = ctypes.CDLL(path)
        if self.lib.kinglet_abi_version() != ABI:
            raise Error(f"{path} has ABI {self.lib.kinglet_abi_version()}, expected {ABI}")
        for name, arguments in _SIGNATURES.items():
            function = getattr(self.lib, name)
            function.argtypes, function.restype = arguments, ctypes.c_int32
        for name in ("kinglet_last_error", "kinglet_tier_name", "kinglet_version"):
            getattr(self.lib, name).restype = ctypes.c_char_p
        self.lib.kinglet_tier_name.argtypes = [_p]
        self.handle = _p()
        options = _Options(ctypes.sizeof(_Options), tier.encode() if tier else None, None, 0, 0)
        self._call("detect", ctypes.byref(options), ctypes.byref(self.handle))
        self.tier = self.lib.kinglet_tier_name(self.handle).decode()

    def _call(self, name, *arguments):
        if getattr(self.lib, "kinglet_" + name)(*arguments) != 0:
            raise Error(self.lib.kinglet_last_error().decode())

    def linear(self, w, x, bias=None):
        """`x @ w.T + bias`: x is [n, cols], the result [n, rows]."""
        n = len(x)
        x = _array("x", x, (n, w.cols))
        bias = None if bias is None else _array("bias", bias, (w.rows,))
        y = np.empty((n, w.rows), dtype=np.float32)
        need = _size()
        self._call("linear_workspace", self.handle, ctypes.byref(w.c), n, ctypes.byref(need))
        workspace = np.empty(need.value, dtype=np.uint8)
        self._call("linear", self.handle, ctypes.byref(w.c), x.ctypes.data, n, None if bias is None else bias.ctypes.data,
                   y.ctypes.data, w.rows, workspace.ctypes.data, need)
        return y

    def dequantize(self, w):
        """All weights as float32, [rows, cols]."""
        out = np.empty((w.rows, w.cols), dtype=np.float32)
        for row in range(w.rows):
            self._call("dequantize_row", self.handle, ctypes.byref(w.c), row, out[row].ctypes.data)
        return out

    def row_size(self, format, cols):
        """Bytes of a row of weights."""
        size = _size()
        self._call("row_size", format, cols, ctypes.byref(size))
        return size.value

    def rms_norm(self, x, w, eps):
        """RMSNorm of each row of x: [rows, n]."""
        x = np.ascontiguousarray(x, dtype=np.float32)
        w = _array("w", w, (x.shape[1],))
        y = np.empty_like(x)
        self._call("rms_norm", self.handle, x.ctypes.data, *x.shape, w.ctypes.data, eps, y.ctypes.data)
        return y

    def kernels(self):
        """The names of all kernels of this tier."""
        info, names = _KernelInfo(), []
        while self.lib.kinglet_kernel_at(self.handle, len(names), ctypes.byref(info)) == 0:
            names.append(info.name.decode())
        return names

    def verify(self, seed=0):
        """How many kernels differ from the portable ones on this machine."""
        differences = _size()
        self._call("verify", self.handle, seed, ctypes.byref(differences))
        return differences.value
