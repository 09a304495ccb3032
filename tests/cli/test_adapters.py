#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adapters as a user types them: trained, exported, named with --adapter, merged (docs/formats.md, "Adapters")."""
import json
import shutil
import unittest

from harness import ROOT, CliTest, orthant

STORIES = ROOT / "tests/data/stories260k"
PROMPT = ["--prompt", "Once upon a time", "--temperature", 0, "--max-new-tokens", 30]

RUN = """\
device: cpu
precision: fp32
run: {{name: tuned, dir: {dir}/tuned, max_steps: 3}}
model: {{from: {base}}}
lora: {{rank: 4, target_modules: [q_proj, v_proj, down_proj], use_rslora: true}}
batch: {{micro_batch_size: 2, global_batch_size: 2, sequence_length: 32}}
data: {{train: {dir}/text.txt}}
optimizer: {{learning_rate: 0.02}}
schedule: {{warmup_steps: 0, total_steps: 3}}
evaluation: {{interval: 0}}
checkpoint: {{interval: 3}}
generation: {{samples: 0}}
"""


class Adapters(CliTest):
    def setUp(self):
        super().setUp()
        self.base = self.dir / "base"
        self.check(orthant("import", STORIES, self.base), 0)

    def tuned(self):
        (self.dir / "text.txt").write_text("The zebra of stone ate seventy cold lamps. " * 60)
        (self.dir / "tuned.yaml").write_text(RUN.format(dir=self.dir, base=self.base))
        self.check(orthant("pretrain", self.dir / "tuned.yaml"), 0)
        return self.dir / "tuned"

    def test_from_a_run_to_a_folder_and_beside_its_base_again(self):
        run, folder = self.tuned(), self.dir / "adapter"
        done = self.check(orthant("export", run, folder), 0)
        self.assertIn("adapters of llama", done.out)
        self.assertIn("opened again and compared", done.out)
        config = json.loads((folder / "adapter_config.json").read_text())
        self.assertEqual(config["target_modules"], ["down_proj", "q_proj", "v_proj"])
        self.assertEqual((config["r"], config["lora_alpha"], config["use_rslora"]), (4, 8, True))
        self.assertTrue((folder / "tokenizer.model").exists())
        self.assertFalse((folder / "config.json").exists())
        want = self.check(orthant("generate", run, *PROMPT), 0).out
        self.assertNotEqual(want, self.check(orthant("generate", self.base, *PROMPT), 0).out)
        for adapter in [folder, run]:
            done = self.check(orthant("generate", self.base, *PROMPT, "--adapter", adapter), 0)
            self.assertEqual(done.out, want)
            self.assertNotIn("was trained over", done.err)
        self.check(orthant("export", run, folder), 73, "is not empty")

    def test_every_command_that_runs_a_model_takes_one_also_on_ranks(self):
        run, folder = self.tuned(), self.dir / "adapter"
        self.check(orthant("export", run, folder), 0)
        (self.dir / "data.jsonl").write_text(json.dumps({"text": "Once upon a time, there was a lamp."}) + "\n")
        (self.dir / "prompts.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in ["Once", "The zebra", "Lily"]))

        def outputs(model, *more):
            found = []
            for command in [["evaluate", model, "--data", self.dir / "data.jsonl"],
                            ["embed", model, "--data", self.dir / "data.jsonl", "--output", self.dir / "e.jsonl"]]:
                found.append(self.check(orthant(*command, *more), 0).out)
            found.append((self.dir / "e.jsonl").read_text())
            (self.dir / "e.jsonl").unlink()
            for ranks, layout in [(0, []), (2, ["parallel.tensor_parallel_size=2"]), (2, ["parallel.pipeline_parallel_size=2"])]:
                out = self.dir / "out.jsonl"
                self.check(orthant("generate", model, *layout, "--prompts", self.dir / "prompts.jsonl", "--output", out,
                                   "--temperature", 0, "--max-new-tokens", 12, *more, ranks=ranks), 0)
                found.append(sorted(out.read_text().splitlines()))
                out.unlink()
            return found

        want = outputs(run)
        self.assertEqual(outputs(self.base, "--adapter", folder), want)
        self.assertEqual(want[3], want[4])
        self.assertEqual(want[3], want[5])
        self.check(orthant("chat", self.base, "--adapter", folder, timeout=60), 66, "chat")  # it came with no template

    def test_a_merged_model_is_a_run_and_a_folder(self):
        run = self.tuned()
        done = self.check(orthant("merge", run, self.dir / "whole"), 0)
        self.assertIn(f"merged into {self.base}/checkpoints/step-00000000", done.out)
        self.assertIn("15 merged, 0 replaced", done.out)
        want = orthant("generate", run, *PROMPT).out
        self.assertEqual(self.check(orthant("generate", self.dir / "whole", *PROMPT), 0).out, want)
        self.check(orthant("export", self.dir / "whole", self.dir / "hub"), 0, "llama, 47 tensors")
        self.check(orthant("import", self.dir / "hub", self.dir / "again"), 0)
        self.assertEqual(orthant("generate", self.dir / "again", *PROMPT).out, want)
        self.check(orthant("merge", run, self.dir / "whole"), 73, "is a run already")
        self.check(orthant("merge", self.base, self.dir / "other"), 64, "has no adapters of its own")
        self.check(orthant("merge", run, self.dir / "other", "--adapter", run), 64, "has adapters of its own")
        self.assertFalse((self.dir / "other").exists())
        # It needs neither adapter nor base any more.
        shutil.rmtree(run)
        shutil.rmtree(self.base)
        self.assertEqual(orthant("generate", self.dir / "whole", *PROMPT).out, want)

    def test_several_answer_in_one_batch(self):
        run, folder = self.tuned(), self.dir / "adapter"
        self.check(orthant("export", run, folder), 0)
        text = (self.dir / "tuned.yaml").read_text().replace("/tuned", "/other").replace("rank: 4", "rank: 3").replace("zebra", "lion")
        (self.dir / "other.yaml").write_text(text.replace("0.02", "0.05"))
        self.check(orthant("pretrain", self.dir / "other.yaml"), 0)
        other = self.dir / "other"
        by_name = ["--adapter", f"zebra={folder}", "--adapter", f"other={other}"]
        prompts = ["Once", "The zebra", "Once"]
        names = ["zebra", "other", None]

        def answers(lines, *more, ranks=0, layout=()):
            asked, out = self.dir / "asked.jsonl", self.dir / "out.jsonl"
            asked.write_text("".join(json.dumps(line) + "\n" for line in lines))
            self.check(orthant("generate", self.base, *layout, "--prompts", asked, "--output", out, "--temperature", 0,
                               "--max-new-tokens", 12, "--log-probs", *more, ranks=ranks), 0)
            found = [json.loads(line) for line in out.read_text().splitlines()]
            out.unlink()
            return [[line["text"], line["ids"], line["log_probs"]] for line in found]

        lines = [{"prompt": p} for p in prompts]
        alone = {"zebra": answers(lines, "--adapter", folder), "other": answers(lines, "--adapter", other), None: answers(lines)}
        self.assertNotEqual(alone["zebra"], alone["other"])
        self.assertNotEqual(alone["zebra"], alone[None])
        asked = [{"prompt": p, "adapter": n} for n in names for p in prompts]
        want = [answer for n in names for answer in alone[n]]
        self.assertEqual(answers(asked, *by_name), want)
        self.assertEqual(answers(asked, *by_name, ranks=2, layout=["parallel.pipeline_parallel_size=2"]), want)
        self.assertEqual(answers(asked, *by_name, ranks=2), want)  # each rank some of the lines
        # A line that says nothing has what --use says, or none.
        self.assertEqual(answers(lines, *by_name), alone[None])
        self.assertEqual(answers(lines, *by_name, "--use", "other"), alone["other"])
        done = self.check(orthant("generate", self.base, *PROMPT, *by_name, "--use", "zebra"), 0)
        self.assertEqual(done.out, orthant("generate", self.base, *PROMPT, "--adapter", folder).out)

        refused = lambda code, *arguments: self.check(orthant("generate", self.base, *PROMPT, *arguments), code).err
        self.assertIn("another adapter called zebra", refused(2, *by_name, "--adapter", f"zebra={other}"))
        self.assertIn("want NAME=DIR for each", refused(2, *by_name, "--adapter", folder))
        self.assertIn("here: zebra other), got zebu", refused(64, *by_name, "--use", "zebu"))
        self.assertIn("there is none), got zebra", refused(64, "--adapter", folder, "--use", "zebra"))
        self.assertIn("--use", refused(2, "--use", "zebra"))
        self.assertIn("nowhere does not exist", refused(66, "--adapter", "zebra=nowhere"))
        (self.dir / "asked.jsonl").write_text(json.dumps({"prompt": "Once", "adapter": "zebu"}) + "\n")
        out = self.dir / "out.jsonl"
        bad = orthant("generate", self.base, "--prompts", self.dir / "asked.jsonl", "--output", out, *by_name)
        self.assertIn("asked.jsonl:1: adapter: want an adapter", self.check(bad, 65).err)
        for adapters in [[], ["--adapter", folder]]:  # nothing is by name: no answer but an asked one
            bad = orthant("generate", self.base, "--prompts", self.dir / "asked.jsonl", "--output", out, *adapters)
            self.assertIn("asked.jsonl:1: adapter: want --adapter NAME=DIR", self.check(bad, 65).err)
        said = self.check(orthant("generate", self.base, *PROMPT, *by_name), 0)
        self.assertIn("the model alone answers", said.err)
        for keys, says in [("use_dora: true", "use_dora: is not built where a model has adapters by name"),
                           ("modules_to_save: [norm]", "model.norm.weight: is in the place of the base's")]:
            (self.dir / "odd.yaml").write_text(text.replace("/other", "/odd").replace("rank: 3", f"rank: 3, {keys}"))
            self.check(orthant("pretrain", self.dir / "odd.yaml"), 0)
            self.assertIn(says, refused(64, "--adapter", f"odd={self.dir / 'odd'}"))
            self.check(orthant("generate", self.base, *PROMPT, "--adapter", self.dir / "odd"), 0)
            shutil.rmtree(self.dir / "odd")

    def test_adapters_are_gone_on_with(self):
        run, folder = self.tuned(), self.dir / "adapter"
        self.check(orthant("export", run, folder), 0)
        want = orthant("generate", run, *PROMPT).out
        text = (self.dir / "tuned.yaml").read_text()
        block = text[text.index("lora:"):text.index("batch:")]
        for source in [folder, run]:
            # Steps that change nothing to be seen; the run goes on without what it began with.
            next_text = text.replace("/tuned", "/next").replace(block, f"lora: {{from: {source}}}\n").replace("0.02", "1e-30")
            for steps, says in [(1, "begins with the adapters of"), (2, "step 2")]:
                (self.dir / "next.yaml").write_text(next_text.replace("max_steps: 3", f"max_steps: {steps}"))
                self.check(orthant("pretrain", self.dir / "next.yaml"), 0, says)
                self.assertEqual(orthant("generate", self.dir / "next", *PROMPT).out, want)
                if steps == 1:
                    source.rename(self.dir / "away")
            (self.dir / "away").rename(source)
            self.assertIn("use_rslora: true", (self.dir / "next/config.yaml").read_text())
            shutil.rmtree(self.dir / "next")
        for keys, says in [("rank: 5", "down_proj: has rank 4 and factor 4, and the lora block says rank 5"), ("target_modules: [q_proj]", "down_proj: has rank 4"),
                           ("target_modules: [q_proj, v_proj, down_proj, o_proj]", "o_proj.lora_A.weight")]:
            (self.dir / "next.yaml").write_text(text.replace(block, f"lora: {{from: {folder}, {keys}}}\n").replace("/tuned", "/next"))
            self.check(orthant("pretrain", self.dir / "next.yaml"), 64, "lora.from", says)
            shutil.rmtree(self.dir / "next", ignore_errors=True)
        self.check(orthant("pretrain", self.dir / "next.yaml", "model={from: ''}"), 64)

    def test_new_adapters_train_over_merged_ones(self):
        run, folder = self.tuned(), self.dir / "adapter"
        self.check(orthant("export", run, folder), 0)
        want = orthant("generate", run, *PROMPT).out
        text = (self.dir / "tuned.yaml").read_text().replace("/tuned", "/next").replace("0.02", "1e-30").replace("max_steps: 3", "max_steps: 1")
        for model in [f"{{from: {self.base}, adapters: [{folder}]}}", f"{{from: {self.base}, adapters: [{run}]}}", f"{{from: {run}}}"]:
            (self.dir / "next.yaml").write_text(text.replace(f"{{from: {self.base}}}", model))
            self.check(orthant("pretrain", self.dir / "next.yaml"), 0, "merging", "next/base-1")
            self.assertEqual(orthant("generate", self.dir / "next", *PROMPT).out, want)
            self.assertEqual({name.split(".")[-2] for name in self.weights("next") if "optimizer" not in name}, {"lora_A", "lora_B"})
            self.check(orthant("merge", self.dir / "next", self.dir / "whole"), 0, "base-1")
            self.assertEqual(orthant("generate", self.dir / "whole", *PROMPT).out, want)
            self.check(orthant("export", self.dir / "next", self.dir / "second"), 0)
            name = json.loads((self.dir / "second/adapter_config.json").read_text())["base_model_name_or_path"]
            self.assertTrue(name.rstrip("/").endswith("next/base-1"), name)
            for name in ["next", "whole", "second"]:
                shutil.rmtree(self.dir / name)

    def test_what_cannot_stand_beside_the_model_is_said(self):
        run = self.tuned()
        self.check(orthant("generate", self.base, *PROMPT, "--adapter", self.dir / "none"), 66, "none does not exist")
        self.check(orthant("generate", self.base, *PROMPT, "--adapter", self.base), 64, "has no adapters")
        self.check(orthant("generate", run, *PROMPT, "--adapter", run), 64, "has adapters of its own")
        # Another model: fewer layers, other widths.
        of_stories = [f"model.{key}" for key in ["hidden_size=64", "intermediate_size=172", "num_attention_heads=8",
                                                 "num_key_value_heads=4", "num_hidden_layers=3", "first_k_dense_replace=2"]]
        for keys, says in [(of_stories, "the model has no model.layers.2.mlp.down_proj"), ([], "does not fit the model's model.layers.0.")]:
            small = self.dir / f"small-{len(keys)}"
            self.check(orthant("pretrain", self.config(), *keys, "run.max_steps=1", f"run.dir={small}"), 0)
            done = orthant("generate", small, *PROMPT, "--adapter", run)
            self.check(done, 65, str(run), says)
            self.check(orthant("merge", small, self.dir / "merged", "--adapter", run), 65, str(run), says)
            self.assertFalse((self.dir / "merged").exists())
        # Another base: the same shapes with other weights.
        self.check(orthant("merge", run, self.dir / "whole"), 0)
        self.check(orthant("generate", self.dir / "whole", *PROMPT, "--adapter", run), 0, "was trained over weights with the fingerprint")


if __name__ == "__main__":
    unittest.main()
