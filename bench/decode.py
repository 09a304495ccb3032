#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Decoding beside other programs, turn by turn in one run, on 2 threads (OMP_NUM_THREADS).

  bench/decode.py RUN [--precision bf16] [--python PYTHON --folder FOLDER [--gguf FILE]] [--pairs 5] [--build build]

RUN: an imported model.  PYTHON: one with torch and transformers, which reads FOLDER (orthant export RUN FOLDER), and
with llama_cpp, which reads FILE.  Prints medians of tokens a second, and of the pairs' ratios.  Needs -DORTHANT_BENCH=ON.
"""
import argparse
import statistics

from turns import Program

CASES = [(1, 64), (1, 1024), (16, 64)]
STEPS = 24


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--python", default="")
    parser.add_argument("--folder", default="")
    parser.add_argument("--gguf", default="")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--build", default="build")
    args = parser.parse_args()
    programs = [Program("ours", [f"{args.build}/bin/decode_bench", args.run, "--precision", args.precision, "--serve"])]
    for name, path in (("transformers", args.folder), ("llama.cpp", args.gguf)):
        if args.python and path:
            programs.append(Program(name, [args.python, "bench/decode_peers.py", name, path]))
    print(f"{'batch':>6}{'length':>8}" + "".join(f"{p.name + ' tok/s':>20}" for p in programs) +
          "".join(f"{'ours / ' + p.name:>22}" for p in programs[1:]))
    for batch, length in CASES:
        line = f"{batch} {length} {STEPS}"
        rows = [[program.seconds(line) / STEPS for program in programs] for _ in range(args.pairs)]
        rates = [batch / statistics.median(column) for column in zip(*rows)]
        ratios = [statistics.median(row[i] / row[0] for row in rows) for i in range(1, len(programs))]
        print(f"{batch:6}{length:8}" + "".join(f"{rate:20.1f}" for rate in rates) + "".join(f"{ratio:22.2f}" for ratio in ratios))


if __name__ == "__main__":
    main()
