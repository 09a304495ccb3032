# SPDX-License-Identifier: Apache-2.0
"""Wrong command lines, configurations and inputs: the message says where, what was wanted and what to do; the exit code its kind."""
import json
import os
import pathlib
import shutil
import subprocess
import unittest

from harness import ROOT, CliTest, Result, TINY, orthant


class CommandLine(CliTest):
    def test_unknown_command(self):
        self.check(orthant("pretran", "x.yaml"), 2, "pretran", "did you mean 'pretrain'", "--help")

    def test_unknown_option(self):
        self.check(orthant("pretrain", self.config(), "--dryrun"), 2, "--dryrun", "did you mean --dry-run?", "see orthant pretrain --help")
        self.check(orthant("generate", "x", "--temprature=1"), 2, "did you mean --temperature?", "see orthant generate --help")
        self.check(orthant("inspect", "corpus"), 2, "see orthant inspect corpus --help")
        self.check(orthant("launch", "-n", "2", "--", "generate", "x", "--temprature=1"), 2, "did you mean --temperature?")

    def test_no_command(self):
        self.check(orthant(), 2, "subcommand")

    def test_help_lists_the_commands(self):
        self.check(orthant("--help"), 0, "pretrain", "prepare", "generate", "inspect", "doctor")
        train = self.check(orthant("tokenizer", "train", "--help"), 0, "--no-byte-fallback")
        self.assertNotIn("{false}", train.out)

    def test_every_command_has_help(self):
        for command in ("pretrain", "prepare", "generate", "doctor", "tokenizer train", "tokenizer encode", "tokenizer decode",
                        "inspect config", "inspect corpus", "inspect checkpoint", "inspect routing", "inspect schedule",
                        "verify layout"):
            words = command.split()
            listed = self.check(orthant(*words[:-1], "--help"), 0)
            self.assertRegex(listed.out, f"\\n  {words[-1]} ")
            self.check(orthant(*words, "--help"), 0, f"Usage: orthant {command}")

    def test_bad_override(self):
        self.check(orthant("pretrain", self.config(), "optimizer.learning_rate"), 64, "optimizer.learning_rate")
        self.check(orthant("pretrain", self.config(), "optimizer.learning_rate=fast"), 64, "command line", "fast")
        self.check(orthant("pretrain", self.config(), "optimizer.learning_rat=1"), 64, "did you mean", "learning_rate")
        self.check(orthant("pretrain", self.config(), "data.train[0].weight=1"), 64, "data.train.0.weight")

    def test_bytes_of_an_override_that_could_not_be_saved(self):
        for override in (b"run.dir=" + os.fsencode(self.dir) + b"/caf\xe9", b"generation.prompt=\xff"):
            self.check(orthant("pretrain", self.config(), os.fsdecode(override)), 64, "command line", "not valid UTF-8")
        self.assertFalse((self.dir / "run").exists(), "training must not have started")

    def test_the_home_directory_is_written_out(self):
        home = {"HOME": str(self.dir)}
        found = self.check(orthant("inspect", "config", self.config(), "run.dir=~/there", **home), 0)
        self.assertIn(f"dir: {self.dir}/there\n", found.out)
        self.check(orthant("inspect", "config", self.config(), "run.dir=~nobody/there", **home), 64, "run.dir", "another user")


class Configuration(CliTest):
    def broken(self, old, new, *phrases, code=64):
        text = TINY.format(dir=self.dir, precision="fp32")
        self.assertIn(old, text)
        result = orthant("pretrain", self.config(text=text.replace(old, new)))
        self.check(result, code, *phrases)
        self.assertFalse((self.dir / "run/metrics.jsonl").exists(), "training must not have started")
        return result

    def test_missing_file(self):
        self.check(orthant("pretrain", self.dir / "no.yaml"), 66, "no.yaml")

    def test_empty_file(self):
        self.check(orthant("pretrain", self.config(text="")), 64, "tiny.yaml")

    def test_unknown_key(self):
        self.broken("hidden_size: 32", "hiden_size: 32", "tiny.yaml:6:3", "hiden_size", "hidden_size")

    def test_wrong_type(self):
        self.broken("num_hidden_layers: 2", "num_hidden_layers: two", "tiny.yaml:7:22", "integer", "two")

    def test_out_of_bounds(self):
        self.broken("learning_rate: 3.0e-3", "learning_rate: -1", "learning_rate", "-1")

    def test_bad_choice(self):
        self.broken("precision: fp32", "precision: fp23", "tiny.yaml:2", "fp32")

    def test_duplicate_key(self):
        self.broken("hidden_size: 32", "hidden_size: 32\n  hidden_size: 32", "tiny.yaml:7:3", "hidden_size")

    def test_tab(self):
        self.broken("  hidden_size: 32", "\thidden_size: 32", "tiny.yaml:")

    def test_alias_bomb(self):
        self.broken("device: cpu", "device: &a cpu\nx: *a", "tiny.yaml:1", "anchor")

    def test_heads_do_not_divide_width(self):
        self.broken("num_attention_heads: 4", "num_attention_heads: 5", "hidden_size", "32", "5")

    def test_key_heads_do_not_divide_heads(self):
        self.broken("num_key_value_heads: 2", "num_key_value_heads: 3", "num_key_value_heads", "3")

    def test_more_choices_than_experts(self):
        self.broken("num_experts_per_tok: 2", "num_experts_per_tok: 9", "num_experts_per_tok", "1 to 4", "9")

    def test_batch_does_not_divide(self):
        self.broken("global_batch_size: 8", "global_batch_size: 7", "global_batch_size", "7")

    def test_a_run_name_is_no_path(self):
        self.broken("name: tiny", "name: ../tiny", "run.name", "../tiny")

    def test_dry_run_looks_at_the_inputs(self):
        self.check(orthant("pretrain", self.config(), "--dry-run", f"data.train={self.dir}/no.h5"), 66, "no.h5")
        (self.dir / "short.txt").write_text("short")
        corpus = f"data.train={self.dir}/short.h5"
        self.check(orthant("prepare", self.dir / "short.txt", "-o", self.dir / "short.h5", "--validation-fraction", 0), 0)
        for extra in [[], ["--dry-run"]]:
            self.check(orthant("pretrain", self.config(), corpus, *extra), 65, "short.h5", "6 tokens", "at least 33")
            self.check(orthant("pretrain", self.config(), corpus, "batch.sequence_length=4", "evaluation.interval=1", *extra), 64,
                       "evaluation.interval", "short.h5", "data.validation")

    def test_no_steps(self):
        self.broken("max_steps: 8", "max_steps: 0", "run.max_steps")

    def test_several_faults_are_reported_together(self):
        result = self.broken("hidden_size: 32", "hiden_size: 32\n  rope_thetta: 1", "hiden_size", "rope_thetta")
        self.assertLess(result.err.index("hiden_size"), result.err.index("rope_thetta"))

    def test_cuda_is_not_there(self):
        self.broken("device: cpu", "device: cuda", "cuda", code=69)

    def test_auto_says_what_it_took(self):
        text = TINY.format(dir=self.dir, precision="fp32").replace("device: cpu", "device: auto")
        self.check(orthant("pretrain", self.config(text=text), "run.max_steps=1"), 0, "using the CPU")

    def test_world_sizes_that_fit_are_named(self):
        self.check(orthant("pretrain", self.config(), ranks=3), 64, "4 micro-batches", "2 or 4")

    def test_vocabulary_too_small(self):
        self.broken("vocab_size: 257", "vocab_size: 200", "model.vocab_size", "257", "200")

    def test_a_pasted_config_json_is_accepted_where_it_can_be(self):
        text = TINY.format(dir=self.dir, precision="fp32")
        pasted = text.replace("model:\n", "model:\n  torch_dtype: bfloat16\n  hidden_act: silu\n  rope_scaling: null\n")
        self.check(orthant("inspect", "config", self.config(text=pasted)), 0, "model.torch_dtype", "left out")
        self.check(orthant("inspect", "config", self.config(text=pasted.replace("silu", "gelu"))), 64, "tiny.yaml:6:3", "hidden_act", "silu")
        scaled = pasted.replace("rope_scaling: null", "rope_scaling: {rope_type: longrope, factor: 8.0}")
        self.check(orthant("inspect", "config", self.config(text=scaled)), 64, "tiny.yaml:7:29", "rope_scaling.rope_type", "got 'longrope'")
        self.check(orthant("inspect", "config", self.config(text=scaled.replace("longrope", "llama3"))), 0, "rope_type: llama3")
        for key in ("rope_scaling={rope_type: dynamic}", "model_type=gemma2", "architectures=[GptOssForCausalLM]"):
            self.check(orthant("inspect", "config", self.config(), "model." + key), 64, "command line", "model." + key.split("=")[0])

    def test_aliases_are_accepted_with_a_note(self):
        text = TINY.format(dir=self.dir, precision="fp32").replace("max_steps: 8", "train_iters: 1")
        self.check(orthant("pretrain", self.config(text=text)), 0, "train_iters", "max_steps")


class Inputs(CliTest):
    def test_missing_corpus(self):
        result = orthant("pretrain", self.config(), f"data.train={self.dir}/no.h5")
        self.check(result, 66, "data.train", "no.h5", "launch/make_corpus.sh", "bench/balance.sh", "orthant prepare")

    def test_a_run_without_its_inputs_leaves_nothing(self):
        for key, hint in [("data.train", "orthant prepare"), ("data.validation", "orthant prepare"),
                          ("data.tokenizer", "orthant tokenizer train")]:
            missing = f"{self.dir}/no.model" if key == "data.tokenizer" else f"{self.dir}/no.txt"
            for ranks, options in [(0, []), (2, []), (0, ["--dry-run"])]:
                with self.subTest(f"{key}, {ranks} ranks {options}"):
                    result = orthant("pretrain", self.config(), f"{key}={missing}", *options, ranks=ranks)
                    self.check(result, 66, key, missing, hint, "bench/balance.sh")
                    self.assertFalse((self.dir / "run").exists(), "the run directory")
        self.check(orthant("verify", "layout", self.config(), f"data.train={self.dir}/no.txt"), 66, "orthant prepare")

    def test_missing_text_under_mpirun(self):
        self.check(orthant("pretrain", self.config(), f"data.train={self.dir}/no.txt", ranks=2), 66, "no.txt")

    def test_empty_text(self):
        (self.dir / "empty.txt").write_text("")
        self.check(orthant("pretrain", self.config(), f"data.train={self.dir}/empty.txt"), 65, "empty.txt")

    def test_not_a_corpus(self):
        (self.dir / "bad.h5").write_bytes(b"not hdf5 at all" * 100)
        self.check(orthant("pretrain", self.config(), f"data.train={self.dir}/bad.h5"), 65, "bad.h5")

    def test_damaged_corpus(self):
        self.check(orthant("prepare", self.dir / "text.txt", "-o", self.dir / "c.h5"), 0, "unigram entropy", " 1 document in ")
        data = bytearray((self.dir / "c.h5").read_bytes())
        at = data.index("First Citizen".encode("utf-16-le"))
        data[at] ^= 1
        (self.dir / "c.h5").write_bytes(data)
        self.check(orthant("pretrain", self.config(), f"data.train={self.dir}/c.h5"), 65, "c.h5", "block")

    def test_broken_jsonl_names_the_line(self):
        (self.dir / "a.jsonl").write_text('{"text": "fine"}\n{"text": \n')
        self.check(orthant("prepare", self.dir / "a.jsonl", "-o", self.dir / "a.h5"), 65, "a.jsonl:2")
        self.assertFalse((self.dir / "a.h5").exists())

    def test_bad_lines_may_be_left_out(self):
        (self.dir / "in/deep").mkdir(parents=True)
        (self.dir / "in/a.jsonl").write_text('{"text": "fine"}\n{"txt": "x"}\n' + json.dumps({"text": "fine too " * 5000}) + "\n")
        (self.dir / "in/deep/b.txt").write_bytes(b"caf\xe9" * 50)
        (self.dir / "in/c.pdf").write_text("no text")
        for inputs in [self.dir / "in", f"{self.dir}/in/**/*"]:
            with self.subTest(str(inputs)):
                arguments = ["prepare", inputs, "-o", self.dir / "c.h5"]
                self.check(orthant(*arguments), 65, "in/a.jsonl:2: ", "--bad-lines skip")
                self.check(orthant(*arguments, "--bad-lines", "skip"), 0, "2 files", "skipped 1 other: ", "c.pdf", "3 documents",
                           "warning: prepare: 1 bad line is left out: 1 without \"text\"", "in/a.jsonl:2: ", "in/deep/b.txt:1: the first of 50")
        self.check(orthant("inspect", "corpus", self.dir / "c.h5"), 0, "in/a.jsonl", "1 bad line left out", "all blocks verified")
        train = ["tokenizer", "train", self.dir / "in", "--vocab-size", 270, "-o", self.dir / "t.model"]
        self.check(orthant(*train), 65, "in/a.jsonl:2: ")
        self.check(orthant(*train, "--bad-lines", "skip"), 0, "1 bad line is left out")
        self.check(orthant("prepare", f"{self.dir}/in/*.csv", "-o", self.dir / "d.h5"), 66, "in/*.csv", "matches no file")
        run = ["pretrain", self.config(), f"data.train={self.dir}/in/a.jsonl", "run.max_steps=1"]
        self.check(orthant(*run), 65, "in/a.jsonl:2: ", "data.bad_lines: skip")
        self.check(orthant(*run, "data.bad_lines=skip"), 0, "1 bad line is left out")
        # The policy may change at a resume, as long as the data is the same.
        self.check(orthant(*run[:3], "data.bad_lines=skip", "run.max_steps=2"), 0, "1 bad line was left out")

    def test_new_files_get_what_the_umask_leaves(self):
        before = os.umask(0o027)
        self.addCleanup(os.umask, before)
        self.check(orthant("prepare", self.dir / "text.txt", "-o", self.dir / "new/c.h5"), 0)
        self.check(orthant("pretrain", self.config(), "run.max_steps=2"), 0)
        for top in ["new", "run"]:
            for path in [self.dir / top, *(self.dir / top).rglob("*")]:
                self.assertEqual(path.stat().st_mode & 0o777, 0o750 if path.is_dir() else 0o640, path)

    def test_a_file_that_is_replaced_is_said(self):
        train = ["tokenizer", "train", self.dir / "text.txt", "--vocab-size", 400, "-o", self.dir / "t.model"]
        for arguments in [["prepare", self.dir / "text.txt", "-o", self.dir / "c.h5"], train]:
            self.assertNotIn("replaces", self.check(orthant(*arguments), 0).err)
            self.check(orthant(*arguments), 0, f"{arguments[-1]} (replaces an older file): ")

    def test_output_cannot_be_written(self):
        self.check(orthant("prepare", self.dir / "text.txt", "-o", self.dir / "text.txt/x.h5"), 73, "text.txt/x.h5")

    def test_run_directory_cannot_be_made(self):
        (self.dir / "file").write_text("")
        self.check(orthant("pretrain", self.config(), f"run.dir={self.dir}/file/run"), 73, "file/run")

    def test_generate_without_a_model(self):
        self.check(orthant("generate", self.dir / "no"), 66, "no", "run directory")


class Scripts(CliTest):
    """Each explains itself, and refuses what it does not know, before it does anything."""
    OURS = ["bench/balance.sh", "bench/gpu/run.sh", "bench/gpu/pack.sh", "launch/bundle.sh", "launch/install_packages.sh",
            "launch/make_corpus.sh", "launch/quickstart.sh"]

    def run_copy(self, name, *arguments):
        """In an empty tree, where it can do nothing."""
        copy = self.dir / "tree" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy)
        return Result(subprocess.run([copy, *arguments], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL,
                                     cwd=self.dir / "tree", env={**os.environ, "ORTHANT": "/bin/false"}))

    def test_help_and_unknown_options(self):
        for name in self.OURS:
            with self.subTest(name):
                usage = self.check(self.run_copy(name, "--help"), 0).out
                self.assertIn(name, usage)
                self.assertNotIn("SPDX", usage)
                for arguments in [["--no-such-option"], ["-x", "y"]]:
                    refused = self.check(self.run_copy(name, *arguments), 2)
                    self.assertEqual(refused.err, usage)
        self.assertEqual(sorted(path.name for path in (self.dir / "tree").rglob("*") if path.is_file()),
                         sorted(pathlib.Path(name).name for name in self.OURS))


if __name__ == "__main__":
    unittest.main(verbosity=2)
