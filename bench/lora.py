#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""LoRA beside PEFT over transformers, step by step in one run, on 2 threads: batch 8 x 512, rank 8, all-linear.

  bench/lora.py --python PYTHON [--model smollm2|stories260k] [--variants fp32-eager,bf16-eager,...] [--pairs 9]
                [--build build]

PYTHON: one with torch, transformers and peft.  Programs take turns, so that a slow phase of the machine meets all.
The others take 10 to 12 GiB each: name one at a time where memory is less.  Prints medians, the medians of the pairs'
ratios, and peak memory.  Needs -DORTHANT_BENCH=ON.
"""
import argparse
import statistics

from turns import Program, take_turns

TOKENS = 8 * 512
OVERRIDES = {  # of configs/bench-lora.yaml
    "smollm2": [],
    "stories260k": [f"model.{key}" for key in [
        "vocab_size=512", "hidden_size=64", "intermediate_size=172", "num_hidden_layers=5", "num_attention_heads=8",
        "num_key_value_heads=4", "max_position_embeddings=512", "rope_theta=10000.0"]]}
ALL = "fp32-eager,bf16-eager,fp32-compiled,bf16-compiled"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True)
    parser.add_argument("--model", choices=OVERRIDES, default="smollm2", help="whose shape")
    parser.add_argument("--variants", default=ALL)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--build", default="build")
    args = parser.parse_args()
    programs = [Program("ours bf16", [f"{args.build}/bin/train_bench", "configs/bench-lora.yaml", *OVERRIDES[args.model],
                                     "--serve"])]
    for variant in args.variants.split(","):
        programs.append(Program("PEFT " + variant, [args.python, "bench/peft_train.py", *variant.split("-"),
                                                   args.model]))
    rows = take_turns(programs, args.pairs)
    print(f"{'':20} {'ms a step':>10} {'tokens/s':>9} {'ours faster':>12}   {'lowest':>6} {'highest':>7} {'peak MiB':>9}")
    for i, program in enumerate(programs):
        seconds = statistics.median(row[i] for row in rows)
        ratios = [row[i] / row[0] for row in rows]
        print(f"{program.name:20} {seconds * 1e3:10.0f} {TOKENS / seconds:9.0f} {statistics.median(ratios):12.2f}   "
              f"{min(ratios):6.2f} {max(ratios):7.2f} {program.peak_mib():9.0f}")


if __name__ == "__main__":
    main()
