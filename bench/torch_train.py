#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The models of configs/bench-*.yaml in eager PyTorch, bf16 autocast, AdamW: the rival of bench/compare.py.

  torch_train.py dense|moe     one training step for every line on stdin; prints its seconds
"""
import math
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

CONFIGS = {
    "dense": dict(vocab=50304, width=768, layers=12, heads=12, inner=2048, experts=0, tied=True),
    "moe": dict(vocab=8192, width=512, layers=8, heads=8, inner=256, experts=16, top=4, tied=False),
}
BATCH, LENGTH = 8, 512


class RmsNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class FeedForward(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.gate, self.up = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Moe(nn.Module):
    """As the Hugging Face implementations: a loop over experts, index_add to combine."""

    def __init__(self, c):
        super().__init__()
        self.top = c["top"]
        self.router = nn.Linear(c["width"], c["experts"], bias=False)
        self.experts = nn.ModuleList(FeedForward(c["width"], c["inner"]) for _ in range(c["experts"]))
        self.shared = FeedForward(c["width"], c["inner"])

    def forward(self, x):
        flat = x.view(-1, x.shape[-1])
        scores = F.softmax(self.router(flat).float(), dim=-1)
        weights, chosen = scores.topk(self.top, dim=-1)
        out = torch.zeros_like(flat)
        for index, expert in enumerate(self.experts):
            token, slot = torch.where(chosen == index)
            rows = expert(flat[token]) * weights[token, slot, None]
            out.index_add_(0, token, rows.to(out.dtype))
        counts = F.one_hot(chosen, scores.shape[-1]).float().sum((0, 1))
        self.balance = 0.001 * scores.shape[-1] * (counts / counts.sum() * scores.mean(0)).sum()
        return out.view_as(x) + self.shared(x)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c["heads"]
        self.qkv = nn.Linear(c["width"], 3 * c["width"], bias=False)
        self.out = nn.Linear(c["width"], c["width"], bias=False)

    def forward(self, x, cos, sin, mask):
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)

        def turn(y):
            half = y.shape[-1] // 2
            y1, y2 = y[..., :half], y[..., half:]
            return torch.cat((y1 * cos - y2 * sin, y2 * cos + y1 * sin), -1).to(y.dtype)

        scores = turn(q) @ turn(k).transpose(-1, -2) / math.sqrt(q.shape[-1])
        probability = F.softmax(scores.masked_fill(mask, float("-inf")), dim=-1)
        y = probability.to(v.dtype) @ v
        return self.out(y.transpose(1, 2).reshape(b, t, d))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm1, self.norm2 = RmsNorm(c["width"]), RmsNorm(c["width"])
        self.attention = Attention(c)
        self.ffn = Moe(c) if c["experts"] else FeedForward(c["width"], c["inner"])

    def forward(self, x, *rest):
        x = x + self.attention(self.norm1(x), *rest)
        return x + self.ffn(self.norm2(x))


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed = nn.Embedding(c["vocab"], c["width"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["layers"]))
        self.norm = RmsNorm(c["width"])
        self.head = nn.Linear(c["width"], c["vocab"], bias=False)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)
        if c["tied"]:
            self.head.weight = self.embed.weight
        half = c["width"] // c["heads"] // 2
        angle = torch.arange(LENGTH)[:, None] * 10000.0 ** (-torch.arange(half) / half)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())
        self.register_buffer("mask", torch.triu(torch.ones(LENGTH, LENGTH, dtype=torch.bool), 1))

    def forward(self, ids, labels):
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin, self.mask)
        logits = self.head(self.norm(x))
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1))
        return loss + sum(l.ffn.balance for l in self.layers if isinstance(l.ffn, Moe))


def main():
    torch.manual_seed(0)
    torch.set_num_threads(2)
    if len(sys.argv) != 2 or sys.argv[1] not in CONFIGS:
        sys.exit(__doc__)
    c = CONFIGS[sys.argv[1]]
    model = Model(c)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1)
    for _ in sys.stdin:
        ids, labels = torch.randint(c["vocab"], (2, BATCH, LENGTH))
        begin = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(ids, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        print(time.perf_counter() - begin, flush=True)


if __name__ == "__main__":
    main()
