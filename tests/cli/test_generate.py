#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""generate over a file of prompts, on several ranks, and runs that begin with another model."""
import json
import re
import shutil
import unittest

from harness import ROOT, CliTest, orthant

STORIES = ROOT / "tests/data/stories260k"


class Generate(CliTest):
    def setUp(self):
        super().setUp()
        self.check(orthant("import", STORIES, self.dir / "stories"), 0)
        self.prompts = self.dir / "prompts.jsonl"
        lines = [{"id": 7, "prompt": "Once upon a time"}, {"prompt": "Once upon a time", "note": {"b": 1, "a": 2}},
                 {"tokens": [1, 403, 407, 261, 378]}, {"prompt": "The big dog"}, {"prompt": "Lily was"}]
        self.prompts.write_text("".join(json.dumps(line) + "\n\n" for line in lines))

    def write(self, *options, ranks=1, name="out"):
        out = self.dir / f"{name}.jsonl"
        self.check(orthant("generate", self.dir / "stories", "--prompts", self.prompts, "--output", out,
                           "--max-new-tokens", 24, *options, ranks=ranks), 0)
        return [json.loads(line) for line in out.read_text().splitlines()]

    def test_a_line_for_every_prompt_with_what_stood_there(self):
        got = self.write("--temperature", 0)
        self.assertEqual([line.get("id") for line in got], [7, None, None, None, None])
        self.assertEqual(list(got[1]), ["prompt", "note", "text", "finish_reason"])
        self.assertEqual(list(got[1]["note"]), ["b", "a"])
        self.assertTrue(got[0]["text"].startswith(", there was a little girl named Lily."), got[0]["text"])
        self.assertEqual(got[0]["text"], got[1]["text"])
        self.assertEqual({line["finish_reason"] for line in got}, {"length"})
        stopped = self.write("--temperature", 0, "--stop", "girl")
        self.assertEqual((stopped[0]["text"], stopped[0]["finish_reason"]), (", there was a little ", "stop"))
        one = orthant("generate", self.dir / "stories", "--prompt", "Lily was", "--max-new-tokens", 24, "--temperature", 0)
        self.assertEqual(one.out, "Lily was" + got[4]["text"] + "\n")

    def test_log_probabilities_are_those_of_evaluate_to_the_bit(self):
        got = self.write("--temperature", 0.9, "--samples", 2, "--repetition-penalty", 1.2, "--log-probs",
                         "--max-sequences", 3)
        self.assertEqual([line["sample"] for line in got], [0, 1] * 5)
        self.assertNotEqual(got[0]["text"], got[1]["text"])
        tokens = self.dir / "tokens.jsonl"
        tokens.write_text("".join(json.dumps({"tokens": line["tokens"] + line["ids"]}) + "\n" for line in got if "tokens" in line))
        self.check(orthant("evaluate", self.dir / "stories", "--data", tokens, "--log-probs", self.dir / "scored.jsonl"), 0)
        scored = [json.loads(line) for line in (self.dir / "scored.jsonl").read_text().splitlines()]
        for line, score in zip([line for line in got if "tokens" in line], scored):
            self.assertEqual(score["log_probs"][len(line["tokens"]) - 1:], line["log_probs"])

    def test_ranks_write_what_one_rank_writes(self):
        want = self.write("--temperature", 0.7, "--samples", 3, name="one")
        for ranks, *layout in [(2,), (2, "parallel.pipeline_parallel_size=2"), (2, "parallel.tensor_parallel_size=2"),
                               (2, "parallel.context_parallel_size=2"), (4, "parallel.pipeline_parallel_size=2")]:
            self.assertEqual(self.write("--temperature", 0.7, "--samples", 3, *layout, ranks=ranks, name="many"), want, layout)
        one = orthant("generate", self.dir / "stories", "--prompt", "The big dog", "--max-new-tokens", 9)
        two = orthant("generate", self.dir / "stories", "parallel.tensor_parallel_size=2", "--prompt", "The big dog",
                      "--max-new-tokens", 9, ranks=2)
        self.assertEqual(two.out, one.out)

    def test_a_text_beyond_the_longest_sequence_is_told(self):
        done = self.check(orthant("generate", self.dir / "stories", "--prompt", "Once", "--max-new-tokens", 700, "--temperature", 0.5, "--seed", 3), 0)
        self.assertEqual(done.err.count("longer than the model's longest sequence, 512 tokens"), 1, done.err)

    def test_bad_prompts_leave_no_output(self):
        for line, words in [("[1]", "want an object"), ('{"x": 1}', "one of prompt, messages and tokens"), ('{"prompt": 3}', "want a text"),
                            ('{"prompt": "a", "tokens": [1]}', "one of prompt, messages and tokens"), ('{"tokens": []}', "one id at least"),
                            ('{"tokens": [512]}', "want ids below 512, got 512"), ('{"prompt": "a"', "prompts.jsonl:2"), ("", "has no line"),
                            ('{"prompt": "a", "text": "b"}', "text: is a key of the output")]:
            self.prompts.write_text((json.dumps({"prompt": "a"}) if line else "") + "\n" + line + "\n")
            self.check(orthant("generate", self.dir / "stories", "--prompts", self.prompts, "--output", self.dir / "none.jsonl"), 65, words)
        self.assertFalse((self.dir / "none.jsonl").exists())
        self.check(orthant("generate", self.dir / "stories", "--prompts", self.prompts), 2, "--output")
        self.check(orthant("generate", self.dir / "stories", "parallel.tensor_parallel_size=3", "--prompt", "a", ranks=3), 64, "tensor_parallel_size")
        self.check(orthant("generate", self.dir / "stories", "model.hidden_size=3", "--prompt", "a"), 64, "want parallel.KEY=VALUE")


class Latents(CliTest):
    def test_how_far_the_absorbed_form_is_from_the_naive_one_is_told(self):
        self.check(orthant("pretrain", super().config(precision="fp32"), "run.max_steps=2", "model.num_key_value_heads=0", "model.kv_lora_rank=16",
                           "model.qk_nope_head_dim=8", "model.qk_rope_head_dim=4", "model.v_head_dim=8"), 0)
        texts = [orthant("generate", self.dir / "run", "--prompt", "To be", "--max-new-tokens", 20, "--mla", form) for form in ("naive", "compared")]
        self.assertEqual(texts[0].out, texts[1].out)
        told = re.search(r"the absorbed form is at most (\S+) of an output's largest entry", texts[1].err)
        self.assertTrue(0 < float(told[1]) < 1e-5, texts[1].err)


class From(CliTest):
    def run_of(self, *overrides, more=""):
        return orthant("pretrain", self.config(more), "run.max_steps=2", f"run.dir={self.dir}/run", *overrides)

    def config(self, more=""):
        path = self.dir / "from.yaml"
        (self.dir / "text.txt").write_text("Once upon a time, there was a little girl named Lily. She loved to play. " * 200)
        path.write_text(f"""
precision: fp32
run: {{max_steps: 2, dir: {self.dir}/run}}
model: {{from: {self.dir}/folder{more}}}
batch: {{micro_batch_size: 2, sequence_length: 64}}
data: {{train: {self.dir}/text.txt}}
optimizer: {{learning_rate: 1.0e-4}}
generation: {{samples: 0}}
""")
        return path

    def loss(self):
        return json.loads((self.dir / "run/metrics.jsonl").read_text().splitlines()[0])["lm_loss"]

    def test_a_run_begins_with_a_published_model_and_goes_on_without_it(self):
        shutil.copytree(STORIES, self.dir / "folder")
        self.check(self.run_of(), 0)
        self.assertLess(self.loss(), 2.5)  # nothing learned is ln 512 = 6.2
        shutil.rmtree(self.dir / "folder")
        self.check(self.run_of("run.max_steps=3"), 0)
        text = orthant("generate", self.dir / "run", "--prompt", "Once upon a time", "--temperature", 0, "--max-new-tokens", 12)
        self.assertTrue(text.out.startswith("Once upon a time, there was"), text.out)
        self.check(orthant("export", self.dir / "run", self.dir / "out"), 0, "llama, 47 tensors")
        self.assertEqual((self.dir / "out/tokenizer.model").read_bytes(), (STORIES / "tokenizer.model").read_bytes())

    def test_a_run_begins_with_another_run_and_stands_over_what_it_says(self):
        self.check(orthant("import", STORIES, self.dir / "stories"), 0)
        yarn = ", rope_scaling: {rope_type: yarn, factor: 4, original_max_position_embeddings: 512}, max_position_embeddings: 2048"
        self.check(self.run_of(f"model.from={self.dir}/stories", "batch.sequence_length=1024", "batch.micro_batch_size=1", more=yarn), 0)
        self.assertLess(self.loss(), 3.0)
        self.assertIn("max_position_embeddings: 2048", (self.dir / "run/config.yaml").read_text())
        self.check(orthant("pretrain", self.config(), f"model.from={self.dir}/stories", f"run.dir={self.dir}/other", "model.hidden_size=32"),
                   64, "model.hidden_size: 32, and the base has 64", "model.embed_tokens.weight is [512, 64], and would be [512, 32]")
        shutil.copytree(STORIES, self.dir / "folder")
        self.check(orthant("pretrain", self.config(", num_hidden_layers: 4, rope_theta: 20000"), f"run.dir={self.dir}/fourth"),
                   64, "model.num_hidden_layers: 4, and the base has 5")
        self.assertFalse((self.dir / "fourth").exists())  # before the import
        shutil.rmtree(self.dir / "folder")
        self.check(orthant("pretrain", self.config(), f"run.dir={self.dir}/third"), 66, "folder does not exist")


if __name__ == "__main__":
    unittest.main()
