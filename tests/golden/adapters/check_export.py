#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adapters that orthant trains and exports load in PEFT over transformers' model with the same log-probabilities, active and
merged; and so does what orthant merge makes of them.  By hand: needs torch, transformers and peft.

  VENV/bin/pip install torch==2.15.0 transformers==5.24.0 peft==0.21.2
  VENV/bin/python check_export.py [--orthant build/bin/orthant] [MODEL]...

Models are those of tests/golden/hub_models.  Prints the largest differences; exits with 1 when one is above 1e-6.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

import torch
import transformers
from peft import PeftModel

from common import ROOT, write_base

STORIES = ROOT / "tests/data/stories260k"
# Blocks of `lora:`, by model.
RUNS = {
    "llama": "{rank: 4}",
    "qwen3": "{rank: 4, target_modules: [q_proj, k_proj, down_proj], layers_to_transform: [0, 2]}",
    "qwen2": "{rank: 3, use_rslora: true, target_modules: [q_proj, v_proj, up_proj, lm_head, embed_tokens], "
             "modules_to_save: [model.norm], patterns: [{modules: v_proj, rank: 5, alpha: 4}]}",
    "qwen3_moe": "{rank: 3, alpha: 5, use_rslora: true, modules_to_save: [model.norm]}",
    "mixtral": "{rank: 4, patterns: [{modules: down_proj, rank: 2, alpha: 3}]}",
    "deepseek_v2_lite": "{rank: 4, target_modules: [all-linear, mlp.gate]}",
    "deepseek_v2": "{rank: 4, alpha: 12, patterns: [{modules: 'model.layers.2.*', rank: 2}]}",
    "deepseek_v3": "{rank: 4, target_modules: [all-linear, lm_head]}",
    "glm4_moe": "{rank: 4, target_modules: ['model.layers.[0-9]+.mlp.experts.[0-9]+.down_proj', o_proj]}",
    "olmoe": "{rank: 4}",
    "minimax_m2": "{rank: 4}",
    "glm4_moe_lite": "{rank: 4}",
    "mistral": "{rank: 4, use_dora: true}",
    "llama3_rope_tied": "{rank: 4, target_modules: [q_proj, embed_tokens, lm_head]}",  # orthant merge alone: PEFT cannot hold it
}
CONFIG = """\
device: cpu
precision: fp64
run: {{name: adapted, dir: {dir}/run, max_steps: 3}}
model: {{from: {dir}/base}}
lora: {lora}
batch: {{micro_batch_size: 2, global_batch_size: 2, sequence_length: 32}}
data: {{train: {dir}/text.txt}}
optimizer: {{learning_rate: 0.02}}
schedule: {{warmup_steps: 0, total_steps: 3}}
evaluation: {{interval: 0}}
checkpoint: {{interval: 3}}
generation: {{samples: 0}}
"""


def log_probs(model, ids):
    with torch.no_grad():
        rows = torch.log_softmax(model(torch.tensor([ids]), use_cache=False).logits[0].double(), -1)
    return rows[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]


def hub_model(folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager",
                                                              experts_implementation="eager")
    return model.eval()


def of_peft(name, bare, folder, ids):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        active = PeftModel.from_pretrained(bare, folder)
    for warning in caught:
        if "missing" in str(warning.message) or "unexpected" in str(warning.message).lower():
            sys.exit(f"{name}: PEFT: {warning.message}")
    return {"active": log_probs(active, ids), "merged": log_probs(active.merge_and_unload(), ids)}


def check(orthant, name, folder):
    def run(*arguments):
        done = subprocess.run([orthant, *map(str, arguments)], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        if done.returncode:
            sys.exit(f"{name}: orthant {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
        return done.stdout

    write_base(name, folder / "base")
    (folder / "text.txt").write_text("Once upon a time, there was a little girl named Lily. She liked to play. " * 40)
    (folder / "run.yaml").write_text(CONFIG.format(dir=folder, lora=RUNS[name]))
    ids = [(37 * i + 11 * i * i + 5) % 500 for i in range(24)]
    (folder / "ids.jsonl").write_text(json.dumps({"tokens": ids}) + "\n")
    run("pretrain", folder / "run.yaml")

    def ours(model, *more):
        run("evaluate", model, "--data", folder / "ids.jsonl", "--log-probs", folder / "out.jsonl", "--precision", "fp64", *more)
        line = json.loads((folder / "out.jsonl").read_text())
        return torch.tensor(line["log_probs"][-(len(ids) - 1):], dtype=torch.float64)

    want = ours(folder / "run")
    bare = hub_model(folder / "base")
    values = {"moved": log_probs(bare, ids)}
    if not bare.config.tie_word_embeddings or "embed_tokens" not in RUNS[name]:
        run("export", folder / "run", folder / "adapter")
        run("import", folder / "base", folder / "base_run")
        values |= of_peft(name, bare, folder / "adapter", ids)
        values["--adapter"] = ours(folder / "base_run", "--adapter", folder / "adapter")
    said = run("merge", folder / "run", folder / "whole")
    values["merge"] = ours(folder / "whole")
    run("export", folder / "whole", folder / "hub")
    values["merge, export"] = log_probs(hub_model(folder / "hub"), ids)
    off = {key: float((value - want).abs().max()) for key, value in values.items()}
    print(f"{name:18}" + ", ".join(f"{key} {value:.1e}" for key, value in off.items()), "|", said.strip().splitlines()[-1])
    return off.pop("moved") > 1e-3 and max(off.values()) < 1e-6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--orthant", default=str(ROOT / "build/bin/orthant"))
    parser.add_argument("models", nargs="*")
    options = parser.parse_args()
    ok = True
    for name in options.models or RUNS:
        with tempfile.TemporaryDirectory() as folder:
            ok = check(options.orthant, name, pathlib.Path(folder)) and ok
    sys.exit(0 if ok else 1)


main()
