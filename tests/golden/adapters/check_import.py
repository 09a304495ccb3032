#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adapters with one pair for each expert, as folders of transformers 4 have them, are W + s B A, also where PEFT 0.21.2 loads
them otherwise.  By hand: needs torch, transformers and peft (check_export.py).

  VENV/bin/python check_import.py [build/bin/orthant]

Prints how far PEFT's log-probabilities and ours are from those of weights that torch sums; exits with 1 when ours are above 1e-5.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import peft
import torch
import transformers
from safetensors.torch import save_file

from common import ROOT, weights, write_base

CASES = [("mixtral", False), ("mixtral", True), ("qwen3_moe", True), ("deepseek_v2", False), ("deepseek_v2", True)]
IDS = [(37 * i + 11 * i * i + 5) % 500 for i in range(24)]
PLACES = {"w1": 0, "gate_proj": 0, "w3": 1, "up_proj": 1}  # of gate_up_proj


def hub_model(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager",
                                                             experts_implementation="eager")


def log_probs(model):
    with torch.no_grad():
        rows = torch.log_softmax(model(torch.tensor([IDS]), use_cache=False).logits[0].double(), -1)
    return rows[torch.arange(len(IDS) - 1), torch.tensor(IDS[1:])]


def add(parameters, module, delta):
    expert = re.match(r"(.*)\.(mlp|block_sparse_moe)\.experts\.(\d+)\.(\w+)", module)
    with torch.no_grad():
        if not expert:
            parameters[module + ".weight"] += delta
        elif (place := PLACES.get(expert[4])) is None:
            parameters[expert[1] + ".mlp.experts.down_proj"][int(expert[3])] += delta
        else:
            rows = delta.shape[0]
            parameters[expert[1] + ".mlp.experts.gate_up_proj"][int(expert[3]), place * rows:(place + 1) * rows] += delta


def check(orthant, name, use_rslora, folder):
    write_base(name, folder / "base")
    (folder / "adapter").mkdir()
    shapes = json.loads((ROOT / f"tests/golden/hub_models/{name}.json").read_text())["shapes"]
    modules = [n.removesuffix(".weight") for n, shape in shapes.items()
               if len(shape) == 2 and n.startswith("model.layers") and not n.endswith("gate.weight")]
    truth, scale, tensors = hub_model(folder / "base"), 3 / (2**0.5 if use_rslora else 2), {}
    for module in modules:
        rows, columns = shapes[module + ".weight"]
        a, b = (torch.from_numpy(weights(f"{module}.lora_{half}", shape)) for half, shape in (("A", (2, columns)), ("B", (rows, 2))))
        tensors[f"base_model.model.{module}.lora_A.weight"], tensors[f"base_model.model.{module}.lora_B.weight"] = a, b
        add(dict(truth.named_parameters()), module, scale * b @ a)
    save_file(tensors, folder / "adapter/adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter/adapter_config.json").write_text(json.dumps(dict(
        peft_type="LORA", task_type="CAUSAL_LM", r=2, lora_alpha=3, use_rslora=use_rslora, bias="none", base_model_name_or_path="base",
        target_modules=sorted({module.rsplit(".", 1)[1] for module in modules}))))
    want = log_probs(truth)
    theirs = log_probs(peft.PeftModel.from_pretrained(hub_model(folder / "base"), folder / "adapter"))
    (folder / "ids.jsonl").write_text(json.dumps({"tokens": IDS}) + "\n")
    for arguments in (["import", folder / "base", folder / "run"],
                      ["evaluate", folder / "run", "--adapter", folder / "adapter", "--data", folder / "ids.jsonl", "--log-probs",
                       folder / "out.jsonl", "--precision", "fp64"]):
        subprocess.run([orthant, *map(str, arguments)], check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    ours = torch.tensor(json.loads((folder / "out.jsonl").read_text())["log_probs"][-(len(IDS) - 1):], dtype=torch.float64)
    off = float((ours - want).abs().max())
    print(f"{name:12} {'rsLoRA' if use_rslora else 'LoRA':6} PEFT {float((theirs - want).abs().max()):.1e}, orthant {off:.1e}")
    return off < 1e-5


def main():
    orthant, ok = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "build/bin/orthant"), True
    for name, use_rslora in CASES:
        with tempfile.TemporaryDirectory() as folder:
            ok = check(orthant, name, use_rslora, pathlib.Path(folder)) and ok
    sys.exit(0 if ok else 1)


main()
