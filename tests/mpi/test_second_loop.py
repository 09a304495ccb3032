#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The second loop (second_loop_mpi_main.cpp), killed in the middle of a step, goes on with the bits of one that was not.
   ORTHANT_BIN=bin/orthant SECOND_LOOP_BIN=bin/mpi_second_loop tests/mpi/test_second_loop.py"""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

STEPS = 7


def run(directory, ranks, layout, **env):
    command = [os.environ["ORTHANT_BIN"], "launch", "-n", str(ranks), "--program", os.environ["SECOND_LOOP_BIN"], "--", directory, str(STEPS), layout]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=120)


def metrics(directory):
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [[row[key] for key in ("step", "loss", "grad_norm", "weight_seen")] for row in rows]


def tensors(directory, step):
    manifest = json.loads((directory / f"checkpoints/step-{step:08}/manifest.json").read_text())
    return {t["name"]: sorted(s["xxh3"] for s in t["slices"]) for t in manifest["tensors"]}


class SecondLoop(unittest.TestCase):
    def check(self, ranks, layout):
        with tempfile.TemporaryDirectory() as temporary:
            whole, killed = pathlib.Path(temporary) / "whole", pathlib.Path(temporary) / "killed"
            done = run(whole, ranks, layout)
            self.assertEqual(done.returncode, 0, done.stderr)
            died = run(killed, ranks, layout, ORTHANT_FAILPOINT="step.backward:rank=1:step=5:kill9")
            self.assertNotEqual(died.returncode, 0)
            again = run(killed, ranks, layout)
            self.assertEqual(again.returncode, 0, again.stderr)
            self.assertIn("resuming from step ", again.stderr)
            self.assertEqual(metrics(killed), metrics(whole))
            first, last = tensors(whole, STEPS - 1), tensors(whole, STEPS)
            self.assertEqual(tensors(killed, STEPS), last)
            # Both roles are there; the head alone has moments, and the head alone moves.
            self.assertIn("judge.lm_head.weight", last)
            self.assertEqual([name for name in last if "exp_avg." in name], ["student.optimizer.exp_avg.lm_head.weight"])
            self.assertEqual({name for name in last if last[name] != first[name]},
                             {f"student.{kind}lm_head.weight" for kind in ("", "optimizer.exp_avg.", "optimizer.exp_avg_sq.")})
            self.assertLess(metrics(whole)[-1][1], metrics(whole)[0][1])

    def test_two_replicas_of_two_tensor_ranks(self):
        self.check(4, "tp=2")

    def test_a_pipeline(self):
        self.check(2, "pp=2")


if __name__ == "__main__":
    unittest.main()
