#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""orthant finetune: adapters learn, checkpoints hold them alone, runs go on on any layout, and end early."""
import json
import shutil
import subprocess
import unittest

from harness import ROOT, CliTest, orthant

STORIES = ROOT / "tests/data/stories260k"


class Finetune(CliTest):
    def setUp(self):
        super().setUp()
        subprocess.run([ROOT / "launch/make_chats.sh", self.dir / "chats"], check=True, capture_output=True)
        rows = (self.dir / "chats/stories.jsonl").read_text().splitlines()[:160]
        (self.dir / "rows.jsonl").write_text("\n".join(rows) + "\n")

    def config(self, name="run", **blocks):
        path = self.dir / f"{name}.yaml"
        whole = {"precision": "fp32", "run": {"dir": str(self.dir / name), "max_steps": 8}, "model": {"from": str(STORIES)},
                 "data": {"train": str(self.dir / "rows.jsonl"), "validation_fraction": 0.2},
                 "lora": {"rank": 4, "target_modules": ["all-linear", "lm_head"]},
                 "batch": {"micro_batch_size": 2, "global_batch_size": 4, "sequence_length": 128},
                 "optimizer": {"learning_rate": 1e-2}, "schedule": {"name": "constant"}, "evaluation": {"interval": 4},
                 "generation": {"samples": 2, "temperature": 0, "max_new_tokens": 16}}
        for block, values in blocks.items():
            whole[block] = {**whole.get(block, {}), **values}
        path.write_text(json.dumps(whole))
        return path

    def metrics(self, name="run"):
        return [json.loads(line) for line in (self.dir / name / "metrics.jsonl").read_text().splitlines()]

    def numbers(self, name):
        return [(m["loss"], m["grad_norm"], m.get("validation_loss")) for m in self.metrics(name)]

    def newest(self, name="run"):
        return sorted((self.dir / name / "checkpoints").glob("step-*"))[-1]

    def test_adapters_learn_and_checkpoints_hold_them_alone(self):
        path = self.config(run={"max_steps": 40}, evaluation={"interval": 20})
        self.check(orthant("finetune", path), 0, "trains: 2", "are frozen", "the best so far", "The name is",
                   "adapter: no folder for PEFT", "orthant merge")  # of the tied head
        losses = [m["validation_loss"] for m in self.metrics() if "validation_loss" in m]
        self.assertLess(losses[-1], 0.3)
        manifest = json.loads((self.newest() / "manifest.json").read_text())
        names = json.dumps(manifest)
        self.assertIn("model.layers.0.self_attn.q_proj.lora_A.weight", names)
        self.assertNotIn('"model.layers.0.self_attn.q_proj.weight"', names)
        told = orthant("generate", self.dir / "run", "--prompt", "Once upon a time, Zoe saw a red cat in the park.",
                       "--temperature", 0, "--max-new-tokens", 24)
        self.assertIn("The name is", self.check(told, 0).out)
        report = (self.dir / "run/report.html").read_text()
        for words in ("fine-tuning, step 40", "before: ", "trains", "best checkpoint"):
            self.assertIn(words, report)

    def test_a_run_that_goes_on_has_the_bits_of_one_that_was_not_stopped(self):
        lora = {"dropout": 0.1, "use_dora": True, "plus_ratio": 4}
        self.check(orthant("finetune", self.config("whole", lora=lora)), 0)
        self.check(orthant("finetune", self.config("parts", lora=lora), "run.max_steps=3"), 0)
        self.check(orthant("finetune", self.config("parts", lora=lora)), 0, "resuming from step 3")
        self.assertEqual(self.numbers("parts")[3:], self.numbers("whole")[3:])

    def test_ranks_train_what_one_rank_trains(self):
        self.check(orthant("finetune", self.config("one")), 0)
        want = self.numbers("one")
        for ranks, *layout in [(2,), (2, "parallel.tensor_parallel_size=2"), (2, "parallel.pipeline_parallel_size=2"),
                               (2, "parallel.context_parallel_size=2")]:
            name = "many"
            shutil.rmtree(self.dir / name, ignore_errors=True)
            path = self.config(name)
            self.check(orthant("finetune", path, "run.max_steps=4", *layout, ranks=ranks), 0)
            self.check(orthant("finetune", path), 0, "resuming from step 4")  # on one rank
            for got, wanted in zip(self.numbers(name), want):
                for a, b in zip(got, wanted):
                    if b is not None:
                        self.assertAlmostEqual(a, b, delta=1e-4 * max(1.0, abs(b)), msg=layout)

    def test_ends_early_and_keeps_the_best(self):
        path = self.config(run={"max_steps": 60}, finetune={"patience": 2}, optimizer={"learning_rate": 0.3},
                           evaluation={"interval": 2})
        done = self.check(orthant("finetune", path), 0, "no better for 2 evaluations: the run ends")
        losses = {m["step"]: m["validation_loss"] for m in self.metrics() if "validation_loss" in m}
        best = min(losses, key=losses.get)
        self.assertLess(len(self.metrics()), 60, done.err)
        self.assertTrue((self.dir / f"run/checkpoints/step-{best:08}").exists())
        self.check(orthant("finetune", path), 0, "nothing to do", "where it ended early")

    def test_the_best_is_kept_when_a_run_goes_on(self):
        blocks = {"optimizer": {"learning_rate": 0.3}, "evaluation": {"interval": 1}, "checkpoint": {"interval": 1, "keep": 2}}
        self.check(orthant("finetune", self.config(run={"max_steps": 4}, **blocks)), 0)
        losses = {m["step"]: m["validation_loss"] for m in self.metrics()}
        best = min(losses, key=losses.get)
        self.assertLess(best, 4, losses)
        self.check(orthant("finetune", self.config(run={"max_steps": 7}, **blocks)), 0, "resuming from step 4")
        self.assertGreater(min(m["validation_loss"] for m in self.metrics()[4:]), losses[best])
        names = sorted(path.name for path in (self.dir / "run/checkpoints").glob("step-*"))
        self.assertEqual(names, [f"step-{step:08}" for step in (best, 6, 7)])

    def test_the_model_itself_trains_too(self):
        path = self.config("adapters", run={"max_steps": 1})
        self.check(orthant("finetune", path), 0)
        path = self.config(lora={"rank": 0, "target_modules": []})
        done = self.check(orthant("finetune", path), 0)
        self.assertNotIn("frozen", done.out + done.err)
        self.assertIn('"model.norm.weight"', (self.newest() / "manifest.json").read_text())
        # What is frozen has no gradient: two of three products, and the adapters' part of the third.
        adapters, whole = (self.metrics(name)[0] for name in ("adapters", "run"))
        share = (adapters["model_tflops"] / adapters["tokens_per_second"]) / (whole["model_tflops"] / whole["tokens_per_second"])
        self.assertGreater(share, 0.67)
        self.assertLess(share, 0.75)

    def test_the_command_line_of_other_tools(self):
        self.check(orthant("finetune", "--model", STORIES, "--dataset", self.dir / "rows.jsonl", "--lora-alpha", 16,
                           "--output-dir", self.dir / "cli", "--max-steps", 2, "--cutoff-len", 128, "--precision", "fp32",
                           "--lora-target", "q_proj,v_proj"), 0, "trains: ")
        self.assertIn("alpha: 16", (self.dir / "cli/config.yaml").read_text())
        self.assertEqual(len(self.metrics("cli")), 2)
        config = json.loads((self.dir / "cli/adapter/adapter_config.json").read_text())
        self.assertEqual((config["r"], config["lora_alpha"], sorted(config["target_modules"])), (8, 16, ["q_proj", "v_proj"]))
        prompt = ("--prompt", "Once upon a time", "--temperature", 0, "--max-new-tokens", 12)
        self.assertEqual(orthant("generate", self.dir / "cli/base", "--adapter", self.dir / "cli/adapter", *prompt).out,
                         self.check(orthant("generate", self.dir / "cli", *prompt), 0).out)
        self.check(orthant("finetune", "--model", STORIES), 2, "--dataset")

    def test_a_flat_file_with_the_keys_of_other_tools(self):
        path = self.dir / "flat.yaml"
        path.write_text(f"model_name_or_path: {STORIES}\ndataset: {self.dir}/rows.jsonl\noutput_dir: {self.dir}/flat\nprecision: fp32\n"
                        "lora_rank: 2\nlora_alpha: 8\nlora_target: [q_proj, v_proj]\ncutoff_len: 128\nlearning_rate: 1.0e-3\n"
                        "num_train_epochs: 1\nper_device_train_batch_size: 4\nlr_scheduler_type: cosine\nval_size: 0.1\n")
        self.check(orthant("finetune", path), 0, "lora_rank", "lora.rank", "trains: ")
        self.assertIn("rank: 2", (self.dir / "flat/config.yaml").read_text())
        told = self.check(orthant("inspect", "config", self.config(finetune={"patience": 3})), 0).out
        for words in ("patience: 3", "rank: 4", "max_steps: 8"):
            self.assertIn(words, told)

    def test_epochs_say_how_many_steps(self):
        self.check(orthant("finetune", self.config(run={"max_steps": 0}, finetune={"epochs": 2})), 0)
        self.assertAlmostEqual(self.metrics()[-1]["epochs"], 2, delta=0.2)
        both = self.check(orthant("finetune", self.config("both", finetune={"epochs": 2}), "--dry-run"), 0, "run.max_steps says when the run ends")
        self.assertIn("epochs: 0", both.out)

    def test_the_base_has_to_be_the_one_that_it_was(self):
        base = self.dir / "base"
        self.check(orthant("import", STORIES, base), 0)
        path = self.config(model={"from": str(base)})
        self.check(orthant("finetune", path, "run.max_steps=2"), 0)
        base.rename(self.dir / "elsewhere")
        self.check(orthant("generate", self.dir / "run", "--prompt", "a"), 66, "the base of its adapters", "does not exist any more")
        path = self.config(model={"from": str(self.dir / "elsewhere")})
        self.check(orthant("finetune", path, "run.max_steps=3"), 0, "resuming from step 2")
        self.check(orthant("finetune", self.config("other", model={"from": str(self.dir / "elsewhere")}, lora={"rank": 0, "target_modules": []}),
                           "run.max_steps=1"), 0)
        shutil.copytree(self.newest("other"), base / "checkpoints/step-00000000")
        self.check(orthant("generate", self.dir / "run", "--prompt", "a"), 65, "is not the base of the adapters", "fingerprint")

    def test_what_cannot_be_is_refused_before_anything_is_written(self):
        for blocks, code, *words in [
                ({"lora": {"target_modules": ["q_projj"]}}, 64, "lora.target_modules: q_projj names no module", "q_proj"),
                ({"lora": {"target_modules": ["q_proj("]}}, 64, "is no regular expression"),
                ({"lora": {"rank": 0}}, 64, "lora.rank: want the adapters' rank"),
                ({"lora": {"target_modules": ["q_proj", "input_layernorm"]}}, 64, "lora.target_modules: input_layernorm names no module"),
                ({"lora": {"layers_to_transform": [0, 99]}}, 64, "lora.layers_to_transform: 99: no module"),
                ({"lora": {"exclude_modules": [".*"]}}, 64, "leaves nothing that trains"),
                ({"lora": {"modules_to_save": ["nothing"]}}, 64, "lora.modules_to_save: nothing names no module"),
                ({"model": {"from": ""}}, 64, "model.from: want the model to fine-tune"),
                ({"model": {"from": "/nowhere"}}, 66, "/nowhere does not exist"),
                ({"data": {"train": "/nowhere.jsonl"}}, 66, "/nowhere.jsonl"),
                ({"lora": {"rank_pattern": {"q_proj": 3}}}, 64, "rank_pattern", "lora.patterns")]:
            self.check(orthant("finetune", self.config("bad", **blocks)), code, *words)


if __name__ == "__main__":
    unittest.main()
