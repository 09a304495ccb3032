#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Ours beside Debian's PyTorch (python3-torch, eager, bf16 autocast), step by step in one run, on 2 threads.

  bench/compare.py [dense|moe ...] [--pairs 9] [--build build]

Both programs stay up and take turns, so that a slow phase of the machine meets both.  Prints medians and the median of
the pairs' ratios.  Needs -DORTHANT_BENCH=ON and the package python3-torch.
"""
import argparse
import statistics

from turns import Program, take_turns

TOKENS = 8 * 512


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["dense", "moe"])
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--build", default="build")
    args = parser.parse_args()
    print(f"{'model':8} {'ours ms':>9} {'tokens/s':>9} {'torch ms':>9} {'tokens/s':>9} {'ratio':>6}   (pairs: lowest, highest)")
    for model in args.models or ["dense", "moe"]:
        ours = Program("ours", [f"{args.build}/bin/train_bench", f"configs/bench-{model}.yaml", "--serve"])
        torch = Program("torch", ["/usr/bin/python3", "bench/torch_train.py", model])
        pairs = take_turns([ours, torch], args.pairs)
        ours.close(), torch.close()
        mine, theirs = (statistics.median(column) for column in zip(*pairs))
        ratios = [b / a for a, b in pairs]
        print(f"{model:8} {mine * 1e3:9.0f} {TOKENS / mine:9.0f} {theirs * 1e3:9.0f} {TOKENS / theirs:9.0f} "
              f"{statistics.median(ratios):6.2f}   ({min(ratios):.2f}, {max(ratios):.2f})")


if __name__ == "__main__":
    main()
