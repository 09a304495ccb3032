#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""NF4 with double quantization in numpy, written to nf4.json for tests/tensor/quantize_test.cpp.

Where bitsandbytes is installed (0.50.2, on the CPU) its codes and numbers are compared with these, of the matrix
whose rows are multiples of a block: it cuts blocks from the flattened matrix, Orthant from each row."""
import json
from pathlib import Path

import numpy as np

LEVELS = np.array([-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
                   -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
                   0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
                   0.7229568362236023, 1.0], np.float32)


def dynamic_map():
    values = [0.0, 1.0]
    for decade in range(7):
        edges = np.linspace(0.1, 1, 2**decade + 1)
        values += [sign * middle * 10.0**(decade - 6) for middle in (edges[:-1] + edges[1:]) / 2 for sign in (1, -1)]
    return np.sort(np.array(values)).astype(np.float32)


def matrix(rows, columns):
    """The numbers of drawn_like_python() in the test: whole numbers, divided once."""
    i = np.arange(rows * columns, dtype=np.int64)
    return (((i * 7919 + i * i % 1009 * 13) % 20011 - 10005) / (10005.0 * (20 + i % 5))).astype(np.float32).reshape(rows, columns)


def nearest(values, x):
    distance = np.abs(x[..., None].astype(np.float64) - values)
    two = np.sort(distance, axis=-1)[..., :2]
    return np.argmin(distance, axis=-1), float((two[..., 1] - two[..., 0]).min())


def quantize(w):
    rows, columns = w.shape
    blocks = -(-columns // 64)
    largest = np.stack([np.abs(w[:, 64 * b:64 * b + 64]).max(axis=1) for b in range(blocks)], axis=1)
    scaled = w / np.repeat(largest, 64, axis=1)[:, :columns]
    codes, margin = nearest(LEVELS, scaled)
    flat, mean = largest.reshape(-1), np.float32(largest.mean(dtype=np.float64))
    apart = flat - mean
    groups = -(-len(flat) // 256)
    factors = np.array([np.abs(apart[256 * g:256 * g + 256]).max() for g in range(groups)], np.float32)
    scales, scale_margin = nearest(dynamic_map(), apart / np.repeat(factors, 256)[:len(flat)])
    kept = (dynamic_map()[scales].astype(np.float64) * np.repeat(factors, 256)[:len(flat)] + mean).astype(np.float32)
    back = LEVELS[codes] * np.repeat(kept.reshape(rows, blocks), 64, axis=1)[:, :columns]
    padded = np.concatenate([codes, np.zeros((rows, columns % 2), codes.dtype)], axis=1)
    packed = (padded[:, ::2] * 16 + padded[:, 1::2]).astype(np.uint8)
    return {"packed": packed, "scales": scales.astype(np.uint8), "nested": np.concatenate([[mean], factors]), "back": back,
            "margin": min(margin, scale_margin)}


def compare_with_bitsandbytes(w, ours):
    try:
        import bitsandbytes.functional as bnb
        import torch
    except ImportError:
        return print("bitsandbytes: not installed, not compared")
    packed, state = bnb.quantize_4bit(torch.tensor(w), blocksize=64, quant_type="nf4", compress_statistics=True)
    assert np.array_equal(packed.numpy().reshape(-1), ours["packed"].reshape(-1)), "codes"
    assert np.array_equal(state.absmax.numpy(), ours["scales"].reshape(-1)), "largest of blocks"
    assert np.allclose(state.state2.absmax.numpy(), ours["nested"][1:], rtol=1e-6), "factors"
    assert np.allclose(float(state.offset), ours["nested"][0], rtol=1e-6), "mean"
    assert np.allclose(state.state2.code.numpy(), dynamic_map(), rtol=1e-6), "map"
    assert np.allclose(bnb.dequantize_4bit(packed, state).numpy(), ours["back"], rtol=1e-6), "elements"
    print("bitsandbytes: the same codes, factors and elements")


def main():
    golden = {"margin": 1.0, "dynamic_map": [float(x) for x in dynamic_map()], "matrices": []}
    for rows, columns in ((130, 130), (64, 320), (7, 65)):
        w = matrix(rows, columns)
        q = quantize(w)
        if columns % 64 == 0:
            compare_with_bitsandbytes(w, q)
        golden["margin"] = min(golden["margin"], q["margin"])
        golden["matrices"].append({"rows": rows, "columns": columns, "codes": q["packed"].tobytes().hex(),
                                   "scales": q["scales"].tobytes().hex(), "nested": [float(x) for x in q["nested"]],
                                   "every": 97, "dequantized": [float(x) for x in q["back"].reshape(-1)[::97]]})
    assert golden["margin"] > 1e-7, "a number is as near to two levels"
    Path(__file__).with_name("nf4.json").write_text(json.dumps(golden) + "\n")
    print("margin", golden["margin"])


if __name__ == "__main__":
    main()
