#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A model's shape with LoRA in PEFT over transformers: the rival of bench/lora.py.

  peft_train.py fp32|bf16 eager|compiled smollm2|stories260k
                                             one training step for every line on stdin; prints its seconds, and
                                             the process's peak memory in MiB
"""
import resource
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

BATCH, LENGTH = 8, 512
SHAPES = {
    "smollm2": dict(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
                    num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192, rope_theta=100000.0),
    "stories260k": dict(vocab_size=512, hidden_size=64, intermediate_size=172, num_hidden_layers=5,
                        num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=512, rope_theta=10000.0)}


def main():
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[sys.argv[1]]
    torch.set_num_threads(2)
    torch.manual_seed(1)
    config = LlamaConfig(**SHAPES[sys.argv[3]], tie_word_embeddings=True, attn_implementation="sdpa")
    model = LlamaForCausalLM(config).to(dtype)
    model.config.use_cache = False
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0, fused=True)
    run = torch.compile(model) if sys.argv[2] == "compiled" else model
    generator = torch.Generator().manual_seed(2)
    for _ in sys.stdin:
        ids = torch.randint(0, config.vocab_size, (BATCH, LENGTH), generator=generator)
        begin = time.perf_counter()
        loss = run(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - begin
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)


if __name__ == "__main__":
    main()
