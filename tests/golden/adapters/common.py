# SPDX-License-Identifier: Apache-2.0
"""Tiny models of tests/golden/hub_models as folders; weights are functions of names (make.py there)."""
import json
import pathlib
import shutil

import numpy as np
from safetensors.numpy import save_file

ROOT = pathlib.Path(__file__).resolve().parents[3]


def weights(name, shape):
    """As make.py of hub_models makes them: uniform in [-0.5, 0.5) times a scale, 1 added to norms."""
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


def write_base(name, folder):
    golden = json.loads((ROOT / f"tests/golden/hub_models/{name}.json").read_text())
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(golden["config"]))
    save_file({n: weights(n, tuple(shape)) for n, shape in golden["shapes"].items()}, folder / "model.safetensors",
              metadata={"format": "pt"})
    shutil.copy(ROOT / "tests/data/stories260k/tokenizer.model", folder / "tokenizer.model")
