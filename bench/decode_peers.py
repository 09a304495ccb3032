# SPDX-License-Identifier: Apache-2.0
"""Greedy decoding by a peer, for bench/decode.py: for each line "BATCH LENGTH STEPS" on stdin so many steps behind
LENGTH tokens; prints their seconds.

  bench/decode_peers.py transformers FOLDER|llama.cpp FILE.gguf
"""
import os
import sys
import time


class Transformers:
    def __init__(self, folder):
        import torch
        import transformers
        self.torch = torch
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()

    def run(self, batch, length, steps):
        torch = self.torch
        with torch.inference_mode():
            ids = (1 + torch.arange(length) * 7919 % (self.model.config.vocab_size - 1)).repeat(batch, 1)
            out = self.model(ids, use_cache=True, logits_to_keep=1)
            begin = None
            for step in range(steps + 2):  # two to warm up
                if step == 2:
                    begin = time.perf_counter()
                out = self.model(out.logits[:, -1:].argmax(-1), past_key_values=out.past_key_values, use_cache=True)
            return time.perf_counter() - begin


class LlamaCpp:
    def __init__(self, path):
        import llama_cpp
        threads = int(os.environ.get("OMP_NUM_THREADS", 2))
        self.model = llama_cpp.Llama(path, n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False)

    def run(self, batch, length, steps):
        if batch > 1:
            return float("nan")
        model = self.model
        model.reset()
        model.eval([1 + i * 7919 % (model.n_vocab() - 1) for i in range(length)])
        begin = None
        for step in range(steps + 2):
            if step == 2:
                begin = time.perf_counter()
            model.eval([model.sample(temp=0.0)])
        return time.perf_counter() - begin


def main():
    peer = {"transformers": Transformers, "llama.cpp": LlamaCpp}[sys.argv[1]](sys.argv[2])
    for line in sys.stdin:
        print(f"{peer.run(*map(int, line.split())):.6f}", flush=True)


if __name__ == "__main__":
    main()
