#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Ours beside Debian's PyTorch (python3-torch, eager, bf16 autocast), step by step in one run, on 2 threads.

  bench/compare.py [dense|moe ...] [--pairs 9] [--build build]

Both programs stay up and take turns, so that a slow phase of the machine meets both.  Prints medians and the median of
the pairs' ratios.  Needs -DORTHANT_BENCH=ON and the package python3-torch.
"""
import argparse
import os
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOKENS = 8 * 512


class Program:
    def __init__(self, command):
        env = dict(os.environ, OMP_NUM_THREADS="2")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env)

    def step(self):
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args}: ended with {self.process.wait()}")
        return float(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["dense", "moe"])
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--build", default="build")
    args = parser.parse_args()
    print(f"{'model':8} {'ours ms':>9} {'tokens/s':>9} {'torch ms':>9} {'tokens/s':>9} {'ratio':>6}   (pairs: lowest, highest)")
    for model in args.models or ["dense", "moe"]:
        ours = Program([f"{args.build}/bin/train_bench", f"configs/bench-{model}.yaml", "--serve"])
        torch = Program(["/usr/bin/python3", "bench/torch_train.py", model])
        for program in (ours, torch):
            for _ in range(2):
                program.step()
        pairs = [(ours.step(), torch.step()) for _ in range(args.pairs)]
        ours.close(), torch.close()
        mine, theirs = (statistics.median(column) for column in zip(*pairs))
        ratios = [b / a for a, b in pairs]
        print(f"{model:8} {mine * 1e3:9.0f} {TOKENS / mine:9.0f} {theirs * 1e3:9.0f} {TOKENS / theirs:9.0f} "
              f"{statistics.median(ratios):6.2f}   ({min(ratios):.2f}, {max(ratios):.2f})")


if __name__ == "__main__":
    main()
