# SPDX-License-Identifier: Apache-2.0
"""Tiny models of tests/golden/hub_models as folders; weights are functions of names."""
import json
import pathlib
import shutil
import sys

from safetensors.numpy import save_file

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/golden"))

from hub_weights import weights  # noqa: E402


def write_base(name, folder):
    golden = json.loads((ROOT / f"tests/golden/hub_models/{name}.json").read_text())
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(golden["config"]))
    save_file({n: weights(n, tuple(shape)) for n, shape in golden["shapes"].items()}, folder / "model.safetensors",
              metadata={"format": "pt"})
    shutil.copy(ROOT / "tests/data/stories260k/tokenizer.model", folder / "tokenizer.model")
