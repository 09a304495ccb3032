# SPDX-License-Identifier: Apache-2.0
"""What a user does with the program: every configuration runs, a run leaves what it promises, nothing leaks."""
import gzip
import json
import pathlib
import re
import subprocess
import time
import unittest

from harness import BINARY, LIKE_V3, ROOT, CliTest, command, environment, orthant

METRICS = ("step samples tokens loss lm_loss grad_norm learning_rate step_ms tokens_per_second model_tflops mfu "
           "memory_peak_bytes balance_loss expert_load_max_over_mean expert_load_entropy dropped_fraction").split()
# Small enough for a test: the shape of each configuration stays, its size does not.
SCALED = ["run.max_steps=2", "schedule.total_steps=2", "schedule.warmup_steps=1", "evaluation.tokens=2000",
          "batch.sequence_length=32", "generation.samples=1", "generation.max_new_tokens=4"]
WIDTHS = {"quickstart": [], "shakespeare": [], "longer-stories": [f"model.from={ROOT}/tests/data/stories260k"],
          "bench-dense": ["model.hidden_size=48", "model.intermediate_size=64", "model.vocab_size=512"],
          "bench-lora": ["lora.rank=0", "model.hidden_size=48", "model.intermediate_size=64", "model.vocab_size=512",
                         "model.num_attention_heads=3", "model.num_key_value_heads=1", "model.num_hidden_layers=2"],
          "bench-moe": ["model.hidden_size=64", "model.vocab_size=512", "model.moe_intermediate_size=32"],
          "long-context": ["parallel.context_parallel_size=2", "model.hidden_size=64", "model.vocab_size=512"],
          "balance-v2": ["data.tokenizer=byte"], "balance-v3": ["data.tokenizer=byte"]}


class Start(CliTest):
    """The best of several: other work on the machine only makes it slower."""

    def test_help_comes_at_once(self):
        def seconds():
            begin = time.perf_counter()
            self.check(orthant("--help"), 0)
            return time.perf_counter() - begin
        self.assertLess(min(seconds() for _ in range(21)), 0.03)

    def test_a_run_comes_to_its_data_in_a_tenth_of_a_second(self):
        times = []
        for i in range(5):
            result = orthant("pretrain", self.config(), "run.max_steps=1", f"run.dir={self.dir}/run-{i}")
            self.check(result, 0)
            times.append(float(re.search(r"\(([\d.]+) s before data was opened\)", result.err)[1]))
        self.assertLess(min(times), 0.1, times)


class Configurations(CliTest):
    def test_every_configuration_trains(self):
        for path in sorted((ROOT / "configs").glob("*.yaml")):
            if "\nfinetune:" in path.read_text():
                continue
            with self.subTest(path.name):
                run = self.dir / path.stem
                result = orthant("pretrain", path, *SCALED, *WIDTHS[path.stem], f"run.dir={run}", f"data.train={self.dir}/text.txt",
                                 ranks=2 if path.stem in ("quickstart", "long-context") else 0)
                self.check(result, 0, "report.html")
                self.assertEqual(len((run / "metrics.jsonl").read_text().splitlines()), 2)


    def test_every_configuration_of_fine_tuning_trains(self):
        rows = [{"prompt": f"Once upon a time, number {i}", "completion": " was here."} for i in range(40)]
        (self.dir / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths = [path for path in sorted((ROOT / "configs").glob("*.yaml")) if "\nfinetune:" in path.read_text()]
        self.assertGreaterEqual(len(paths), 4)
        for path in paths:
            with self.subTest(path.name):
                run, stories = self.dir / path.stem, ROOT / "tests/data/stories260k"
                command = "distill" if "\ndistill:" in path.read_text() else "finetune"
                models = [f"distill.teacher.from={stories}"] if command == "distill" else []
                if "\nmodel: {from:" in path.read_text():
                    models.append(f"model.from={stories}")
                self.check(orthant(command, path, *models, f"data.train={self.dir}/rows.jsonl", "data.validation_fraction=0.3",
                                   "finetune.epochs=0", "run.max_steps=2", "evaluation.interval=2", f"run.dir={run}"), 0, "report.html")
                self.assertEqual(len((run / "metrics.jsonl").read_text().splitlines()), 2)


class Run(CliTest):
    def test_a_run_leaves_what_it_promises(self):
        result = orthant("pretrain", self.config(precision="bf16"), "evaluation.interval=4", "generation.samples=1",
                         "generation.prompt=ROMEO:", "generation.max_new_tokens=5")
        self.check(result, 0, "level: ", "routing: checked in 1 layer that", "step 8/8", "tok/s", "sample: ROMEO:", "communication", "report.html", "bits per byte (gzip -9:")
        rows = self.metrics()
        self.assertEqual([r["step"] for r in rows], list(range(1, 9)))
        for row in rows:
            for field in METRICS:
                self.assertIn(field, row)
            self.assertAlmostEqual(row["loss"], row["lm_loss"] + row["balance_loss"], delta=1e-12)
        self.assertGreater(rows[7]["memory_activations_bytes"], 0)
        self.assertEqual(rows[7]["memory_fullest_rank"], 0)
        self.assertEqual(len({round(r["mfu"] / r["model_tflops"], 9) for r in rows}), 1, "one peak for the whole run")
        self.assertIn("validation_loss", rows[3])
        self.assertIn("validation_bits_per_byte", rows[7])
        self.assertNotIn("validation_loss", rows[0])
        run = self.dir / "run"
        page = (run / "report.html").read_text()
        for part in ["<svg", "ROMEO:", "hidden_size", "prefers-color-scheme"]:
            self.assertIn(part, page)
        self.assertNotIn("<script", page)
        self.check(orthant("pretrain", self.config(), "run.max_steps=1", "logging.tensorboard=false", f"run.dir={self.dir}/quiet",
                           "logging.peak_tflops=1.0e-6"), 0)
        row = self.metrics(self.dir / "quiet")[0]
        self.assertAlmostEqual(row["mfu"] * 1e-6 / row["model_tflops"], 1, delta=1e-4)  # what was given is not raised
        self.assertEqual([len(list(folder.glob("events.out.tfevents.*"))) for folder in [run, self.dir / "quiet"]], [1, 0])
        self.assertTrue((run / "logs/rank-00000.log").exists())
        self.assertEqual((run / "checkpoints/latest").read_text().strip(), "step-00000008")
        self.check(orthant("inspect", "checkpoint", run / "checkpoints/step-00000008"), 0)
        newest = self.check(orthant("inspect", "checkpoint", run), 0, "step-00000008")
        self.assertEqual(newest.out, orthant("inspect", "checkpoint", run / "checkpoints/step-00000008").out)
        self.check(orthant("inspect", "checkpoint", run / "logs"), 66, "logs has no checkpoint")
        self.check(orthant("inspect", "checkpoint", self.dir / "no"), 66, "no does not exist")

    def test_generate_prints_only_text_and_the_same_for_a_seed(self):
        self.check(orthant("pretrain", self.config()), 0)
        arguments = ["generate", self.dir / "run", "--prompt", "To be", "--max-new-tokens", "60", "--seed", "5"]
        first, again = orthant(*arguments), orthant(*arguments)
        self.check(first, 0)
        self.assertTrue(first.out.startswith("To be"))
        self.assertEqual(first.out, again.out)
        checkpoint = orthant("generate", self.dir / "run/checkpoints/step-00000008", *arguments[2:])
        self.assertEqual(checkpoint.out, first.out)
        greedy = orthant(*arguments, "--temperature", "0", "--precision", "fp64")
        self.check(greedy, 0)
        self.assertNotEqual(first.out, greedy.out)

    def test_generate_takes_a_prompt_from_a_file_or_standard_input_and_ends_at_a_text(self):
        self.check(orthant("pretrain", self.config()), 0)
        arguments = ["generate", self.dir / "run", "--max-new-tokens", "60", "--seed", "5"]
        whole = self.check(orthant(*arguments, "--prompt", "To\nbe"), 0).out
        (self.dir / "prompt.txt").write_text("To\nbe\n")
        self.assertEqual(orthant(*arguments, "--prompt-file", self.dir / "prompt.txt").out, whole)
        piped = subprocess.run(command([*arguments, "--prompt-file", "-"]), input="To\nbe\n", capture_output=True, text=True,
                               errors="replace", timeout=120, env=environment())
        self.assertEqual(piped.stdout, whole)
        generated = whole[len("To\nbe"):-1]
        stop = re.search("[!-~]{2}", generated[8:]).group()
        stopped = self.check(orthant(*arguments, "--prompt", "To\nbe", "--stop", "not there at all", "--stop", stop), 0)
        self.assertEqual(stopped.out, "To\nbe" + generated[:generated.index(stop)] + "\n")
        self.check(orthant(*arguments, "--prompt", "a", "--prompt-file", "-"), 2, "--prompt-file", "excludes")
        self.check(orthant(*arguments, "--prompt-file", self.dir / "no.txt"), 66, "no.txt", "standard input")
        self.check(orthant(*arguments, "--stop", ""), 2, "--stop", "empty")
        self.check(orthant(*arguments, "--top-p", "1.5"), 2, "--top-p", "want a number > 0 and <= 1, got '1.5'")
        self.check(orthant(*arguments, "--samples", "1e1"), 2, "--samples", "write 10")

    def test_sources_are_blended_by_weight(self):
        (self.dir / "a.jsonl").write_bytes(b"".join(json.dumps({"text": f"Line {i} " * 30}).encode() + b"\n" for i in range(20)))
        self.check(orthant("prepare", self.dir / "a.jsonl", "-o", self.dir / "c.h5"), 0)
        blend = [f"data.train=[{{path: {self.dir}/text.txt, weight: 3}}, {{path: {self.dir}/c.h5, weight: 1}}]", "run.max_steps=2"]
        done = self.check(orthant("pretrain", self.config(), *blend, "evaluation.interval=1"), 0, "text.txt: weight 3, 75% of the samples",
                          "c.h5: weight 1, 25% of the samples", "passes by step 2", "validation is that of the first source")
        self.assertIn("c.h5, ", (self.dir / "run/report.html").read_text())
        # The sampler's share, not the words alone: of 16 samples of the two steps.
        windows = [int(re.search(rf"{name}: weight .* samples, ([\d,]+) windows", done.err + done.out).group(1).replace(",", ""))
                   for name in ("text.txt", "c.h5")]
        epochs = json.loads((self.dir / "run/metrics.jsonl").read_text().splitlines()[-1])["epochs"]
        self.assertAlmostEqual(epochs, max(16 * 0.75 / windows[0], 16 * 0.25 / windows[1]), 9)
        # What a resume may not change.
        self.check(orthant("pretrain", self.config(), blend[0].replace("weight: 3", "weight: 2"), "run.max_steps=3"), 64, "weight")
        for sources, code, words in [
                (f"[{{path: {self.dir}/text.txt, weight: 0}}]", 64, "weight"),
                (f"[{{path: {self.dir}/text.txt, weight: 1}}, {{path: {self.dir}/no.h5}}]", 66, "no.h5"),
                (f"[{{path: {self.dir}/text.txt, weight: 1}}, {{path: {self.dir}/c.h5, weight: 1.0e-5}}]", 64, "c.h5: weight 1e-05"),
                (f"[{{path: {self.dir}/text.txt, zebra: 1}}]", 64, "keys here: path, format, weight")]:
            self.check(orthant("pretrain", self.config(), f"data.train={sources}", f"run.dir={self.dir}/other"), code, words)

    def test_redacted_text_is_told_and_not_shared(self):
        (self.dir / "a.txt").write_text("Write to anna@example.org or call +1 555 123 4567. " * 60)
        done = self.check(orthant("prepare", self.dir / "a.txt", "-o", self.dir / "c.h5", "--redact"), 0,
                          "redacted    60 e-mail addresses, 60 phone numbers, 0 card numbers")
        self.assertNotIn("redacted", self.check(orthant("prepare", self.dir / "a.txt", "-o", self.dir / "d.h5"), 0).err)
        run = ["pretrain", self.config(), f"data.train={self.dir}/a.txt", "run.max_steps=1"]
        self.check(orthant(*run), 0)
        self.check(orthant(*run, "data.redact=true", f"run.dir={self.dir}/other"), 0)
        names = [next((self.dir / folder / "cache").iterdir()).name for folder in ("run", "other")]
        self.assertNotEqual(*names)
        self.check(orthant(*run, "data.redact=true", "run.max_steps=2"), 64, "redact")

    def test_inspect_routing(self):
        self.check(orthant("pretrain", self.config(), *LIKE_V3), 0)
        (self.dir / "upper.txt").write_text("HAMLET OPHELIA " * 40)
        (self.dir / "lower.txt").write_text("sweet sorrow " * 40)
        files = [self.dir / "upper.txt", self.dir / "lower.txt"]
        table = orthant("inspect", "routing", self.dir / "run", *files)
        self.check(table, 0, "upper.txt: 601 tokens", "layer 1: greatest load over mean", "% of lower.txt")
        done = orthant("inspect", "routing", self.dir / "run/checkpoints/step-00000008", *files, "--text", "abc", "--json")
        self.check(done, 0)
        report = json.loads(done.out)
        self.assertEqual([d["tokens"] for d in report["domains"]], [601, 521, 3])
        self.assertEqual([layer["layer"] for layer in report["layers"]], [1])
        experts = report["layers"][0]["experts"]
        self.assertEqual(sum(e["tokens"] for e in experts), 2 * 1125)
        self.assertAlmostEqual(sum(e["load"] for e in experts), 8)
        for domain in range(3):
            self.assertAlmostEqual(sum(e["share_of_domain"][domain] for e in experts), 1)
        self.assertTrue(any(e["distinctive"] for e in experts))
        self.check(orthant("inspect", "routing", self.dir / "run"), 2, "--text")
        self.check(orthant("inspect", "routing", self.dir / "run", "no.txt"), 66, "no.txt")
        self.check(orthant("inspect", "routing", "--help"), 0, ".jsonl", ".gz", ".h5")

    def test_inspect_routing_reads_documents_as_prepare_does(self):
        self.check(orthant("pretrain", self.config(), "run.max_steps=1"), 0)
        lines = "".join(json.dumps({"text": f"Scene {i}.\nENTER \u00e9 GHOST."}) + "\n" for i in range(9)) + '{"text": ""}\n'
        (self.dir / "a.jsonl").write_text(lines)
        (self.dir / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
        (self.dir / "c.log").write_text(lines)
        self.check(orthant("prepare", self.dir / "a.jsonl", "--validation-fraction", 0, "-o", self.dir / "d.h5"), 0)

        def experts(name, *options):
            done = self.check(orthant("inspect", "routing", self.dir / "run", self.dir / name, "--json", *options), 0)
            report = json.loads(done.out)
            return [d["tokens"] for d in report["domains"]], [layer["experts"] for layer in report["layers"]]
        want = experts("d.h5")
        self.assertEqual(want[0], [9 * 25])
        self.assertEqual(experts("a.jsonl"), want)
        self.assertEqual(experts("b.jsonl.gz"), want)
        self.assertEqual(experts("c.log", "--format", "jsonl"), want)
        self.assertEqual(experts("b.jsonl.gz", "--tokens", 30)[0], [30])
        self.check(orthant("inspect", "routing", self.dir / "run", self.dir / "c.log"), 64, "c.log", ".jsonl", ".gz")

    def test_inspect_config_prints_what_reads_back(self):
        printed = orthant("inspect", "config", self.config(), "optimizer.learning_rate=0.004")
        self.check(printed, 0, "learning_rate: 0.004")
        again = orthant("inspect", "config", self.config("again.yaml", text=printed.out))
        self.assertEqual(printed.out, again.out)

    def test_reference_page_is_up_to_date(self):
        page = orthant("inspect", "config", "--reference").out
        self.assertEqual((ROOT / "docs/configuration.md").read_text(), page,
                         "run: build/bin/orthant inspect config --reference > docs/configuration.md")

    def test_dry_run_starts_nothing(self):
        self.check(orthant("pretrain", self.config(), "--dry-run"), 0, "parameters", "micro-batches", "1 thread each", "activations")
        self.check(orthant("pretrain", self.config(), "--dry-run", "parallel.data_parallel_size=2"), 0, "dp 2")
        self.check(orthant("pretrain", self.config(), "--dry-run", "--ranks", "2"), 0, "dp 2")
        self.check(orthant("pretrain", self.config(), "--dry-run", "parallel.pp=2", "parallel.pipeline_layers=[1,1]"), 0, "1f1b, 2 stages of 1, 1 layers\n")
        self.check(orthant("pretrain", self.config(), "--ranks", "2"), 2, "--dry-run")
        # What no machine has is said, not allocated.
        long = ["batch.sequence_length=100000000", "model.max_position_embeddings=100000000"]
        self.check(orthant("pretrain", self.config(), "--dry-run", *long, timeout=20), 0, "not predicted: the tokens of a step alone take")
        wide = ["model.hidden_size=65536", "model.intermediate_size=262144", "model.num_attention_heads=512", "model.num_key_value_heads=8"]
        self.check(orthant("pretrain", self.config(), "--dry-run", *wide), 0, "on all ranks together, this machine has")
        self.assertFalse((self.dir / "run").exists())

    def test_doctor(self):
        self.check(orthant("doctor"), 0, "processor", "by the affinity mask, OMP_NUM_THREADS=1", "hdf5", "mpi", "level", "ORTHANT_ISA")
        self.check(orthant("doctor", ORTHANT_ISA="scalar"), 0, "scalar (ORTHANT_ISA)")

    def test_a_single_process_starts_no_mpi_and_maps_no_cuda(self):
        maps = subprocess.run(["bash", "-c", f"LD_DEBUG=files {BINARY} --version 2>&1 | grep -ciE 'lib(orthant_cuda|cuda|cudart|cublas|cudnn|nccl)' || true"],
                              capture_output=True, text=True, env=environment()).stdout.strip()
        self.assertEqual(maps, "0")

    def test_nothing_leaks_in_500_steps(self):
        config = self.config()
        arguments = ["run.max_steps=500", "checkpoint.interval=0", "schedule.total_steps=500", "logging.interval=500"]
        script = (f"import subprocess,sys,time,json,pathlib\n"
                  f"p=subprocess.Popen({[BINARY, 'pretrain', str(config), *arguments]!r},stderr=subprocess.DEVNULL)\n"
                  f"rows=[]\n"
                  f"while p.poll() is None:\n"
                  f"  try:\n"
                  f"    rss=int([l for l in open(f'/proc/{{p.pid}}/status') if l.startswith('VmRSS')][0].split()[1])\n"
                  f"    steps=sum(1 for _ in open('{self.dir}/run/metrics.jsonl'))\n"
                  f"    rows.append((steps,rss))\n"
                  f"  except (OSError,IndexError): pass\n"
                  f"  time.sleep(0.01)\n"
                  f"print(json.dumps([p.returncode,rows]))\n")
        done = subprocess.run(["python3", "-c", script], capture_output=True, text=True, env=environment(), timeout=120)
        code, rows = json.loads(done.stdout)
        self.assertEqual(code, 0, done.stderr)
        warm = [rss for steps, rss in rows if 50 <= steps < 150]
        late = [rss for steps, rss in rows if 400 <= steps < 500]
        self.assertTrue(warm and late, rows[-1:])
        self.assertLess(max(late), max(warm) + 1024, "resident memory in KiB grew after warm-up")
        peaks = {m["memory_peak_bytes"] for m in self.metrics()[50:]}
        self.assertEqual(len(peaks), 1, "the ledger's peak grew after warm-up")


if __name__ == "__main__":
    unittest.main(verbosity=2)
