#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Weights in few bits as a user meets them: quantised, inspected, run, fine-tuned over, merged, exported."""
import json
import re
import shutil
import subprocess
import unittest

from harness import ROOT, WITH_MTP, CliTest, orthant

STORIES = ROOT / "tests/data/stories260k"
PROMPT = ["--prompt", "Once upon a time", "--temperature", 0, "--max-new-tokens", 24]


class Quantize(CliTest):
    def setUp(self):
        super().setUp()
        self.base = self.dir / "base"
        self.check(orthant("import", STORIES, self.base), 0)

    def quantized(self, form="nf4", *options):
        made = self.dir / f"held-{form}"
        self.check(orthant("quantize", self.base, made, "--format", form, *options), 0, "weights in " + form, "bits each")
        return made

    def config(self, name="run", **blocks):
        subprocess.run([ROOT / "launch/make_chats.sh", self.dir / "chats"], check=True, capture_output=True)
        rows = (self.dir / "chats/stories.jsonl").read_text().splitlines()[:120]
        (self.dir / "rows.jsonl").write_text("\n".join(rows) + "\n")
        path = self.dir / f"{name}.yaml"
        whole = {"precision": "fp32", "run": {"dir": str(self.dir / name), "max_steps": 6}, "model": {"from": str(self.base)},
                 "data": {"train": str(self.dir / "rows.jsonl"), "validation_fraction": 0.2},
                 "lora": {"rank": 4}, "quantization": {"format": "nf4"},
                 "batch": {"micro_batch_size": 2, "global_batch_size": 4, "sequence_length": 128},
                 "optimizer": {"learning_rate": 1e-2}, "schedule": {"name": "constant"}, "evaluation": {"interval": 3},
                 "generation": {"samples": 1, "temperature": 0, "max_new_tokens": 8}}
        for block, values in blocks.items():
            whole[block] = {**whole.get(block, {}), **values}
        path.write_text(json.dumps(whole))
        return path

    def numbers(self, name):
        lines = [json.loads(line) for line in (self.dir / name / "metrics.jsonl").read_text().splitlines()]
        return [(m["loss"], m["grad_norm"], m.get("validation_loss")) for m in lines]

    def test_a_model_is_quantised_inspected_and_run(self):
        (self.dir / "text.jsonl").write_text(json.dumps({"text": "Once upon a time there was a little girl named Lily."}) + "\n")
        losses = {}
        for form in ("nf4", "int8"):
            made = self.quantized(form)
            told = self.check(orthant("inspect", "checkpoint", made), 0, "every checksum is right").out
            self.assertIn(f"quantised to {form}: 35 weights", told)
            self.assertRegex(told, r"model.layers.0.self_attn.q_proj.weight \[64, 64\]: error 0\.\d+, \d\.\d+ bits a weight")
            self.assertNotIn("embed_tokens", told)
            self.check(orthant("generate", made, *PROMPT), 0, "Once upon a time")
            done = self.check(orthant("evaluate", made, "--data", self.dir / "text.jsonl"), 0)
            losses[form] = float(done.out.split("loss ")[1].split(",")[0])
            names = json.dumps(json.loads((made / "checkpoints/step-00000000/manifest.json").read_text())["tensors"])
            self.assertNotIn('"model.layers.0.mlp.down_proj.weight"', names)
            self.assertIn('"model.norm.weight"', names)
        whole = self.check(orthant("evaluate", self.base, "--data", self.dir / "text.jsonl"), 0)
        want = float(whole.out.split("loss ")[1].split(",")[0])
        self.assertAlmostEqual(losses["int8"], want, delta=0.02)
        self.assertAlmostEqual(losses["nf4"], want, delta=0.5)
        self.assertNotEqual(losses["nf4"], want)

    def test_ranks_run_what_one_rank_runs(self):
        made = self.quantized()
        want = orthant("generate", made, *PROMPT).out
        for layout in ("tensor", "pipeline"):
            done = orthant("generate", made, f"parallel.{layout}_parallel_size=2", *PROMPT, ranks=2)
            self.assertEqual(self.check(done, 0).out, want)

    def test_adapters_train_over_a_base_in_few_bits(self):
        path = self.config()
        done = self.check(orthant("finetune", path), 0, "holding the weights of", "base-nf4", "bits each", "trains: ")
        manifest = json.loads((self.dir / "run/checkpoints/step-00000006/manifest.json").read_text())
        self.assertEqual(manifest["extra"]["base"], "RUN/base-nf4/checkpoints/step-00000000")
        self.assertNotIn(".nf4", json.dumps(manifest["tensors"]))
        self.assertLess(self.numbers("run")[-1][0], self.numbers("run")[0][0], done.err)
        # Over the folder that quantize makes, and over RUN/base-nf4, there are the same numbers.
        made = self.quantized()
        self.check(orthant("finetune", self.config("given", model={"from": str(made)}, quantization={"format": "nf4"})), 0)
        self.assertEqual(self.numbers("given"), self.numbers("run"))
        # And so where the base says by itself that it is quantised.
        path = self.config("silent", model={"from": str(made)})
        block = json.loads(path.read_text())
        del block["quantization"]
        path.write_text(json.dumps(block))
        self.check(orthant("finetune", path), 0)
        self.assertEqual(self.numbers("silent"), self.numbers("run"))
        self.assertIn("format: nf4", (self.dir / "silent/config.yaml").read_text())
        self.check(orthant("generate", self.dir / "run", *PROMPT), 0, "Once upon a time")

    def test_a_run_that_goes_on_has_the_bits_of_one_that_was_not_stopped(self):
        self.check(orthant("finetune", self.config("whole", quantization={"format": "int8"})), 0)
        self.check(orthant("finetune", self.config("parts", quantization={"format": "int8"}), "run.max_steps=3"), 0)
        self.check(orthant("finetune", self.config("parts", quantization={"format": "nf4"})), 64,
                   "as int8, and the model wants it as nf4")
        self.check(orthant("finetune", self.config("parts", quantization={"format": "int8"})), 0, "resuming from step 3")
        self.assertEqual(self.numbers("parts"), self.numbers("whole"))

    def test_ranks_train_what_one_rank_trains(self):
        self.check(orthant("finetune", self.config("one")), 0)
        want = self.numbers("one")
        for layout in (["parallel.tensor_parallel_size=2"], ["parallel.pipeline_parallel_size=2"], []):
            shutil.rmtree(self.dir / "many", ignore_errors=True)
            self.check(orthant("finetune", self.config("many"), *layout, ranks=2), 0)
            for got, wanted in zip(self.numbers("many"), want):
                for a, b in zip(got, wanted):
                    if b is not None:
                        self.assertAlmostEqual(a, b, delta=1e-4 * max(1.0, abs(b)), msg=layout)

    def test_what_trains_whole_stays_whole(self):
        saved = {"rank": 4, "modules_to_save": ["down_proj"]}
        self.check(orthant("finetune", self.config(lora=saved)), 0)
        told = self.check(orthant("inspect", "checkpoint", self.dir / "run/base-nf4"), 0).out
        self.assertIn("30 weights", told)
        self.assertNotIn("down_proj", told)
        made = self.quantized()
        self.check(orthant("finetune", self.config("other", lora=saved, model={"from": str(made)})), 64,
                   "down_proj.weight as nf4", "lora.modules_to_save", "--exclude")
        shutil.rmtree(made)
        made = self.quantized("nf4", "--exclude", "down_proj")
        self.check(orthant("finetune", self.config("other", lora=saved, model={"from": str(made)})), 0)
        self.assertEqual(self.numbers("other"), self.numbers("run"))

    def test_a_merge_names_its_base_and_both_errors(self):
        self.check(orthant("finetune", self.config(run={"max_steps": 3})), 0)
        run = self.dir / "run"
        want = orthant("generate", run, *PROMPT).out
        done = self.check(orthant("merge", run, self.dir / "whole"), 0)
        self.assertIn(f"merged into {run}/base-nf4/checkpoints/step-00000000", done.out.replace("/checkpoints/step-00000003/../..", ""))
        self.assertIn("the base is quantised: what its weights stand for was merged into", done.out)
        self.assertIn("--into original", done.out)
        errors = [float(part.split()[0].rstrip(",;")) for part in done.out.split("differ by at most ")[1:]]
        self.assertEqual(len(errors), 2)
        self.assertLess(errors[0], 1e-3)
        self.assertGreater(errors[1], 0.05)
        self.assertEqual(self.check(orthant("generate", self.dir / "whole", *PROMPT), 0).out, want)
        self.assertIn("format: none", (self.dir / "whole/config.yaml").read_text())
        done = self.check(orthant("merge", run, self.dir / "full", "--into", "original"), 0, "quantised from")
        into_original = float(done.out.split("differ by at most ")[1].split(",")[0])
        self.assertAlmostEqual(into_original, errors[1], delta=1e-3)
        self.assertIn(f"merged into {self.base}/checkpoints/step-00000000", done.out)
        self.base.rename(self.dir / "moved")
        self.check(orthant("merge", run, self.dir / "third", "--into", "original"), 66, "is not there, or has other weights")
        self.check(orthant("merge", run, self.dir / "third", "--into", self.dir / "moved"), 0)
        self.check(orthant("merge", run, self.dir / "fourth"), 0, "is not known: it is not there any more")
        self.check(orthant("merge", self.dir / "moved", self.dir / "fifth", "--adapter", run, "--into", "original"), 64, "is not quantised")

    def test_an_original_is_known_by_its_weights(self):
        self.check(orthant("finetune", self.config(run={"max_steps": 1})), 0)
        run, other = self.dir / "run", self.dir / "other"
        # The same files with another weight: a run that trained all of it.
        self.check(orthant("finetune", self.config("other", run={"max_steps": 1}, lora={"rank": 0}, quantization={"format": "none"})), 0)
        self.check(orthant("merge", run, self.dir / "whole", "--into", other), 66, "has other weights")
        self.assertFalse((self.dir / "whole").exists())

    def test_an_export_is_of_what_the_weights_stand_for(self):
        made = self.quantized()
        self.check(orthant("export", made, self.dir / "hub"), 0, "35 tensors were quantised: what they stand for was written")
        self.check(orthant("import", self.dir / "hub", self.dir / "again"), 0)
        self.assertEqual(orthant("generate", self.dir / "again", *PROMPT).out, orthant("generate", made, *PROMPT).out)

    def test_what_cannot_be_is_refused(self):
        made, other = self.quantized(), self.dir / "other"
        self.check(orthant("quantize", made, other, "--format", "int8"), 64, "is quantised to nf4 already", "errors up")
        self.check(orthant("quantize", self.base, other, "--format", "nf5"), 2, "nf5", "nf4")
        self.check(orthant("quantize", self.base, other), 2, "--format")
        self.check(orthant("quantize", self.base, made, "--format", "nf4"), 73, "is a run already")
        self.check(orthant("quantize", STORIES, other, "--format", "nf4"), 66, "orthant import")
        self.check(orthant("quantize", self.dir / "nowhere", other, "--format", "nf4"), 66, "does not exist")
        self.check(orthant("quantize", self.base, other, "--format", "nf4", "--exclude", "q_projj"), 64, "q_projj names no module")
        self.check(orthant("quantize", self.base, other, "--format", "nf4", "--exclude", "q_proj"), 64, "quantise both or neither")
        self.check(orthant("quantize", self.base, other, "--format", "nf4", "--exclude", "all-linear"), 64, "nothing to quantise")
        self.assertFalse(other.exists())
        (self.dir / "empty/checkpoints").mkdir(parents=True)
        self.check(orthant("quantize", self.dir / "empty", other, "--format", "nf4"), 66, "has no checkpoint")
        for blocks, *words in [
                ({"lora": {"rank": 0}}, "quantization.format: nf4", "all of them train", "lora.rank"),
                ({"quantization": {"format": "nf5"}}, "quantization.format", "nf4"),
                ({"quantization": {"target_modules": ["all-linear", "lm_head"]}}, "lm_head, which is never quantised"),
                ({"quantization": {"exclude_modules": ["nothing"]}}, "exclude_modules: nothing names no module"),
                ({"quantization": {"format": "int8"}, "model": {"from": str(made)}}, "want nf4", "model.from"),
                ({"quantization": {"format": "none"}, "model": {"from": str(made)}}, "want nf4", "model.from")]:
            self.check(orthant("finetune", self.config("bad", **blocks)), 64, *words)
        path = self.config("flat")
        path.write_text(json.dumps({**json.loads(path.read_text()), "load_in_4bit": True}))
        self.check(orthant("finetune", path), 64, "load_in_4bit", "quantization: {format: nf4}")

    def test_damage_is_found(self):
        made = self.quantized()
        shard = next((made / "checkpoints/step-00000000").glob("shard-*"))
        data = bytearray(shard.read_bytes())
        data[-3] ^= 1
        shard.write_bytes(bytes(data))
        self.check(orthant("generate", made, *PROMPT), 65, "damaged")
        self.check(orthant("inspect", "checkpoint", made / "checkpoints/step-00000000"), 65, "damaged")

    def test_a_dry_run_counts_the_base_as_it_is_held(self):
        def parameters(*overrides):
            told = self.check(orthant("finetune", self.config(), "--dry-run", *overrides), 0, "trained", "activations").out
            row = re.search(r"rank +parameters .*\n# +0 +([\d.]+) (KiB|MiB)", told)
            return float(row[1]) * (1024 if row[2] == "MiB" else 1)
        whole, nf4, int8 = (parameters(f"quantization.format={form}") for form in ("none", "nf4", "int8"))
        # 206,080 weights; adapters, embedding and norms are the same. Products keep them as they are and packed twice.
        self.assertAlmostEqual(int8 - nf4, 206080 * (8.5 - 4.127) / 8 / 1024, delta=20)
        self.assertGreater(whole - nf4, 3 * 206080 * 4 / 1024 - 206080 * 4.2 / 8 / 1024 - 20)
        self.assertFalse((self.dir / "run").exists())


class Experts(CliTest):
    """DeepSeek-V3's kind: latent attention, routed and shared experts, a layer that predicts further."""

    def test_a_trained_model_with_experts_runs_from_few_bits_on_any_layout(self):
        self.check(orthant("pretrain", self.config(), "run.max_steps=3", *WITH_MTP), 0)
        held = self.dir / "held"
        self.check(orthant("quantize", self.dir / "run", held, "--format", "nf4"), 0)
        told = self.check(orthant("inspect", "checkpoint", held), 0).out
        for module in ("layers.1.mlp.experts.7.up_proj", "layers.1.mlp.shared_experts.down_proj", "layers.0.self_attn.kv_b_proj",
                       "layers.0.self_attn.q_a_proj", "layers.2.eh_proj", "layers.2.mlp.experts.0.down_proj"):
            self.assertIn(f"model.{module}.weight", told)
        for whole in ("mlp.gate.weight", "lm_head", "norm"):
            self.assertNotIn(whole, told)
        prompt = ["--prompt", "To be", "--temperature", 0, "--max-new-tokens", 12]
        want = self.check(orthant("generate", held, *prompt, "--mla", "naive"), 0).out
        self.assertEqual(self.check(orthant("generate", held, *prompt, "--mla", "absorbed"), 0).out, want)
        for layout in ("expert", "pipeline"):
            done = orthant("generate", held, f"parallel.{layout}_parallel_size=2", *prompt, "--mla", "naive", ranks=2)
            self.assertEqual(self.check(done, 0).out, want, layout)


if __name__ == "__main__":
    unittest.main()
