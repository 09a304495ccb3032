#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files of prompts and documents: what lines may say, and what users are told of them."""
import json
import os
import shutil
import subprocess
import unittest

from harness import ROOT, CliTest, command, environment, orthant

STORIES = ROOT / "tests/data/stories260k"
GGUF = ROOT / "tests/golden/gguf/tiny_llama.gguf"


class Texts(CliTest):
    def setUp(self):
        super().setUp()
        self.check(orthant("import", STORIES, self.dir / "stories"), 0)
        self.data = self.dir / "data.jsonl"

    def lines(self, *lines):
        self.data.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))

    def generate(self, *options, model="stories", output="out.jsonl"):
        return orthant("generate", self.dir / model, "--prompts", self.data, "--output", self.dir / output if output else "-",
                       "--max-new-tokens", 8, "--temperature", 0, *options)

    def evaluate(self, *options, model="stories"):
        return orthant("evaluate", self.dir / model, "--data", self.data, *options)

    def embed(self, *options):
        return orthant("embed", self.dir / "stories", "--data", self.data, "--output", self.dir / "out.jsonl", *options)

    def read(self, name="out.jsonl"):
        return [json.loads(line) for line in (self.dir / name).read_text().splitlines()]

    def test_outputs_that_are_no_files_get_the_text(self):
        self.lines({"prompt": "Once"}, {"prompt": "Lily"})
        self.check(self.generate(), 0)
        want = (self.dir / "out.jsonl").read_text()
        self.assertEqual(self.generate(output="").out, want)
        os.mkfifo(self.dir / "pipe")
        with subprocess.Popen(["cat", self.dir / "pipe"], stdout=subprocess.PIPE, text=True) as cat:
            self.check(self.generate(output="pipe"), 0)
            self.assertEqual(cat.communicate(timeout=60)[0], want)
        # What a shell appends to keeps what it has, and a link its place.
        log = self.dir / "log"
        log.write_text("before\n")
        with open(log, "a") as out:
            subprocess.run(command(["generate", self.dir / "stories", "--prompts", self.data, "--output", "/proc/self/fd/1", "--max-new-tokens", 8,
                                    "--temperature", 0]), stdout=out, stderr=subprocess.DEVNULL, env=environment(), check=True)
        self.assertEqual(log.read_text(), "before\n" + want)
        (self.dir / "link").symlink_to("log")
        self.check(self.generate(output="link"), 0)
        self.assertEqual(log.read_text(), want)
        self.assertTrue((self.dir / "link").is_symlink())
        self.lines({"text": "Once"})
        scores = self.evaluate("--log-probs", "-")
        self.assertEqual([json.loads(line)["line"] for line in scores.out.splitlines()], [1])
        self.assertIn("documents 1", scores.err)

    def test_outputs_are_looked_at_before_the_work(self):
        self.lines({"prompt": "Once", "text": "Once"})
        before = self.data.read_bytes()
        for output, code, words in [("data.jsonl", 2, "which is read"), ("out.jsonl.gz", 2, "is written plain"), ("none/out.jsonl", 73, "none"),
                                    ("stories", 73, "is a folder"), ("data.jsonl/out.jsonl", 73, "Not a directory")]:
            out = self.dir / output
            for words_of in (["generate", "--prompts", self.data, "--output", out], ["evaluate", "--data", self.data, "--log-probs", out],
                             ["embed", "--data", self.data, "--output", out]):
                if words_of[0] == "embed" and not output.endswith("l"):
                    continue
                # Before the model is looked at.
                done = self.check(orthant(words_of[0], self.dir / "no-model", *words_of[1:]), code, words)
                self.assertNotIn("Success", done.err)
        self.assertEqual(self.data.read_bytes(), before)
        self.assertFalse((self.dir / "none").exists())

    def test_lines_say_how_their_texts_are_drawn(self):
        self.lines({"prompt": "Once upon a time"}, {"prompt": "Once upon a time", "max_new_tokens": 3},
                   {"prompt": "Once upon a time", "stop": ["little"], "max_new_tokens": 20}, {"prompt": "Once upon a time", "temperature": 1.5, "seed": 3},
                   {"prompt": "Once upon a time", "temperature": 1.5, "seed": 4})
        self.check(self.generate(), 0)
        got = self.read()
        self.assertTrue(got[0]["text"].startswith(got[1]["text"]))
        self.assertLess(len(got[1]["text"]), len(got[0]["text"]))
        self.assertEqual((got[2]["finish_reason"], got[2]["text"]), ("stop", ", there was a "))
        self.assertNotEqual(got[3]["text"], got[4]["text"])
        one = orthant("generate", self.dir / "stories", "--prompt", "Once upon a time", "--temperature", 1.5, "--seed", 3, "--max-new-tokens", 8)
        self.assertEqual(one.out, "Once upon a time" + got[3]["text"] + "\n")
        for key, value, words in [("temperature", -1, "want a number >= 0, got -1"), ("top_k", 1.5, "want an integer >= 0"), ("top_p", "x", "top_p: want"),
                                  ("stop", [""], "stop: want texts"), ("max_tokens", 5, "want max_new_tokens")]:
            self.lines({"prompt": "a", key: value})
            self.check(self.generate(), 65, "data.jsonl:1", words)

    def test_what_is_copied_keeps_its_digits(self):
        self.lines('{"id": 123456789012345678901234567890, "x": 1.50e3, "prompt": "Once" }')
        self.check(self.generate(), 0)
        self.assertTrue((self.dir / "out.jsonl").read_text().startswith('{"id": 123456789012345678901234567890, "x": 1.50e3, "prompt": "Once","text":"'))

    def test_bad_lines_are_named_or_left_out(self):
        folder = self.dir / "chatty"
        shutil.copytree(STORIES, folder)
        (folder / "chat_template.jinja").write_text(
            "{% for m in messages %}{% if m.role == 'robot' %}{{ raise_exception('no robots') }}{% endif %}{{ m.content }}{% endfor %}")
        self.check(orthant("import", folder, self.dir / "chat"), 0)
        good, bad = {"messages": [{"role": "user", "content": "Once"}]}, {"messages": [{"role": "robot", "content": "a"}]}
        self.lines(good, bad, "{", good)
        for run in (self.generate, self.evaluate):
            done = self.check(run(model="chat"), 65, "data.jsonl:2: ", "no robots")
            self.assertNotIn("json.exception", done.err)
            self.check(run("--bad-lines", "skip", model="chat"), 0, "2 bad lines were skipped", "data.jsonl:2: ", "data.jsonl:3: ")
        self.assertEqual(len(self.read()), 2)
        self.lines({"text": "Once"}, {"text": ""}, "{")
        self.check(self.embed(), 65, "data.jsonl:2: an empty document")
        self.check(self.embed("--bad-lines", "skip"), 0, "2 bad lines were skipped", "1 vector")
        self.lines({"text": "Once"})
        self.check(self.generate(), 65, "data.jsonl:1: want the text to go on from as prompt")

    def test_special_tokens_are_told_of_and_taken_where_asked_for(self):
        self.check(orthant("import", GGUF, self.dir / "gguf"), 0)
        token = json.loads((self.dir / "gguf/hub/tokenizer.json").read_text())["added_tokens"][0]["content"]
        plain = orthant("generate", self.dir / "gguf", "--prompt", f"a{token}b", "--max-new-tokens", 2, "--temperature", 0)
        self.check(plain, 0, "--prompt: spells a special token", "--special")
        special = orthant("generate", self.dir / "gguf", "--prompt", f"a{token}b", "--max-new-tokens", 2, "--temperature", 0, "--special")
        self.assertNotIn("spells", self.check(special, 0).err)
        self.lines({"prompt": f"a{token}b", "text": f"a{token}b"}, {"prompt": f"a{token}b", "text": f"a{token}b"})
        for options, count in ([], 1), (["--special"], 0):
            done = self.check(self.evaluate("--log-probs", self.dir / "scores.jsonl", *options, model="gguf"), 0)
            self.assertEqual(done.err.count("spells a special token"), count, done)
            lengths = [len(line["ids"]) for line in self.read("scores.jsonl")]
            self.assertEqual(len(set(lengths)), 1)
            want = orthant("tokenizer", "encode", self.dir / "gguf/tokenizer.json", *options, "--format", "jsonl", self.data)
            self.check(want, 0)
            self.assertIn(lengths[0] - len(want.out.splitlines()[0].split()), [0, 1])  # the first token
        self.lines({"prompt": f"a{token}b"}, {"prompt": f"a{token}b"})
        self.assertEqual(self.check(self.generate(model="gguf"), 0).err.count("spells a special token"), 1)
        self.assertNotIn("spells", self.check(self.generate("--special", model="gguf"), 0).err)

    def test_prompts_longer_than_the_model_are_named(self):
        self.lines({"prompt": "Once"}, *[{"prompt": "Once upon a time " * 200}] * 7)
        done = self.check(self.generate(), 0, "data.jsonl:2: ", "tokens are longer than the model's longest sequence, 512", "7 prompts in all")
        self.assertNotIn("data.jsonl:7: ", done.err)
        self.check(orthant("generate", self.dir / "stories", "--prompt", "Once upon a time " * 200, "--max-new-tokens", 1), 0, "--prompt: ", "are longer")

    def test_evaluate_tells_questions_too_and_each_line_by_its_number(self):
        question = {"prompt": "Once upon a time, there was a little", "choices": ["zebra of stone.", "girl named Lily."], "answer": 1, "id": "q"}
        self.lines({"text": "Once upon a time"}, "", question)
        self.check(self.evaluate("--log-probs", self.dir / "out.jsonl"), 0, "questions 1: right by log-likelihood 100.00%")
        document, scored = self.read()
        self.assertEqual(list(document), ["line", "ids", "log_probs"])
        self.assertEqual(list(scored), ["line", "id", "log_likelihoods", "chosen", "answer"])
        self.assertEqual((document["line"], scored["line"], scored["id"], scored["chosen"], scored["answer"]), (1, 3, "q", 1, 1))
        self.assertLess(scored["log_likelihoods"][0], scored["log_likelihoods"][1])


if __name__ == "__main__":
    unittest.main()
