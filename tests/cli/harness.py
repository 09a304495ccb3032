# SPDX-License-Identifier: Apache-2.0
"""Runs the program as a user does.  ORTHANT_BIN names the binary, ORTHANT_ROOT the source tree."""
import functools
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("ORTHANT_ROOT", pathlib.Path(__file__).resolve().parents[2]))
BINARY = os.environ.get("ORTHANT_BIN", str(ROOT / "build/bin/orthant"))

TINY = """\
device: cpu
precision: {precision}
run: {{name: tiny, dir: {dir}/run, max_steps: 8, seed: 3}}
model:
  vocab_size: 257
  hidden_size: 32
  num_hidden_layers: 2
  num_attention_heads: 4
  num_key_value_heads: 2
  intermediate_size: 48
  n_routed_experts: 4
  n_shared_experts: 1
  num_experts_per_tok: 2
  moe_intermediate_size: 16
  first_k_dense_replace: 1
moe: {{balance: {{expert: 0.01, z_loss: 0.001}}}}
batch: {{micro_batch_size: 2, global_batch_size: 8, sequence_length: 32}}
data: {{train: {dir}/text.txt, validation_fraction: 0.1}}
optimizer: {{learning_rate: 3.0e-3}}
schedule: {{warmup_steps: 2, total_steps: 8}}
evaluation: {{interval: 0}}
checkpoint: {{interval: 2, keep: 10}}
generation: {{samples: 0}}
"""


# The same model routed as DeepSeek-V3 and V2 do: key.path=value.
LIKE_V3 = ["model.n_routed_experts=8", "model.scoring_func=sigmoid", "model.topk_method=noaux_tc", "model.n_group=4",
           "model.topk_group=2", "model.norm_topk_prob=true", "moe.balance.expert=0", "moe.bias_update_rate=0.01"]
# With latent attention, as DeepSeek-V3's folders are, and a layer that predicts the token after the next.
WITH_MTP = [*LIKE_V3, "model.kv_lora_rank=8", "model.q_lora_rank=12", "model.qk_nope_head_dim=8", "model.qk_rope_head_dim=4",
            "model.v_head_dim=8", "model.num_key_value_heads=4", "model.num_nextn_predict_layers=1"]
LIKE_V2 = ["model.n_routed_experts=8", "model.topk_method=group_limited_greedy", "model.n_group=4", "model.topk_group=2",
           "moe.balance.device=0.05", "moe.balance.communication=0.02", "moe.capacity_factor=0.8"]


def zstd(data):
    """A Zstandard frame of one raw block, of at most 255 bytes."""
    assert len(data) < 256
    return b"\x28\xb5\x2f\xfd\x20" + bytes([len(data)]) + (len(data) << 3 | 1).to_bytes(3, "little") + data


class Result:
    def __init__(self, process):
        self.code, self.out, self.err = process.returncode, process.stdout, process.stderr

    def __repr__(self):
        return f"exit {self.code}\n--- stdout\n{self.out[-2000:]}\n--- stderr\n{self.err[-4000:]}"


def command(arguments, ranks=0):
    return [BINARY, *(["launch", "-n", str(ranks), "--"] if ranks else []), *map(str, arguments)]


def launch(program, *arguments, ranks=2):
    """The command line of another program on ranks."""
    return [BINARY, "launch", "-n", str(ranks), "--program", str(program), "--", *map(str, arguments)]


@functools.cache
def level():
    """The instruction-set level, chosen once: runs that are compared bit for bit must not choose apart on a busy machine."""
    doctor = subprocess.run(command(["doctor"]), capture_output=True, text=True, timeout=120)
    return next(line.split()[1] for line in doctor.stdout.splitlines() if line.startswith("level "))


def environment(**extra):
    return {"ORTHANT_ISA": level(), **os.environ, "OMP_NUM_THREADS": "1", **extra}


def orthant(*arguments, ranks=0, timeout=120, **env):
    done = subprocess.run(command(arguments, ranks), capture_output=True, text=True, errors="replace", timeout=timeout,
                          env=environment(**env), stdin=subprocess.DEVNULL)
    return Result(done)


class CliTest(unittest.TestCase):
    """A test with a directory of its own, a small text and a small configuration in it."""

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="orthant-cli-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        text = (ROOT / "tests/data/shakespeare.txt").read_text()
        (self.dir / "text.txt").write_text(text[:60000])

    def config(self, name="tiny.yaml", precision="fp32", text=None):
        path = self.dir / name
        path.write_text(text if text is not None else TINY.format(dir=self.dir, precision=precision))
        return path

    def check(self, result, code, *phrases):
        self.assertEqual(result.code, code, result)
        for phrase in phrases:
            self.assertIn(phrase, result.err + result.out, result)
        return result

    def metrics(self, run="run"):
        return [json.loads(line) for line in (self.dir / run / "metrics.jsonl").read_text().splitlines()]

    def weights(self, run="run"):
        """Checksums of every tensor of the newest checkpoint, moments included, however its elements are cut."""
        newest = sorted((self.dir / run / "checkpoints").glob("step-*"))[-1]
        manifest = json.loads((newest / "manifest.json").read_text())
        shards = [Shard(path) for path in sorted(newest.glob("shard-*"))]
        sums = {}
        for tensor in manifest["tensors"]:
            parts = []
            for piece in tensor["slices"]:
                self.assertEqual(piece["shape"], tensor["shape"])
                begin, end = piece.get("elements", [0, 0])
                key = tensor["name"] + (f"{{{begin}:{end}}}" if "elements" in piece else "")
                parts.append((begin, shards[piece["file"]].bytes_of(key)))
            sums[tensor["name"]] = hashlib.sha256(b"".join(data for _, data in sorted(parts))).hexdigest()
        return sums


class Shard:
    """A safetensors file."""

    def __init__(self, path):
        self.data = path.read_bytes()
        self.first = 8 + int.from_bytes(self.data[:8], "little")
        self.header = json.loads(self.data[8:self.first])

    def bytes_of(self, key):
        begin, end = self.header[key]["data_offsets"]
        return self.data[self.first + begin:self.first + end]
