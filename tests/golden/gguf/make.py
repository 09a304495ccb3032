# SPDX-License-Identifier: Apache-2.0
"""Makes blocks.gguf beside this file with PyPI's reader and writer (pip install 'gguf==0.19.*' 'numpy<3'):
    python tests/golden/gguf/make.py
Tensors "got.TYPE" are blocks of a type, "want.TYPE" what gguf.quants.dequantize makes of them, as F32.  Blocks of Q4_0, Q4_1 and Q8_0 are quantised from
numbers; those of Q4_K and Q6_K, which the library does not write, are random bytes with random scales.  The metadata has a value of each type."""
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

HERE = pathlib.Path(__file__).resolve().parent
ROWS, COLS = 3, 512


def half(rng, shape, scale):
    return (rng.standard_normal(shape) * scale).astype(np.float16).view(np.uint8)


def blocks(kind, rng):
    numbers = (rng.standard_normal((ROWS, COLS)) * 0.1).astype(np.float32)
    if kind not in (T.Q4_K, T.Q6_K):
        return gguf.quants.quantize(numbers, kind)
    elems, size = gguf.GGML_QUANT_SIZES[kind]
    raw = rng.integers(0, 256, (ROWS, COLS // elems, size), dtype=np.uint8)
    at = slice(0, 4) if kind == T.Q4_K else slice(size - 2, size)
    raw[..., at] = half(rng, (ROWS, COLS // elems, (at.stop - at.start) // 2), 0.01)
    return raw.reshape(ROWS, -1)


def main():
    rng = np.random.default_rng(7)
    writer = gguf.GGUFWriter(HERE / "blocks.gguf", "blocks")
    writer.add_uint8("a.u8", 200), writer.add_int8("a.i8", -3), writer.add_uint16("a.u16", 60000), writer.add_int16("a.i16", -30000)
    writer.add_uint32("a.u32", 4000000000), writer.add_int32("a.i32", -5), writer.add_uint64("a.u64", 1 << 40), writer.add_int64("a.i64", -(1 << 40))
    writer.add_float32("a.f32", 1e-5), writer.add_float64("a.f64", 0.1), writer.add_bool("a.bool", True), writer.add_string("a.text", "caf\u00e9")
    writer.add_array("a.texts", ["one", "", "three"]), writer.add_array("a.ints", [1, -2, 3]), writer.add_array("a.reals", [0.5, -1.5])
    for kind in (T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q4_K, T.Q6_K):
        data = blocks(kind, rng)
        writer.add_tensor(f"got.{kind.name}", data, raw_dtype=kind)
        writer.add_tensor(f"want.{kind.name}", gguf.quants.dequantize(data, kind).astype(np.float32))
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
