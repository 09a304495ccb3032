# SPDX-License-Identifier: Apache-2.0
"""Weights that no file keeps: functions of the tensor's name and the index alone, as C++ tests make them."""
import numpy as np


def weights(name, shape):
    """Uniform in [-0.5, 0.5) times a scale; 1 is added to norms."""
    seed = 14695981039346656037
    for byte in name.encode():
        seed = ((seed ^ byte) * 1099511628211) % 2**64
    i = np.arange(int(np.prod(shape)), dtype=np.uint64)
    x = i * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    x ^= x >> np.uint64(32)
    x *= np.uint64(0xD6E8FEB86659FD93)
    x ^= x >> np.uint64(32)
    values = (x >> np.uint64(40)).astype(np.float64) / 2**24 - 0.5
    scale = 0.25 if "lora_" in name else 0.2 if "e_score_correction_bias" in name else \
        3.0 if "mlp.gate" in name or "block_sparse_moe.gate" in name else 0.5
    return ((1 if "norm" in name else 0) + scale * values).reshape(shape)
