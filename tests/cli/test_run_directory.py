# SPDX-License-Identifier: Apache-2.0
"""A run directory that is copied, emptied, grown or not shared, and ranks that do not agree: nothing is lost in silence."""
import os
import shutil
import subprocess
import unittest

from harness import BINARY, TINY, CliTest, environment, launch, orthant

OPEN_END = TINY.replace(", total_steps: 8", "")


class RunDirectory(CliTest):
    def test_growing_a_finished_run_goes_on_learning(self):
        config = self.config(text=OPEN_END.format(dir=self.dir, precision="fp32"))
        self.check(orthant("pretrain", config, "run.max_steps=4"), 0)
        own = self.dir / "run/config.yaml"
        self.assertIn("total_steps: 0", own.read_text())
        grown = orthant("pretrain", own, "run.max_steps=8")
        self.check(grown, 0, "resuming from step 4", "the learning rate would be 0")
        rates = [row["learning_rate"] for row in self.metrics()]
        self.assertEqual(rates[3], 0)
        self.assertTrue(all(rate > 0 for rate in rates[4:7]), rates)
        self.assertEqual(rates[7], 0)

    def test_an_end_that_was_given_and_is_passed_is_warned_of(self):
        config = self.config()
        self.check(orthant("pretrain", config, "run.max_steps=10"), 0, "the learning rate is 0 from step 8 on")

    def test_a_copied_run_changes_itself_alone(self):
        config = self.config()
        self.check(orthant("pretrain", config, "run.max_steps=3"), 0)
        shutil.copytree(self.dir / "run", self.dir / "copy")
        before = {p: p.read_bytes() for p in (self.dir / "run").rglob("*") if p.is_file() and p.name != "run.lock"}
        ran = orthant("pretrain", self.dir / "copy/config.yaml", "run.max_steps=5")
        self.check(ran, 0, "resuming from step 3", "copied or moved")
        self.assertEqual(len(self.metrics("copy")), 5)
        self.assertEqual(before, {p: p.read_bytes() for p in before})
        self.check(orthant("pretrain", self.dir / "copy/config.yaml", "run.max_steps=6", f"run.dir={self.dir}/other"), 0)
        self.assertEqual(len(self.metrics("other")), 6)

    def test_checkpoints_that_vanished_are_missed(self):
        config = self.config()
        self.check(orthant("pretrain", config, "run.max_steps=4"), 0)
        rows = self.metrics()
        shutil.rmtree(self.dir / "run/checkpoints")
        (self.dir / "run/checkpoints").mkdir()
        self.check(orthant("pretrain", config), 65, "saved a checkpoint of step 4", "holds none")
        self.assertEqual(self.metrics(), rows)

    def test_the_newest_checkpoint_alone_is_missed_aloud(self):
        config = self.config()
        self.check(orthant("pretrain", config, "run.max_steps=4"), 0)
        shutil.rmtree(self.dir / "run/checkpoints/step-00000004")
        self.check(orthant("pretrain", config), 0, "had saved step 4", "resuming from step 2")

    def test_epochs_follow_from_the_samples_on_every_layout_and_after_a_resume(self):
        (self.dir / "text.txt").write_text("All happy families. " * 50)  # 900 tokens to train on: 28 windows of 32
        config, every = self.config(), "logging.interval=1"
        ran = orthant("pretrain", config, every)
        self.check(ran, 0, "28 windows of 32 tokens", " epochs 1.14 ", " epochs 2.29 ")
        line = next(line for line in ran.err.splitlines() if "step 3/8" in line)
        self.assertNotIn("epochs", line)  # 24 of 28 windows
        epochs = [row["epochs"] for row in self.metrics()]
        self.assertEqual(epochs, [8 * step / 28 for step in range(1, 9)])
        events = next((self.dir / "run").glob("events.out.tfevents.*")).read_bytes()
        self.assertEqual(events.count(b"epochs"), 8)
        other = f"run.dir={self.dir}/other"
        self.check(orthant("pretrain", config, other, "run.max_steps=5", ranks=2), 0)
        self.check(orthant("pretrain", config, other, "parallel.tp=2", ranks=2), 0, "resuming from step 5")
        self.assertEqual([row["epochs"] for row in self.metrics("other")], epochs)

    def test_data_goes_on_behind_what_was_consumed(self):
        config = self.config()
        self.check(orthant("pretrain", config, "run.max_steps=3"), 0)
        other = ["run.accept_changes=true", "batch.global_batch_size=4"]
        self.check(orthant("pretrain", config, "run.max_steps=5", *other), 0, "batch.global_batch_size: 8 -> 4")
        self.check(orthant("pretrain", config, "run.max_steps=6", *other, "batch.sequence_length=16", "model.max_position_embeddings=32"), 0)
        self.assertEqual([row["samples"] for row in self.metrics()], [8, 16, 24, 28, 32, 68])
        self.assertEqual([row["tokens"] for row in self.metrics()], [256, 512, 768, 896, 1024, 1088])


class Ranks(CliTest):
    """Two ranks, each started in a folder of its own."""

    def run_ranks(self, *arguments):
        for rank in (0, 1):
            (self.dir / f"r{rank}").mkdir(exist_ok=True)
        line = f'cd {self.dir}/r$OMPI_COMM_WORLD_RANK && exec {BINARY} pretrain c.yaml {" ".join(arguments)}'
        done = subprocess.run(launch("sh", "-c", line), capture_output=True, text=True,
                              env=environment(), timeout=120, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout + done.stderr

    def write(self, text0, text1):
        for rank, text in ((0, text0), (1, text1)):
            (self.dir / f"r{rank}").mkdir(exist_ok=True)
            (self.dir / f"r{rank}/c.yaml").write_text(text)

    def test_another_configuration_is_named(self):
        text = TINY.format(dir=self.dir, precision="fp32")
        self.write(text, text.replace("seed: 3", "seed: 4").replace("3.0e-3", "4.0e-3"))
        code, said = self.run_ranks()
        self.assertEqual(code, 64, said)
        for phrase in ("rank 1: the configuration differs", "run.seed: 3 -> 4", "optimizer.learning_rate: 0.003 -> 0.004"):
            self.assertIn(phrase, said)
        self.assertFalse((self.dir / "run").exists())

    def test_another_copy_of_the_corpus_is_named(self):
        text = TINY.format(dir=self.dir, precision="fp32").replace(f"{self.dir}/text.txt", "corpus.h5")
        self.write(text, text)
        words = (self.dir / "text.txt").read_text()
        for rank, part in ((0, words[:20000]), (1, words[20000:40000])):
            (self.dir / f"r{rank}/t.txt").write_text(part)
            self.check(orthant("prepare", self.dir / f"r{rank}/t.txt", "-o", self.dir / f"r{rank}/corpus.h5"), 0)
        code, said = self.run_ranks()
        self.assertEqual(code, 64, said)
        self.assertIn("rank 1: the training data differs", said)

    def test_a_file_that_one_rank_lacks_is_named(self):
        text = TINY.format(dir=self.dir, precision="fp32").replace(f"{self.dir}/text.txt", "text.txt")
        self.write(text, text)
        shutil.copy(self.dir / "text.txt", self.dir / "r0/text.txt")
        code, said = self.run_ranks()
        self.assertEqual(code, 66, said)
        self.assertIn("rank 1: data.train: text.txt: cannot be read", said)

    def test_a_directory_that_is_not_shared_is_found_at_the_start(self):
        text = TINY.format(dir=self.dir, precision="fp32").replace(f"dir: {self.dir}/run", "dir: mine")
        self.write(text, text)
        code, said = self.run_ranks("parallel.timeout_seconds=60")
        self.assertEqual(code, 73, said)
        self.assertIn("rank 1: run.dir: mine: this rank does not see what rank 0 wrote there", said)


if __name__ == "__main__":
    unittest.main()
