#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""import, export and generate that are killed, and the same command again."""
import json
import os
import shutil
import signal
import subprocess
import time
import unittest

from harness import ROOT, CliTest, command, environment, orthant

# What races is tried more often by hand.
TURNS = int(os.environ.get("ORTHANT_TURNS", 3))
STORIES = ROOT / "tests/data/stories260k"


def killed(arguments, seconds, ranks=0, by=signal.SIGKILL):
    """The exit code of the command, which gets the signal after so long."""
    process = subprocess.Popen(command(arguments, ranks), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(by)
        return process.wait(timeout=60)


class Interrupted(CliTest):
    def folder(self, name="folder", hidden=512, value=b"\0", **files):
        """A published model of some ten MB, which take a while."""
        folder = self.dir / name
        folder.mkdir()
        shutil.copy(STORIES / "tokenizer.model", folder)
        for file, text in files.items():
            (folder / file.replace("__", ".")).write_text(text)
        config = {"model_type": "llama", "vocab_size": 512, "hidden_size": hidden, "num_hidden_layers": 2, "num_attention_heads": 8,
                  "num_key_value_heads": 4, "intermediate_size": 1024, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "torch_dtype": "float32"}
        (folder / "config.json").write_text(json.dumps(config))
        shapes = {"model.embed_tokens.weight": [512, hidden], "model.norm.weight": [hidden], "lm_head.weight": [512, hidden]}
        for layer in range(2):
            of_layer = {"self_attn.q_proj": [hidden, hidden], "self_attn.k_proj": [hidden // 2, hidden], "self_attn.v_proj": [hidden // 2, hidden],
                        "self_attn.o_proj": [hidden, hidden], "mlp.gate_proj": [1024, hidden], "mlp.up_proj": [1024, hidden],
                        "mlp.down_proj": [hidden, 1024], "input_layernorm": [hidden], "post_attention_layernorm": [hidden]}
            shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in of_layer.items()}
        header, at = {}, 0
        for tensor, shape in shapes.items():
            size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
            header[tensor] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(header).encode()
        (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + value * at)
        return folder

    def seconds_of(self, *arguments):
        begin = time.time()
        self.check(orthant(*arguments), 0)
        return time.time() - begin

    def test_a_killed_import_leaves_nothing_of_it_to_the_next(self):
        a, b = self.folder("a", chat_template__jinja="{{ messages }}"), self.folder("b", value=b"\x3c")
        whole = self.seconds_of("import", b, self.dir / "want")
        stopped = 0
        for turn in range(TURNS):
            run = self.dir / f"run{turn}"
            stopped += killed(["import", a, run], whole * turn / TURNS) == -signal.SIGKILL
            if run.exists():  # whole, or not there
                self.check(orthant("inspect", "checkpoint", run), 0)
                continue
            if (self.dir / f"run{turn}.unfinished").exists():
                self.check(orthant("generate", run, "--prompt", "a"), 66, "import was interrupted", f"orthant import FOLDER {run}")
            self.check(orthant("import", b, run), 0)
            self.assertEqual(self.weights(run), self.weights("want"))
            names = lambda path: sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())
            self.assertEqual(names(run), names(self.dir / "want"))
        self.assertGreater(stopped, TURNS // 4)
        self.assertEqual(list(self.dir.glob("*.unfinished")), [])

    def test_a_killed_export_leaves_no_folder_and_is_done_again(self):
        self.check(orthant("import", self.folder(), self.dir / "run"), 0)
        whole = self.seconds_of("export", self.dir / "run", self.dir / "want")
        stopped = 0
        for turn in range(TURNS):
            out = self.dir / f"out{turn}"
            stopped += killed(["export", self.dir / "run", out], whole * turn / TURNS) == -signal.SIGKILL
            if not out.exists():
                self.check(orthant("export", self.dir / "run", out), 0)
            self.assertEqual({p.name: p.read_bytes() for p in out.iterdir()}, {p.name: p.read_bytes() for p in (self.dir / "want").iterdir()})
        self.assertGreater(stopped, TURNS // 4)
        self.assertEqual(list(self.dir.glob("*.unfinished")), [])

    def test_what_is_in_the_way_is_refused(self):
        self.check(orthant("import", STORIES, self.dir / "run"), 0)
        (self.dir / "full").mkdir()
        (self.dir / "full/mine.txt").write_text("mine")
        for words in (["import", STORIES], ["export", self.dir / "run"]):
            self.check(orthant(*words, self.dir / "full"), 73, "full: is not empty")
            self.check(orthant(*words, self.dir / "text.txt"), 73, "text.txt: is a file")
            done = self.check(orthant(*words, self.dir / "text.txt/below"), 73, "text.txt")
            self.assertNotIn("run.dir", done.err)
        self.assertEqual([p.name for p in (self.dir / "full").iterdir()], ["mine.txt"])
        # An empty folder, and a link to one, are filled.
        (self.dir / "empty").mkdir()
        (self.dir / "link").symlink_to("empty")
        self.check(orthant("import", STORIES, self.dir / "link"), 0)
        self.assertTrue((self.dir / "link").is_symlink())
        self.assertTrue((self.dir / "empty/config.yaml").exists())

    def test_what_is_no_run_yet_is_told_how_it_becomes_one(self):
        gguf = ROOT / "tests/golden/gguf/tiny_llama.gguf"
        for path in (STORIES, gguf):
            for words in (["generate", path, "--prompt", "a"], ["chat", path], ["export", path, self.dir / "out"]):
                self.check(orthant(*words), 66, f"orthant import {path} RUN")

    def begin(self, config, source, *more):
        return ["pretrain", config, f"model.from={self.dir}/{source}", *more]

    def config_of_a_run(self):
        return self.config("from.yaml", text=f"run: {{max_steps: 1, dir: {self.dir}/run}}\nprecision: fp32\n"
                           f"batch: {{sequence_length: 32}}\ndata: {{train: {self.dir}/text.txt}}\ngeneration: {{samples: 0}}\n")

    def test_a_run_that_was_killed_while_its_base_was_imported_goes_on(self):
        self.folder("a")
        config = self.config_of_a_run()
        whole = self.seconds_of(*self.begin(config, "a"))
        for turn in range(TURNS):
            shutil.rmtree(self.dir / "run", ignore_errors=True)
            killed(self.begin(config, "a"), whole * (turn + 1) / 22)
            self.check(orthant(*self.begin(config, "a")), 0)
        # What an older version left, half made.
        shutil.rmtree(self.dir / "run")
        (self.dir / "run/base/checkpoints/tmp-step-00000000-import").mkdir(parents=True)
        self.check(orthant(*self.begin(config, "a")), 0, "imported again")

    def test_a_run_begins_with_the_model_that_is_named_now(self):
        self.folder("a", chat_template__jinja="{{ messages }}")
        self.folder("b", hidden=256, value=b"\x3c")
        config = self.config_of_a_run()
        self.check(orthant(*self.begin(config, "a", "batch.micro_batch_size=1000000000")), 78)  # has imported it
        self.assertTrue((self.dir / "run/base/config.yaml").exists())
        self.check(orthant(*self.begin(config, "b")), 0, "imported again")
        base = {k: v for k, v in self.weights("run/base").items()}
        self.check(orthant("import", self.dir / "b", self.dir / "want"), 0)
        self.assertEqual(base, self.weights("want"))
        self.assertFalse((self.dir / "run/hub/chat_template.jinja").exists())
        # The same folder with other files is another model.
        shutil.rmtree(self.dir / "run/checkpoints")
        (self.dir / "run/checkpoints.newest").unlink()
        data = (self.dir / "b/model.safetensors").read_bytes()
        (self.dir / "b/model.safetensors").write_bytes(data[:-4] + b"\0\0\0\0")
        self.check(orthant(*self.begin(config, "b")), 0, "imported again")
        # A run that has begun goes on with its own weights, and says so.
        self.assertIn("goes on with its own weights", orthant(*self.begin(config, "a", "run.max_steps=2")).err)


class Batches(CliTest):
    def setUp(self):
        super().setUp()
        self.check(orthant("import", STORIES, self.dir / "stories"), 0)
        self.prompts = self.dir / "prompts.jsonl"
        words = ["Once", "The dog", "Lily", "A bird", "Tom and Tim", "One day"]
        self.prompts.write_text("".join(json.dumps({"prompt": words[n % 6], "n": n, "seed": n}) + "\n" for n in range(120)) + "no JSON\n")

    def words(self, out, *more):
        return ["generate", self.dir / "stories", "--prompts", self.prompts, "--output", out, "--max-new-tokens", 60, "--max-sequences", 3,
                "--samples", 2, "--bad-lines", "skip", *more]

    def go_on_until_done(self, ranks, signals):
        want, out = self.dir / f"want{ranks}.jsonl", self.dir / f"out{ranks}.jsonl"
        begin = time.time()
        self.check(orthant(*self.words(want), ranks=ranks), 0, "1 bad line was skipped")
        whole = time.time() - begin
        codes, went_on = [], 0
        for turn in range(TURNS):
            out.unlink(missing_ok=True)
            code, tries = None, 0
            # What was killed behind its last rename is done too.
            while code != 0 and not out.exists():
                by = signals[len(codes) % len(signals)]
                tries += 1  # each has more time: the machine may be slower than it was
                code = killed(self.words(out), whole * (0.2 + turn % 5 / 10) * tries, ranks, by)
                self.assertIn(code, [0, 75] if by != signal.SIGKILL else [0, -signal.SIGKILL], turn)
                codes.append(code)
                if code and self.has_finished(out):
                    went_on += 1
                    if turn % 4 == 0:  # at once
                        done = self.check(orthant(*self.words(out), ranks=ranks), 0)
                        self.assertIn("goes on behind", done.err)
                        code = 0
            self.assertEqual(out.read_bytes(), want.read_bytes(), turn)
            self.assertEqual([p.name for p in self.dir.glob(f"{out.name}?*")], [])
        self.assertGreater(went_on, TURNS // 4)
        return codes

    def test_one_process_goes_on_behind_what_is_finished(self):
        codes = self.go_on_until_done(0, [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
        self.assertIn(75, codes)

    def test_ranks_go_on_behind_what_is_finished(self):
        codes = self.go_on_until_done(2, [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
        self.assertIn(75, codes)

    def has_finished(self, out):
        journal = self.dir / f"{out.name}.partial.jsonl"
        return journal.exists() and journal.read_bytes().count(b"\n") > 1

    def begin(self, out):
        """A batch that was stopped when something was finished."""
        process = subprocess.Popen(command(self.words(out)), stderr=subprocess.PIPE, text=True, env=environment())
        while not self.has_finished(out):
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        err = process.communicate(timeout=60)[1]
        self.assertEqual(process.returncode, 75, err)
        self.assertRegex(err, r"stopped by a signal; [0-9]+ texts finished, in .*: the same command goes on behind")

    def test_other_work_does_not_go_on_with_it(self):
        out = self.dir / "out.jsonl"
        self.begin(out)
        self.check(orthant(*self.words(out, "--temperature", "0.5")), 73, "texts of other work")
        lines = self.prompts.read_text()
        self.prompts.write_text(lines.replace('"n": 0,', '"n": 5,'))
        self.check(orthant(*self.words(out)), 73, "texts of other prompts")
        # Lines behind those that are finished may change.
        self.prompts.write_text(lines.replace("no JSON\n", ""))
        self.check(orthant(*self.words(out)), 0, "goes on behind")
        self.assertEqual(len(out.read_text().splitlines()), 240)

    def test_embed_and_evaluate_leave_nothing(self):
        self.prompts.write_text('{"text": "Once upon a time there was a little girl named Lily."}\n' * 3000)
        for words in (["embed", "--output", self.dir / "out.jsonl"], ["embed", "--output", self.dir / "out.h5"],
                      ["evaluate", "--log-probs", self.dir / "scores.jsonl"]):
            process = subprocess.Popen(command([words[0], self.dir / "stories", "--data", self.prompts, *words[1:]]), stderr=subprocess.PIPE,
                                       stdout=subprocess.DEVNULL, text=True, env=environment())
            while not list(self.dir.glob("*.tmp.*")):
                time.sleep(0.005)
            process.send_signal(signal.SIGTERM)
            err = process.communicate(timeout=60)[1]
            self.assertEqual(process.returncode, 75, err)
            self.assertIn("stopped by a signal before line", err)
            self.assertEqual([p.name for p in self.dir.glob("*.tmp.*")], [])
            self.assertFalse(words[2].exists())


if __name__ == "__main__":
    unittest.main()
