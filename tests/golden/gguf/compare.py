# SPDX-License-Identifier: Apache-2.0
"""Compares an imported GGUF file with PyPI's gguf and transformers (tests/smollm2.sh calls it):
    python tests/golden/gguf/compare.py MODEL.gguf EXPORTED_FOLDER SCORED.jsonl ANSWER
Every exported tensor is what gguf dequantises, to the bit; transformers gives the log-probabilities that evaluate wrote, the answer that chat gave to
the question about France, and encodes texts to the ids that evaluate wrote."""
import json
import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

LAYER = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def published(name):
    part = name.split(".")
    return f"{WHOLE[part[0]]}.weight" if part[0] in WHOLE else f"model.layers.{part[1]}.{LAYER[part[2]]}.weight"


def halves(rows, head_dim):
    """Rotary pairs side by side, as llama.cpp has them, to halves, as transformers has them."""
    return rows.reshape(-1, head_dim // 2, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def compare_tensors(path, folder):
    try:
        import gguf
    except ImportError:
        print("compare: tensors not compared: no gguf")
        return
    ours = load_file(folder / "model.safetensors")
    head_dim = json.loads((folder / "config.json").read_text())["head_dim"]
    reader = gguf.GGUFReader(path)
    for tensor in reader.tensors:
        want = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
            want = halves(want, head_dim)
        got = ours.pop(published(tensor.name)).numpy()
        assert got.dtype == want.dtype and np.array_equal(got.view(np.uint32), np.ascontiguousarray(want).view(np.uint32)), tensor.name
    assert not ours, sorted(ours)
    print(f"compare: {len(reader.tensors)} tensors are equal to the bit")


def main():
    path, folder, scored, answer = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    compare_tensors(path, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    texts = [json.loads(line)["text"] for line in pathlib.Path(scored).with_name("text.jsonl").read_text().splitlines()]
    worst = 0.0
    for text, line in zip(texts, pathlib.Path(scored).read_text().splitlines()):
        document = json.loads(line)
        ids = document["ids"]
        own = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids[:len(own)] == own, (ids, own)
        with torch.no_grad():
            log_probs = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
        want = [log_probs[i, ids[i + 1]].item() for i in range(len(document["log_probs"]))]
        worst = max(worst, max(abs(a - b) for a, b in zip(want, document["log_probs"])))
    print(f"compare: log-probabilities differ by {worst:.2e} at most")
    assert worst < 1e-3
    question = [{"role": "user", "content": "What is the capital of France?"}]
    asked = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    out = model.generate(**asked, max_new_tokens=40, do_sample=False)
    text = tokenizer.decode(out[0, asked["input_ids"].shape[1]:], skip_special_tokens=True)
    assert text.strip() == answer.strip(), (text, answer)
    print(f"compare: transformers answers the same: {text}")


if __name__ == "__main__":
    main()
