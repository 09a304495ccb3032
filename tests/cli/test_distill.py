#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""orthant distill: a smaller model and adapters learn from a teacher, there or in a file, on any layout, and go on."""
import json
import shutil
import subprocess
import unittest

from harness import ROOT, CliTest, orthant

STORIES = ROOT / "tests/data/stories260k"
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "tie_word_embeddings": True}


class Distill(CliTest):
    def setUp(self):
        super().setUp()
        subprocess.run([ROOT / "launch/make_chats.sh", self.dir / "chats"], check=True, capture_output=True)
        rows = (self.dir / "chats/stories.jsonl").read_text().splitlines()[:120]
        (self.dir / "rows.jsonl").write_text("\n".join(rows) + "\n")

    def config(self, name="run", **blocks):
        path = self.dir / f"{name}.yaml"
        whole = {"precision": "fp32", "run": {"dir": str(self.dir / name), "max_steps": 6}, "model": dict(SMALL),
                 "data": {"train": str(self.dir / "rows.jsonl"), "validation_fraction": 0.2},
                 "distill": {"teacher": {"from": str(STORIES)}, "top_k": 16, "temperature": 1.5, "kl": "mixed"},
                 "finetune": {"loss_on": "all"}, "batch": {"micro_batch_size": 2, "global_batch_size": 4, "sequence_length": 128},
                 "optimizer": {"learning_rate": 3e-3}, "schedule": {"name": "constant"}, "evaluation": {"interval": 3},
                 "generation": {"samples": 1, "temperature": 0, "max_new_tokens": 8}}
        for block, values in blocks.items():
            whole[block] = {**({} if "from" in values else whole.get(block, {})), **values}
        path.write_text(json.dumps(whole))
        return path

    def metrics(self, name="run"):
        return [json.loads(line) for line in (self.dir / name / "metrics.jsonl").read_text().splitlines()]

    def numbers(self, name):
        keys = ["loss", "lm_loss", "grad_norm", "distill_loss", "agreement", "validation_loss", "validation_distill_loss",
                "validation_agreement"]
        return [[m.get(key) for key in keys] for m in self.metrics(name)]

    def assert_near(self, got, want, what):
        self.assertEqual(len(got), len(want))
        for a, b in zip(sum(got, []), sum(want, [])):
            if b is not None:
                self.assertAlmostEqual(a, b, delta=2e-4 * max(1.0, abs(b)), msg=what)

    def test_a_smaller_model_comes_near_to_its_teacher(self):
        path = self.config(run={"max_steps": 60}, distill={"hard_weight": 0.2, "kl": "forward", "temperature": 1.0},
                           evaluation={"interval": 20}, optimizer={"learning_rate": 1e-2})
        self.check(orthant("distill", path), 0, "teacher: ", "260,032 parameters, frozen", "agreement", "the best so far")
        told = [m for m in self.metrics() if "validation_distill_loss" in m]
        first, last = self.metrics()[0], told[-1]
        self.assertLess(last["validation_distill_loss"], 0.5 * first["distill_loss"])
        self.assertGreater(last["validation_agreement"], 0.4)
        for m in self.metrics():  # the two parts make the loss
            self.assertAlmostEqual(m["loss"], 0.2 * m["lm_loss"] + 0.8 * m["distill_loss"], delta=1e-6)
        self.assertGreater(first["lm_loss"], last["validation_loss"])
        report = (self.dir / "run/report.html").read_text()
        for words in ("distillation, step 60", "distill_loss", "agreement", "orthant distill"):
            self.assertIn(words, report)
        events = b"".join(f.read_bytes() for f in (self.dir / "run").glob("events.out.tfevents.*"))
        self.assertIn(b"validation_agreement", events)
        # A model like any other, whose texts begin as the teacher's; the teacher is no part of its checkpoints.
        self.check(orthant("generate", self.dir / "run", "--prompt", "Once upon a time", "--temperature", 0, "--max-new-tokens", 5), 0)
        newest = sorted((self.dir / "run/checkpoints").glob("step-*"))[-1]
        manifest = json.loads((newest / "manifest.json").read_text())
        self.assertEqual({t["shape"][1] for t in manifest["tensors"] if t["name"] == "model.embed_tokens.weight"}, {32})
        self.assertFalse([t["name"] for t in manifest["tensors"] if t["name"].startswith("teacher")])
        self.assertEqual(manifest["extra"]["begins_with"], "1")

    def test_a_file_is_as_good_as_the_teacher(self):
        for precision in ("fp32", "bf16"):
            shutil.rmtree(self.dir / "live", ignore_errors=True)
            shutil.rmtree(self.dir / "stored", ignore_errors=True)
            live = self.config("live")
            self.check(orthant("distill", live, f"precision={precision}"), 0)
            file = self.dir / f"{precision}.h5"
            self.check(orthant("distill", live, f"precision={precision}", "--teacher-log-probs", file), 0, "labels, the 16 likeliest")
            stored = self.config("stored")
            told = self.check(orthant("distill", stored, f"precision={precision}", f"distill.teacher.log_probs={file}"), 0, "labels, the 16")
            self.assertNotIn("frozen", told.err)  # there is no teacher beside the run
            self.assertEqual(self.numbers("stored"), self.numbers("live"))
        # Ranks write what one writes, to rounding, and read it on any layout.
        ranks = self.dir / "ranks.h5"
        self.check(orthant("distill", live, "parallel.context_parallel_size=2", "--teacher-log-probs", ranks, ranks=4), 0)
        self.check(orthant("distill", self.config("many"), f"distill.teacher.log_probs={ranks}", "parallel.pipeline_parallel_size=2", ranks=2), 0)
        self.check(orthant("distill", self.config("one"), f"distill.teacher.log_probs={self.dir}/fp32.h5"), 0)
        self.assert_near(self.numbers("many"), self.numbers("one"), "ranks")

    def test_a_file_has_all_sources_whatever_their_weights(self):
        more = [json.dumps({"prompt": f"Once upon a time, number {i}", "completion": " was here."}) for i in range(40)]
        (self.dir / "more.jsonl").write_text("\n".join(more) + "\n")
        data = f"data.train=[{{path: {self.dir}/more.jsonl, weight: 0.5}}, {{path: {self.dir}/rows.jsonl, weight: 2}}]"
        file = self.dir / "teacher.h5"
        self.check(orthant("distill", self.config("live"), data), 0)
        self.check(orthant("distill", self.config("live"), data.replace("0.5", "1"), "--teacher-log-probs", file), 0)
        self.check(orthant("distill", self.config("stored"), data, f"distill.teacher.log_probs={file}"), 0)
        self.assertEqual(self.numbers("stored"), self.numbers("live"))

    def test_a_file_of_something_else_is_refused(self):
        file = self.dir / "teacher.h5"
        self.check(orthant("distill", self.config(), "--teacher-log-probs", file), 0)
        use = f"distill.teacher.log_probs={file}"
        for override, words in [("distill.top_k=8", "another distill.top_k: want 8, got 16"),
                                ("distill.temperature=2", "another distill.temperature"),
                                ("data.validation_fraction=0.1", "another content of the data"),
                                ("finetune.loss_on=assistant", "another content of the data")]:
            self.check(orthant("distill", self.config("bad"), use, override), 65, words)
        # Weights and packing of the data do not matter; another teacher does.
        self.check(orthant("distill", self.config("packed"), use, "data.packing=false", "run.max_steps=1"), 0)
        other = self.config("other", model={**SMALL, "hidden_size": 48})
        self.check(orthant("distill", other, "run.max_steps=1"), 0)
        self.check(orthant("distill", self.config("bad"), use, f"distill.teacher.from={self.dir}/other"), 65, "another teacher")
        content = file.read_bytes()
        file.write_bytes(content[:-100])
        self.check(orthant("distill", self.config("bad"), use), 65, "truncated")
        damaged = bytearray(content)
        damaged[len(content) // 2] ^= 1
        file.write_bytes(damaged)
        self.check(orthant("distill", self.config("bad"), use), 65, "checksum")
        self.check(orthant("distill", self.config("bad"), "distill.teacher.log_probs=/nowhere.h5"), 66, "/nowhere.h5: no such file")

    def test_ranks_learn_what_one_rank_learns(self):
        for top_k in (16, 0):
            distill = {"top_k": top_k}
            one = f"one{top_k}"
            self.check(orthant("distill", self.config(one, distill=distill)), 0)
            for ranks, *layout in [(2,), (2, "parallel.tensor_parallel_size=2"), (2, "parallel.pipeline_parallel_size=2"),
                                   (2, "parallel.context_parallel_size=2")]:
                shutil.rmtree(self.dir / "many", ignore_errors=True)
                path = self.config("many", distill=distill)
                self.check(orthant("distill", path, "run.max_steps=3", *layout, ranks=ranks), 0)
                self.check(orthant("distill", path), 0, "resuming from step 3")  # on one rank
                self.assert_near(self.numbers("many"), self.numbers(one), layout)

    def test_a_run_that_goes_on_has_the_bits_of_one_that_was_not_stopped(self):
        blocks = {"model": {"from": str(STORIES)},
                  "lora": {"rank": 4, "dropout": 0.1}, "distill": {"teacher": {"from": str(self.teacher())}}}
        self.check(orthant("distill", self.config("whole", **blocks)), 0, "trains: ")
        self.check(orthant("distill", self.config("parts", **blocks), "run.max_steps=2"), 0)
        self.check(orthant("distill", self.config("parts", **blocks)), 0, "resuming from step 2")
        self.assertEqual(self.numbers("parts")[2:], self.numbers("whole")[2:])
        self.assertTrue((self.dir / "whole/adapter/adapter_model.safetensors").exists())
        # A teacher with other weights is another run's.
        self.check(orthant("distill", self.config("parts", **blocks), "run.max_steps=8", f"distill.teacher.from={STORIES}"), 64,
                   "distill.teacher: is not the one that the run began with")

    def teacher(self):
        """Adapters that have learned another answer, beside the model that learns from them."""
        path = self.config("teacher", model={"from": str(STORIES)},
                           lora={"rank": 4, "target_modules": ["all-linear", "lm_head"]}, optimizer={"learning_rate": 1e-2})
        self.check(orthant("finetune", path, "distill.teacher.from=", "run.max_steps=10"), 0)
        return self.dir / "teacher"

    def test_ends_early_and_keeps_the_best(self):
        path = self.config(run={"max_steps": 60}, finetune={"patience": 2}, optimizer={"learning_rate": 0.3}, evaluation={"interval": 2})
        self.check(orthant("distill", path), 0, "no better for 2 evaluations: the run ends")
        losses = {m["step"]: 0.5 * m["validation_loss"] + 0.5 * m["validation_distill_loss"] for m in self.metrics() if "validation_loss" in m}
        best = min(losses, key=losses.get)
        self.assertLess(len(self.metrics()), 60)
        self.assertTrue((self.dir / f"run/checkpoints/step-{best:08}").exists())

    def test_what_cannot_be_is_refused(self):
        vocabulary = self.dir / "bytes"
        self.check(orthant("pretrain", self.tiny(), "run.max_steps=1"), 0)
        for blocks, code, *words in [
                ({"distill": {"teacher": {}}}, 64, "model.from: want the model"),
                ({"distill": {"teacher": {"from": "/nowhere"}}}, 66, "distill.teacher.from: /nowhere does not exist"),
                ({"distill": {"teacher": {"from": str(vocabulary)}}, "data": {"tokenizer": str(STORIES)}, "model": {"vocab_size": 512}}, 64,
                 "want the vocabulary of the model that learns, 512 tokens", "257"),
                ({"model": {"vocab_size": 600}}, 64, "distill.teacher.from: want model.vocab_size 600, got 512"),
                ({"distill": {"top_k": 513}}, 64, "distill.top_k: 513 is more than the 512 tokens of the vocabulary"),
                ({"distill": {"temperature": -1}}, 64, "distill.temperature", "want a number > 0"),
                ({"distill": {"temperature": 0}}, 64, "distill.temperature", "want a number > 0"),
                ({"distill": {"kl": "backward"}}, 64, "distill.kl", "forward, reverse"),
                ({"distill": {"hard_weight": 1.5}}, 64, "distill.hard_weight"),
                ({"distill": {"top_k": 0, "teacher": {"from": str(STORIES), "log_probs": "x.h5"}}}, 64, "0 wants the teacher itself"),
                ({"distill": {"top_k": 1, "rest": "none"}}, 64, "distill.rest: none leaves one token"),
                ({"distill": {"teachers": "x"}}, 64, "teachers", "teacher"),
                ({"batch": {"sequence_length": 4096}}, 64, "distill.teacher.from: the teacher knows 512 positions")]:
            self.check(orthant("distill", self.config("bad", **blocks)), code, *words)
        self.check(orthant("distill", self.config("bad", distill={"top_k": 0}), "--teacher-log-probs", self.dir / "x.h5"), 64, "distill.top_k")
        self.check(orthant("distill", self.config("bad"), "--teacher-log-probs", "/nowhere/x.h5"), 73, "/nowhere")
        self.check(orthant("finetune", self.config("bad")), 64, "orthant distill learns from one")
        self.check(orthant("distill", self.config("bad"), "parallel.pipeline_parallel_size=2", "model.num_hidden_layers=8",
                           "parallel.pipeline_schedule=interleaved", "parallel.pipeline_chunks=4", ranks=2), 64,
                   "the teacher stands on the run's layout", "8 stages")
        self.check(orthant("distill", self.config("dry"), "--dry-run"), 0, "temperature: 1.5", "conversations")
        self.assertFalse((self.dir / "dry").exists())
        self.check(orthant("inspect", "config", self.config("dry")), 0, "hard_weight: 0.5", "vocab_size: 512")

    def tiny(self):
        """A model of bytes."""
        path = self.dir / "tiny.yaml"
        path.write_text(f"precision: fp32\nrun: {{name: bytes, dir: {self.dir}/bytes, max_steps: 1}}\nmodel: {{vocab_size: 257, hidden_size: 16, "
                        "num_hidden_layers: 1, num_attention_heads: 2}\nbatch: {sequence_length: 128}\n"
                        f"data: {{train: {self.dir}/text.txt}}\ngeneration: {{samples: 0}}\n")
        return path


if __name__ == "__main__":
    unittest.main()
