#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""import, generate, evaluate, chat and export, as a user types them (docs/bring-your-model.md)."""
import json
import math
import os
import shutil
import subprocess
import unittest

from harness import ROOT, WITH_MTP, CliTest, command, environment, orthant, zstd

STORIES = ROOT / "tests/data/stories260k"


class Hub(CliTest):
    def imported(self):
        self.check(orthant("import", STORIES, self.dir / "stories"), 0)
        return self.dir / "stories"

    def test_from_a_folder_to_text_and_back(self):
        run = self.imported()
        text = orthant("generate", run, "--prompt", "Once upon a time", "--temperature", 0, "--max-new-tokens", 30)
        self.assertTrue(text.out.startswith("Once upon a time, there was a little girl named Lily."), text.out)
        done = self.check(orthant("export", run, self.dir / "out"), 0)
        self.assertIn("llama, 47 tensors", done.out)
        self.assertIn("opened again and compared", done.out)
        self.assertEqual((self.dir / "out/tokenizer.model").read_bytes(), (STORIES / "tokenizer.model").read_bytes())
        # A run directory that is copied alone is a model.
        shutil.move(run, self.dir / "moved")
        again = orthant("generate", self.dir / "moved", "--prompt", "Once upon a time", "--temperature", 0, "--max-new-tokens", 30)
        self.assertEqual(again.out, text.out)

    def test_what_was_trained_here_is_written_as_the_family_that_computes_it(self):
        self.check(orthant("pretrain", self.config(), "run.max_steps=2", "model={num_attention_heads: 2, hidden_size: 32}"), 0)
        self.assertIn("llama", self.check(orthant("export", self.dir / "run", self.dir / "out"), 0).out)
        self.check(orthant("pretrain", self.config(), "run.max_steps=2", f"run.dir={self.dir}/other",
                           "model={num_attention_heads: 2, hidden_size: 32, v_head_dim: 8}"), 0)
        self.check(orthant("export", self.dir / "other", self.dir / "none"), 64, "no family of transformers",
                   "llama: value heads of another width than key heads")
        self.assertFalse((self.dir / "none").exists())

    def test_multi_token_prediction_is_trained_exported_and_gone_on_with(self):
        self.check(orthant("pretrain", self.config(), "run.max_steps=2", "model.vocab_size=512", f"data.tokenizer={STORIES}", *WITH_MTP), 0)
        self.check(orthant("export", self.dir / "run", self.dir / "out"), 0, "deepseek_v3")
        self.assertEqual(json.loads((self.dir / "out/config.json").read_text())["num_nextn_predict_layers"], 1)
        # Without being asked for, its tensors are kept alone.
        self.check(orthant("import", self.dir / "out", self.dir / "kept"), 0)
        self.assertIn("hub.model.layers.2.enorm.weight", self.weights("kept"))
        next_run = ["run.max_steps=1", f"run.dir={self.dir}/next", "model.num_nextn_predict_layers=1"]
        config = self.config("next.yaml", text=self.config().read_text().split("model:")[0] + "model: {}\nmoe:" +
                             self.config().read_text().split("moe:")[1])
        self.check(orthant("pretrain", config, f"model.from={self.dir}/kept", *next_run), 64,
                   "model.num_nextn_predict_layers", "no layer for multi-token prediction that was trained")
        for source in ["out", "run"]:
            shutil.rmtree(self.dir / "next", ignore_errors=True)
            self.check(orthant("pretrain", config, f"model.from={self.dir}/{source}", *next_run), 0, "begins with the weights of")
            self.assertIn("mtp_loss", self.metrics("next")[0])
            if source == "out":
                trained = {k: v for k, v in self.weights("run").items() if not k.startswith("optimizer.")}
                self.assertEqual(self.weights("next/base"), trained)

    def test_evaluate_says_the_loss_and_writes_log_probabilities(self):
        data, out = self.dir / "data.jsonl", self.dir / "out.jsonl"
        lines = [{"text": "Once upon a time, there was a little girl named Lily."}, {"tokens": [1, 403, 407, 261, 378]},
                 {"prompt": "Once upon a time, there was a little", "choices": ["girl named Lily.", "zebra of stone."], "answer": 0}]
        data.write_text("".join(json.dumps(line) + "\n" for line in lines))
        done = self.check(orthant("evaluate", self.imported(), "--data", data, "--log-probs", out), 0)
        scored = [json.loads(line) for line in out.read_text().splitlines()]
        self.assertEqual(scored[1]["ids"], lines[1]["tokens"])
        self.assertEqual(scored[0]["ids"][0], 1)  # the first token
        values = [p for line in scored for p in line.get("log_probs", [])]
        loss = -sum(values) / len(values)
        # 53 bytes of the text, and what the tokens stand for: the space before a document is no text.
        self.assertIn(f"predicted tokens {len(values)}, bytes {53 + len('Once upon a time')}", done.out)
        self.assertIn(f"loss {loss:.6f}, perplexity {math.exp(loss):.4f}", done.out)
        self.assertIn("questions 1: right by log-likelihood 100.00%", done.out)
        for line, words in [('{"text": 3}', "text: want a text"), ("[1]", "want an object"), ('{"x": 1}', "want text, tokens"),
                            ('{"tokens": [512]}', "want ids below 512, got 512"), ('{"text": "a"', "data.jsonl:1"),
                            ('{"prompt": "a", "choices": ["b", "c"], "answer": 2}', "one of the 2 choices"),
                            ('{"messages": [{"role": "user", "content": "a"}]}', "without a chat template")]:
            data.write_text(line + "\n")
            code = 66 if "template" in words else 65
            self.check(orthant("evaluate", self.dir / "stories", "--data", data), code, words)

    def test_embed_writes_a_vector_for_each_document(self):
        data, out = self.dir / "data.jsonl.zst", self.dir / "out.jsonl"
        lines = [{"text": "Once upon a time", "id": "a"}, {"tokens": [1, 403, 407]}]
        data.write_bytes(b"".join(zstd((json.dumps(line) + "\n").encode()) for line in lines))
        done = self.check(orthant("embed", self.imported(), "--data", data, "--output", out, "--normalize"), 0)
        self.assertIn("2 vectors of 64 numbers", done.err + done.out)
        vectors = [json.loads(line) for line in out.read_text().splitlines()]
        self.assertEqual([(v["line"], v.get("id")) for v in vectors], [(1, "a"), (2, None)])
        for v in vectors:
            self.assertEqual(len(v["embedding"]), 64)
            self.assertAlmostEqual(sum(x * x for x in v["embedding"]), 1, 9)
        self.check(orthant("embed", self.dir / "stories", "--data", data, "--output", self.dir / "out.h5", "--pooling", "last"), 0)
        self.assertEqual((self.dir / "out.h5").read_bytes()[:4], b"\x89HDF")
        embed = ["embed", self.dir / "stories", "--data", data, "--output"]
        self.check(orthant(*embed, self.dir / "out.npy"), 2, "out.npy", ".jsonl or .h5")
        self.check(orthant(*embed, self.dir / "out.jsonl", "--pooling", "max"), 2, "mean")
        self.check(orthant(*embed, self.dir / "data.jsonl.zst/out.jsonl"), 73, "out.jsonl")
        self.check(orthant("embed", self.dir / "none", "--data", data, "--output", out), 66, "none")
        data.write_bytes(zstd(b'{"text": 3}'))
        self.check(orthant(*embed, out), 65, "data.jsonl.zst:1: text: want a text")
        self.assertEqual(len(out.read_text().splitlines()), 2)  # the older one
        data.write_bytes(zstd(b'{"text": "a"}')[:-3])
        self.check(orthant(*embed, out), 65, "truncated zstd file")

    def test_chat_goes_by_the_template(self):
        folder = self.dir / "chatty"
        shutil.copytree(STORIES, folder)
        (folder / "chat_template.jinja").write_text(
            "{{ '<s>' }}{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}")
        (folder / "tokenizer_config.json").write_text('{"bos_token": "<s>", "eos_token": "</s>"}')
        self.check(orthant("import", folder, self.dir / "run"), 0)
        done = subprocess.run(command(["chat", self.dir / "run", "--temperature", "0", "--max-new-tokens", "12"]), text=True,
                              input="Once upon a time\n\nOnce\n", capture_output=True, timeout=60, env=environment())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(done.stdout.splitlines()), 2, done.stdout)
        self.assertTrue(done.stdout.startswith(", there was"), done.stdout)
        done = self.check(orthant("chat", self.imported()), 66, "came without a chat template", f"{self.dir}/stories/hub/chat_template.jinja")
        self.assertNotIn("/..", done.err)

    def test_a_chat_template_that_cannot_be_used_is_warned_of(self):
        folder = self.dir / "chatty"
        shutil.copytree(STORIES, folder)
        (folder / "chat_template.jinja").write_text("{% include 'other' %}")
        done = self.check(orthant("import", folder, self.dir / "run"), 0)
        self.assertIn("the chat template cannot be used", done.err)
        self.assertIn("include", done.err)
        self.assertNotIn("chat template", self.check(orthant("import", STORIES, self.dir / "plain"), 0).err)

    def test_text_ends_where_the_model_says_and_exports_say_it_too(self):
        folder = self.dir / "ends"
        shutil.copytree(STORIES, folder)
        (folder / "generation_config.json").write_text('{"eos_token_id": [2, 426]}')  # 426: a full stop
        self.check(orthant("import", folder, self.dir / "run"), 0)
        text = orthant("generate", self.dir / "run", "--prompt", "Once upon a time", "--temperature", 0)
        self.assertEqual(text.out, "Once upon a time, there was a little girl named Lily\n")
        self.check(orthant("export", self.dir / "run", self.dir / "out"), 0)
        config = json.loads((self.dir / "out/config.json").read_text())
        self.assertEqual((config["bos_token_id"], config["eos_token_id"]), (1, 2))
        self.assertEqual((self.dir / "out/generation_config.json").read_bytes(), (folder / "generation_config.json").read_bytes())

    def test_a_gguf_file_goes_the_same_way(self):
        for name in ("tiny_llama", "tiny_mixtral"):
            file, run = ROOT / f"tests/golden/gguf/{name}.gguf", self.dir / name
            done = self.check(orthant("import", file, run), 0)
            self.assertNotIn("warn", done.err)
            text = orthant("generate", run, "--prompt", "abc", "--temperature", 0, "--max-new-tokens", 8)
            self.assertTrue(self.check(text, 0).out.startswith("abc"), text.out)
            chat = subprocess.run(command(["chat", run, "--temperature", "0", "--max-new-tokens", "4"]), text=True, errors="replace", input="ab\n",
                                  capture_output=True, timeout=60, env=environment())
            self.assertEqual(chat.returncode, 0, chat.stderr)
            (self.dir / "data.jsonl").write_text('{"text": "abc ab"}\n')
            self.assertIn("documents 1", self.check(orthant("evaluate", run, "--data", self.dir / "data.jsonl"), 0).out)
            folder = self.dir / f"{name}-out"
            self.assertIn(name.removeprefix("tiny_"), self.check(orthant("export", run, folder), 0).out)
            # The folder is the same model again.
            self.check(orthant("import", folder, self.dir / f"{name}-again"), 0)
            again = orthant("generate", self.dir / f"{name}-again", "--prompt", "abc", "--temperature", 0, "--max-new-tokens", 8)
            self.assertEqual(again.out, text.out)
        broken = self.dir / "broken.gguf"
        broken.write_bytes((ROOT / "tests/golden/gguf/tiny_llama.gguf").read_bytes()[:-100])
        self.check(orthant("import", broken, self.dir / "none"), 65, "broken.gguf: tensor output.weight", "ends at byte")
        self.assertFalse((self.dir / "none").exists())

    def test_what_is_no_model_is_told_what_it_is(self):
        refused = lambda path, *words, code=66: self.check(orthant("import", path, self.dir / "run"), code, *words)
        refused(STORIES / "model.safetensors", "is a file of weights; give the folder that it is in")
        refused("SomeOrg/SomeModel", "SomeOrg/SomeModel: does not exist", "hf download SomeOrg/SomeModel")
        folder = self.dir / "folder"
        folder.mkdir()
        (folder / "adapter_config.json").write_text("{}")
        refused(folder, "is an adapter to a model")
        shutil.rmtree(folder)
        shutil.copytree(STORIES, folder)
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
        refused(folder, "has 1 .safetensors file, and not model.safetensors.index.json")
        (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
        refused(folder, "model.safetensors: is a Git LFS pointer", "git lfs pull", code=65)
        for size in (20, 1000, 100_000):
            (folder / "model.safetensors").write_bytes((STORIES / "model.safetensors").read_bytes()[:size])
            refused(folder, "the file was cut: fetch it again", code=65)
        for size in (60, 3000, 20_000):
            (self.dir / "cut.gguf").write_bytes((ROOT / "tests/golden/gguf/tiny_llama.gguf").read_bytes()[:size])
            refused(self.dir / "cut.gguf", "was cut", "fetch it again", code=65)
        (self.dir / "text").write_text("")
        done = self.check(orthant("import", STORIES, self.dir / "text/run"), 73, "text")
        self.assertNotIn("run.dir", done.err)
        self.assertFalse((self.dir / "run").exists())

    def test_bad_folders_leave_nothing_behind(self):
        self.check(orthant("import", self.dir / "none", self.dir / "run"), 66, "does not exist")
        folder = self.dir / "broken"
        shutil.copytree(STORIES, folder)
        os.truncate(folder / "model.safetensors", 100_000)
        self.check(orthant("import", folder, self.dir / "run"), 65, "model.safetensors")
        self.assertFalse((self.dir / "run").exists())
        self.check(orthant("import", STORIES), 2, "run")


if __name__ == "__main__":
    unittest.main(verbosity=2)
