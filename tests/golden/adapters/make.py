#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden values of adapters over tiny models, from PEFT (0.21.2; transformers 5.24.0, torch 2.15, in f64).

  VENV/bin/pip install torch==2.15.0 transformers==5.24.0 peft==0.21.2
  VENV/bin/python make.py            writes NAME.json for every adapter below, beside this file

No weights are kept: those of the models are tests/golden/hub_models', those of adapters the same function of their keys
in PEFT's file.  Where "split" is true, B of gate and up is made block-diagonal: the halves of the rank are one's each.
"""
import json
import pathlib
import re
import tempfile

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

from common import weights, write_base

HERE = pathlib.Path(__file__).parent
ENTRIES = 4  # of every gradient
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
LATENT = ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"]
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
DOUBLE = dict(rank_pattern={r".*\.gate_up_proj": 4}, alpha_pattern={r".*\.gate_up_proj": 6})
ADAPTERS = {
    "llama": ("llama", True, dict(r=3, lora_alpha=6, target_modules=[*ATTENTION, "gate_proj", "up_proj", "down_proj", "lm_head"],
                                  rank_pattern={"v_proj": 2}, alpha_pattern={"1.self_attn.q_proj": 1}, use_rslora=True)),
    "qwen3_moe": ("qwen3_moe", True, dict(r=2, lora_alpha=3, target_modules=ATTENTION, target_parameters=EXPERTS, **DOUBLE)),
    "mixtral": ("mixtral", True, dict(r=2, lora_alpha=3, target_modules=ATTENTION, target_parameters=[*EXPERTS, "mlp.gate.weight"],
                                      **DOUBLE)),
    "mixtral_shared": ("mixtral", False, dict(r=4, lora_alpha=3, target_modules=["o_proj"], target_parameters=EXPERTS, use_rslora=True)),
    "deepseek_v2": ("deepseek_v2", True, dict(
        r=2, lora_alpha=3, target_modules=LATENT, **DOUBLE, target_parameters=[
            *EXPERTS, *[f"{part}.{p}_proj.weight" for part in ("shared_experts", "0.mlp") for p in ("gate", "up", "down")]])),
}


def adapter_weights(key, tensor, split, experts):
    values = torch.from_numpy(weights(key, tuple(tensor.shape)))
    if split and key.endswith("experts.base_layer.lora_B.weight"):
        parts = values.reshape(2, values.shape[0] // 2, 2, -1)  # gate or up, row, half of the rank, (its rank, expert)
        parts[0, :, 1] = 0
        parts[1, :, 0] = 0
    return values


def ours(key, tensor, experts):
    """(name in Orthant, tensor) of what one of PEFT's tensors holds, of an adapter that is split."""
    name = key.removeprefix("base_model.model.")
    match = re.fullmatch(r"(.*mlp\.experts)(\.base_layer)?\.lora_([AB])\.weight", name)
    if not match:
        yield name, tensor
        return
    layer, is_gate_up, half = match.groups()
    for e in range(experts):
        of_expert = tensor.reshape(experts, -1, tensor.shape[1])[e] if half == "A" else tensor.reshape(tensor.shape[0], -1, experts)[:, :, e]
        if not is_gate_up:
            yield f"{layer}.{e}.down_proj.lora_{half}.weight", of_expert
            continue
        r = of_expert.shape[0 if half == "A" else 1] // 2
        rows = of_expert.shape[0] // 2
        for i, part in enumerate(["gate_proj", "up_proj"]):
            columns = slice(i * r, (i + 1) * r)
            yield f"{layer}.{e}.{part}.lora_{half}.weight", of_expert[columns] if half == "A" else of_expert[i * rows:(i + 1) * rows, columns]


def sample(tensor):
    flat = tensor.flatten()
    step = max(1, len(flat) // ENTRIES)
    return dict(largest=float(flat.abs().max()), step=step, entries=[float(g) for g in flat[::step]])


def golden(name):
    model_name, split, options = ADAPTERS[name]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write_base(model_name, folder / "base")
        base = transformers.AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float64, attn_implementation="eager",
                                                                 experts_implementation="eager")
        experts = getattr(base.config, "num_local_experts", None) or getattr(base.config, "num_experts", None) or \
            getattr(base.config, "n_routed_experts", 0)
        config = peft.LoraConfig(task_type="CAUSAL_LM", **options)
        peft.get_peft_model(base, config).save_pretrained(folder / "adapter", save_embedding_layers=False)
        path = folder / "adapter/adapter_model.safetensors"
        tensors = {key: adapter_weights(key, t, split, experts) for key, t in load_file(path).items()}
        save_file(tensors, path, metadata={"format": "pt"})
        base = transformers.AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float64, attn_implementation="eager",
                                                                 experts_implementation="eager")
        model = peft.PeftModel.from_pretrained(base, folder / "adapter", is_trainable=True)
        stored = json.loads((folder / "adapter/adapter_config.json").read_text())
    stored.update(base_model_name_or_path="model", target_modules=sorted(stored["target_modules"]))
    if stored["target_parameters"]:
        stored["target_parameters"] = sorted(stored["target_parameters"])
    hub = json.loads((HERE.parent / f"hub_models/{model_name}.json").read_text())
    ids = torch.tensor(hub["ids"])
    rows = torch.log_softmax(model(ids[None], use_cache=False).logits[0].double(), -1)
    loss = -rows[torch.arange(len(ids) - 1), ids[1:]].mean()
    result = dict(peft=peft.__version__, transformers=transformers.__version__, model=model_name, split=split, config=stored,
                  shapes={key: list(t.shape) for key, t in sorted(tensors.items())}, loss=float(loss.detach()),
                  log_probs=[[float(p) for p in row[hub["kept_ids"]]] for row in rows])
    if not split:
        return result
    trained = {n.replace(".default", ""): p for n, p in model.named_parameters() if p.requires_grad}
    assert sorted(trained) == sorted(tensors), set(trained) ^ set(tensors)
    optimizer = torch.optim.AdamW(trained.values(), lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    loss.backward()
    result["gradients"] = {n: sample(t) for key, p in trained.items() for n, t in ours(key, p.grad, experts)}
    optimizer.step()
    result["updated"] = {n: sample(t.detach())["entries"] for key, p in trained.items() for n, t in ours(key, p, experts)}
    return result


def rounded(value):
    """Twelve digits are more than tests ask for."""
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, list) else value


def main():
    for name in ADAPTERS:
        value = golden(name)
        (HERE / f"{name}.json").write_text(json.dumps(rounded(value), separators=(",", ":")) + "\n")
        print(name, value["loss"])


main()
