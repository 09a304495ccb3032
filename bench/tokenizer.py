# SPDX-License-Identifier: Apache-2.0
"""Ours beside PyPI's `tokenizers`, round by round in one run, each on one thread, in seconds of the processor; ids are counted.

  python bench/tokenizer.py FILE TOKENIZER_JSON... [--rounds 7] [--build build]

Needs -DORTHANT_BENCH=ON and a Python that has `tokenizers` (pip install 'tokenizers==0.23.*' into a virtual environment).
Prints medians over the rounds and the median of the rounds' ratios.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer  # noqa: E402

PIECE = 64 << 10


def pieces_of(data):
    while data:
        newline = data.rfind(b"\n", 0, PIECE + 1)
        size = len(data) if newline < 0 else newline + 1
        yield data[:size].decode()
        data = data[size:]


class Ours:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def round(self):
        self.process.stdin.write("again\n")
        self.process.stdin.flush()
        seconds, ids = self.process.stdout.readline().split()
        return float(seconds), int(ids)


def library_round(library, pieces):
    begin, ids = time.process_time(), 0
    for piece in pieces:
        ids += len(library.encode(piece, add_special_tokens=False).ids)
    return time.process_time() - begin, ids


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("tokenizers", nargs="+", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--build", default="build")
    args = parser.parse_args()
    data = args.file.read_bytes()
    pieces = list(pieces_of(data))
    for path in args.tokenizers:
        library = Tokenizer.from_file(str(path))
        library.encode_special_tokens = True
        ours = Ours([f"{args.build}/bin/tokenizer_bench", str(path), str(args.file), "--serve"])
        ours.round()
        rounds = []
        for _ in range(args.rounds):
            (mine, my_ids), (theirs, their_ids) = ours.round(), library_round(library, pieces)
            if my_ids != their_ids:
                raise SystemExit(f"{path}: {my_ids} ids, the library has {their_ids}")
            rounds.append((mine, theirs))
        mine, theirs = (len(data) / 1e6 / statistics.median(column) for column in zip(*rounds))
        ratio = statistics.median(b / a for a, b in rounds)
        print(f"{path}: {len(data) / 1e6:.1f} MB, {my_ids:,} ids: ours {mine:.1f} MB/s, tokenizers {theirs:.2f} MB/s, {ratio:.1f} times", flush=True)
        ours.process.stdin.close()
        ours.process.wait()


if __name__ == "__main__":
    main()
