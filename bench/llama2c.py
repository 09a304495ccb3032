#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""stories260k on one thread: ours beside llama2.c (github.com/karpathy/llama2.c, run.c built with -Ofast -march=native).

  bench/llama2c.py LLAMA2 RUN [--pairs 7] [--build build]      PYTHON with numpy, safetensors and sentencepiece

Writes the model in llama2.c's format, lets both write 256 tokens greedily from the first token, turn by turn, and
prints medians of tokens a second.  RUN: what orthant import tests/data/stories260k made.
"""
import argparse
import json
import os
import re
import statistics
import struct
import subprocess
import tempfile

import numpy
import safetensors.numpy
import sentencepiece

from turns import ROOT, Program

STORIES = ROOT / "tests/data/stories260k"
TOKENS = 256


def write_model(path):
    config = json.loads((STORIES / "config.json").read_text())
    weights = safetensors.numpy.load_file(STORIES / "model.safetensors")
    layers, heads, kv_heads = (config[k] for k in ("num_hidden_layers", "num_attention_heads", "num_key_value_heads"))
    dim, length = config["hidden_size"], config["max_position_embeddings"]

    def pairs_side_by_side(name, count):
        w = weights[name]
        return w.reshape(count, 2, w.shape[0] // count // 2, dim).swapaxes(1, 2).reshape(w.shape)

    def of_layers(name, read=lambda name: weights[name]):
        return [read(f"model.layers.{i}.{name}.weight") for i in range(layers)]

    tied = "lm_head.weight" not in weights
    arrays = [weights["model.embed_tokens.weight"], *of_layers("input_layernorm"),
              *of_layers("self_attn.q_proj", lambda n: pairs_side_by_side(n, heads)),
              *of_layers("self_attn.k_proj", lambda n: pairs_side_by_side(n, kv_heads)),
              *of_layers("self_attn.v_proj"), *of_layers("self_attn.o_proj"), *of_layers("post_attention_layernorm"),
              *of_layers("mlp.gate_proj"), *of_layers("mlp.down_proj"), *of_layers("mlp.up_proj"), weights["model.norm.weight"],
              numpy.zeros((2, length, dim // heads // 2))]
    if not tied:
        arrays.append(weights["lm_head.weight"])
    with open(path, "wb") as out:
        vocab = config["vocab_size"]
        out.write(struct.pack("7i", dim, config["intermediate_size"], layers, heads, kv_heads, vocab if tied else -vocab, length))
        for array in arrays:
            out.write(numpy.ascontiguousarray(array, numpy.float32).tobytes())


def write_tokenizer(path):
    model = sentencepiece.SentencePieceProcessor(model_file=str(STORIES / "tokenizer.model"))
    texts = []
    for i in range(model.vocab_size()):
        text = model.id_to_piece(i)
        text = {1: "\n<s>\n", 2: "\n</s>\n"}.get(i, text).replace("\u2581", " ")
        texts.append((model.get_score(i), text.encode()))
    with open(path, "wb") as out:
        out.write(struct.pack("I", max(len(text) for _, text in texts)))
        for score, text in texts:
            out.write(struct.pack("fI", score, len(text)) + text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("llama2")
    parser.add_argument("run")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--build", default="build")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as work:
        write_model(f"{work}/model.bin")
        write_tokenizer(f"{work}/tokenizer.bin")
        ours = Program("ours", [f"{args.build}/bin/decode_bench", args.run, "--serve"])
        mine, theirs = [], []
        for _ in range(args.pairs):
            mine.append((TOKENS - 2) / ours.seconds(f"1 1 {TOKENS - 2}"))
            done = subprocess.run([args.llama2, f"{work}/model.bin", "-z", f"{work}/tokenizer.bin", "-t", "0", "-n", str(TOKENS)],
                                  capture_output=True, check=True)
            theirs.append(float(re.search(rb"achieved tok/s: ([\d.]+)", done.stderr)[1]))
    ratio = statistics.median(a / b for a, b in zip(mine, theirs))
    print(f"ours {statistics.median(mine):.0f} tok/s, llama2.c {statistics.median(theirs):.0f}, ratio {ratio:.2f}")
    print(done.stdout.decode()[:200].replace("\n", " "))


if __name__ == "__main__":
    main()
