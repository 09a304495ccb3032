# SPDX-License-Identifier: Apache-2.0
"""Stopping and going on: the same bits as a run that was never stopped."""
import json
import os
import signal
import subprocess
import time
import unittest

from harness import LIKE_V2, LIKE_V3, TINY, WITH_MTP, CliTest, command, environment, orthant

FIELDS = ["step", "loss", "lm_loss", "balance_loss", "grad_norm", "learning_rate"]


class Resume(CliTest):
    def oracle(self, precision, ranks=0):
        config = self.config(precision=precision)
        self.check(orthant("pretrain", config, f"run.dir={self.dir}/oracle", ranks=ranks), 0)
        return config

    def same_as_oracle(self):
        pick = lambda rows: [[row[f] for f in FIELDS] for row in rows]
        self.assertEqual(pick(self.metrics()), pick(self.metrics("oracle")))
        self.assertEqual(self.weights(), self.weights("oracle"))

    def test_stop_after_a_step_and_go_on(self):
        for precision in ["fp64", "fp32", "bf16"]:
            with self.subTest(precision):
                config = self.oracle(precision)
                self.check(orthant("pretrain", config, "run.max_steps=3"), 0)
                self.check(orthant("pretrain", config, "run.max_steps=5"), 0, "resuming from step 3")
                self.check(orthant("pretrain", config), 0, "resuming from step 5")
                self.same_as_oracle()
                for run in ["run", "oracle"]:
                    subprocess.run(["rm", "-rf", str(self.dir / run)], check=True)

    def test_biases_and_dropping_go_on_too(self):
        for keys in [LIKE_V3, LIKE_V2]:
            config = self.config(precision="bf16")
            self.check(orthant("pretrain", config, f"run.dir={self.dir}/oracle", *keys), 0)
            self.check(orthant("pretrain", config, "run.max_steps=3", *keys, ranks=2), 0)
            self.check(orthant("pretrain", config, *keys), 0, "resuming from step 3")
            self.same_as_oracle()
            biases = [name for name in self.weights() if name.endswith("mlp.gate.e_score_correction_bias")]
            self.assertEqual(biases, ["model.layers.1.mlp.gate.e_score_correction_bias"] if keys is LIKE_V3 else [])
            for row in self.metrics():
                self.assertEqual(row["dropped_fraction"] > 0, keys is LIKE_V2)
            for run in ["run", "oracle"]:
                subprocess.run(["rm", "-rf", str(self.dir / run)], check=True)

    def test_multi_token_prediction_goes_on_too(self):
        config = self.config(precision="bf16")
        self.check(orthant("pretrain", config, f"run.dir={self.dir}/oracle", *WITH_MTP), 0)
        self.check(orthant("pretrain", config, "run.max_steps=3", *WITH_MTP, ranks=2), 0)
        self.check(orthant("pretrain", config, *WITH_MTP), 0, "resuming from step 3")
        self.same_as_oracle()
        self.assertIn("optimizer.exp_avg.model.layers.2.eh_proj.weight", self.weights())
        self.assertNotIn("model.layers.2.embed_tokens.weight", self.weights())
        for row, same in zip(self.metrics(), self.metrics("oracle"), strict=True):
            self.assertEqual(row["mtp_loss"], same["mtp_loss"])
            self.assertAlmostEqual(row["loss"], row["lm_loss"] + row["balance_loss"] + 0.3 * row["mtp_loss"], delta=1e-12)
        self.assertLess(self.metrics()[-1]["mtp_loss"], self.metrics()[0]["mtp_loss"])
        # The weight of the loss falls in the course of a training; the layer stays.
        self.check(orthant("pretrain", config, *WITH_MTP, "run.max_steps=9", "model.mtp_loss_weight=0.1"), 0, "resuming from step 8")
        self.check(orthant("pretrain", config, *WITH_MTP, "model.num_nextn_predict_layers=0"), 64, "num_nextn_predict_layers")

    def test_a_skipped_step_is_no_update_after_a_resume_either(self):
        """AdamW corrects its moments by the number of updates: the steps are one more here."""
        skip = {"ranks": 2, "ORTHANT_FAILPOINT": "step.norm:rank=1:step=2:nan"}
        for precision in ["fp64", "bf16"]:
            with self.subTest(precision):
                config = self.config(precision=precision)
                self.check(orthant("pretrain", config, f"run.dir={self.dir}/oracle", "--allow-failpoints", **skip), 0,
                           "step 2: gradient norm")
                self.check(orthant("pretrain", config, "run.max_steps=3", "--allow-failpoints", **skip), 0, "step 2: gradient norm")
                manifest = json.loads((self.dir / "run/checkpoints/step-00000003/manifest.json").read_text())
                self.assertIn('"updates": "2"', json.dumps(manifest))
                self.check(orthant("pretrain", config, "run.max_steps=5"), 0, "resuming from step 3")
                self.check(orthant("pretrain", config, ranks=2), 0, "resuming from step 5")
                self.same_as_oracle()
                for run in ["run", "oracle"]:
                    subprocess.run(["rm", "-rf", str(self.dir / run)], check=True)

    def test_kill_a_rank_and_go_on(self):
        for precision in ["fp32", "bf16"]:
            for site in ["step.backward", "step.optimizer"]:
                with self.subTest(f"{precision} {site}"):
                    config = self.oracle(precision, ranks=2)
                    killed = orthant("pretrain", config, "--allow-failpoints", ranks=2,
                                     ORTHANT_FAILPOINT=f"{site}:rank=1:step=5:kill9")
                    self.assertNotEqual(killed.code, 0, killed)
                    # The save of step 4 may have been under way.
                    self.check(orthant("pretrain", config, ranks=2), 0, "resuming from step ")
                    self.same_as_oracle()
                    for run in ["run", "oracle"]:
                        subprocess.run(["rm", "-rf", str(self.dir / run)], check=True)

    def test_killed_while_it_saves(self):
        config = self.oracle("fp32", ranks=2)
        for site in ["checkpoint.mid_shard", "checkpoint.before_manifest", "checkpoint.after_rename"]:
            with self.subTest(site):
                killed = orthant("pretrain", config, "--allow-failpoints", ranks=2, ORTHANT_FAILPOINT=f"{site}:rank=0:step=4:kill9")
                self.assertNotEqual(killed.code, 0, killed)
                self.check(orthant("pretrain", config, ranks=2), 0)
                self.same_as_oracle()
                subprocess.run(["rm", "-rf", str(self.dir / "run")], check=True)

    def test_another_number_of_ranks_goes_on_with_the_same_bits(self):
        config = self.oracle("bf16")
        self.check(orthant("pretrain", config, "run.max_steps=3", ranks=2), 0)
        self.check(orthant("pretrain", config, "run.max_steps=6", ranks=4), 0, "resuming from step 3")
        self.check(orthant("pretrain", config), 0, "resuming from step 6")
        self.same_as_oracle()

    def test_the_run_s_own_configuration_goes_on_on_another_number_of_ranks(self):
        config = self.oracle("bf16")
        self.check(orthant("pretrain", config, "run.max_steps=3", ranks=2), 0)
        own = self.dir / "run/config.yaml"
        self.assertIn("data_parallel_size: 0", own.read_text())
        self.check(orthant("pretrain", own, "run.max_steps=6", ranks=4), 0, "resuming from step 3")
        self.check(orthant("pretrain", own, "run.max_steps=8"), 0, "resuming from step 6")
        self.same_as_oracle()
        self.check(orthant("pretrain", own, "run.max_steps=9", "batch.global_batch_size=4"), 64, "batch.global_batch_size: 8 -> 4")
        # A size that was given is kept.
        self.check(orthant("pretrain", config, "run.max_steps=2", "parallel.dp=2", f"run.dir={self.dir}/given", ranks=2), 0)
        self.check(orthant("pretrain", self.dir / "given/config.yaml"), 64, "parallel.data_parallel_size", "got 2")

    def test_ranks_and_zero_may_change_at_every_resume(self):
        for precision in ["fp64", "fp32", "bf16"]:
            with self.subTest(precision):
                # Tables so large that ZeRO cuts inside them.
                text = TINY.format(dir=self.dir, precision=precision).replace("vocab_size: 257", "vocab_size: 900")
                config = self.config(text=text)
                self.check(orthant("pretrain", config, f"run.dir={self.dir}/oracle"), 0)
                go_on = lambda steps, ranks, zero: orthant("pretrain", config, f"run.max_steps={steps}", f"parallel.zero_stage={zero}", ranks=ranks)
                self.check(go_on(3, 2, 1), 0)
                self.check(go_on(4, 0, 1), 0, "resuming from step 3")
                self.check(go_on(6, 4, 1), 0, "resuming from step 4")
                checkpoint = self.dir / "run/checkpoints/step-00000006"
                manifest = json.loads((checkpoint / "manifest.json").read_text())
                self.assertTrue(any("elements" in piece for tensor in manifest["tensors"] for piece in tensor["slices"]))
                self.check(orthant("inspect", "checkpoint", checkpoint), 0)
                self.check(orthant("generate", self.dir / "run", "--prompt", "A", "--max-new-tokens", "3"), 0)
                self.check(go_on(8, 2, 0), 0, "resuming from step 6")
                self.same_as_oracle()
                for run in ["run", "oracle"]:
                    subprocess.run(["rm", "-rf", str(self.dir / run)], check=True)

    def test_every_axis_may_change_at_every_resume(self):
        config = self.config(precision="fp64")
        more = ["model.num_hidden_layers=4", "model.tie_word_embeddings=true", "model.intermediate_size=3"]  # less than tp = 4
        self.check(orthant("pretrain", config, f"run.dir={self.dir}/oracle", *more), 0)
        layouts = [(4, ["parallel.tp=2", "parallel.sequence_parallel=false", "parallel.pp=2"]),
                   (4, ["parallel.tp=4", "parallel.ep=2"]),
                   (4, ["parallel.cp=2", "parallel.pp=2", "parallel.pipeline_schedule=interleaved"]),
                   (2, ["parallel.tp=2", "parallel.ep=2"])]
        for i, (ranks, layout) in enumerate(layouts):
            ran = orthant("pretrain", config, f"run.max_steps={2 * i + 2}", *more, *layout, ranks=ranks)
            self.check(ran, 0, *([f"resuming from step {2 * i}"] if i else []))
        for row, want in zip(self.metrics(), self.metrics("oracle"), strict=True):
            for field in FIELDS:
                self.assertAlmostEqual(row[field], want[field], delta=1e-10 * max(1, abs(want[field])), msg=f"{row['step']} {field}")

    def test_threads_and_ranks_change_no_bit(self):
        for precision in ["fp64", "bf16"]:
            with self.subTest(precision):
                config = self.oracle(precision)
                for ranks, threads in [(0, "2"), (0, "3"), (2, "2"), (4, "1")]:
                    self.check(orthant("pretrain", config, ranks=ranks, OMP_NUM_THREADS=threads), 0)
                    self.same_as_oracle()
                    subprocess.run(["rm", "-rf", str(self.dir / "run")], check=True)
                subprocess.run(["rm", "-rf", str(self.dir / "oracle")], check=True)

    def test_the_middle_of_a_batch_ramp_goes_on_with_the_same_bits(self):
        ramp = "global_batch_size: 8, ramp_start: 4, ramp_increment: 4, ramp_samples: 18, "
        text = TINY.format(dir=self.dir, precision="bf16").replace("global_batch_size: 8, ", ramp)
        config = self.config(text=text)
        self.check(orthant("pretrain", config, f"run.dir={self.dir}/oracle"), 0, "grows from 4 sequences to 8 by 4, over 5 steps")
        self.assertEqual([row["samples"] for row in self.metrics("oracle")], [4, 8, 12, 16, 20, 28, 36, 44])
        self.assertEqual([row["tokens"] for row in self.metrics("oracle")], [row["samples"] * 32 for row in self.metrics("oracle")])
        self.check(orthant("pretrain", config, "run.max_steps=3", ranks=2), 0)
        self.check(orthant("pretrain", config, "run.max_steps=6"), 0, "resuming from step 3")
        self.check(orthant("pretrain", config, ranks=2), 0, "resuming from step 6")
        self.same_as_oracle()
        self.assertEqual(len(list((self.dir / "run").glob("events.out.tfevents.*"))), 3)  # one for each start, by rank 0 alone
        self.check(orthant("pretrain", config, "--dry-run"), 0, "after 5 steps", f"{44 * 32:,} tokens in all")
        self.check(orthant("pretrain", config, ranks=4), 64, "batch.ramp_start", "4 replicas = 8")
        self.check(orthant("pretrain", config, "batch.ramp_increment=3"), 64, "batch.ramp_increment")
        self.check(orthant("pretrain", config, "batch.ramp_samples=0"), 64, "ramp_samples")

    def test_new_schedules_train(self):
        for options in [["schedule.name=wsd", "schedule.decay_fraction=0.5", "schedule.decay_shape=1-sqrt"],
                        ["schedule.name=step", "schedule.step_points=[0.5]", "schedule.step_factor=0.5"]]:
            run = self.dir / options[0][-4:]
            self.check(orthant("pretrain", self.config(), *options, f"run.dir={run}"), 0)
            rates = [row["learning_rate"] for row in self.metrics(run.name)]
            self.assertEqual(rates[1:4], [0.003] * 3)
            self.assertEqual(rates[5], 0.0015 if options[0].endswith("step") else 0.003 * (1 - 0.5 ** 0.5))

    def signalled(self, number, ranks):
        config = self.config()
        line = command(["pretrain", config, "run.max_steps=100000", "schedule.total_steps=8", "checkpoint.interval=0"], ranks)
        process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment())
        deadline = time.time() + 60
        while time.time() < deadline and not ((self.dir / "run/metrics.jsonl").exists() and len(self.metrics()) > 3):
            time.sleep(0.05)
        process.send_signal(number)
        err = process.communicate(timeout=60)[1]
        self.assertEqual(process.returncode, 75, err)
        self.assertIn("stopped by a signal", err)
        stopped_at = self.metrics()[-1]["step"]
        result = orthant("pretrain", config, f"run.max_steps={stopped_at + 1}", "schedule.total_steps=8", ranks=ranks)
        self.check(result, 0, f"resuming from step {stopped_at}")

    def test_sigusr1_saves_and_leaves_with_75(self):
        self.signalled(signal.SIGUSR1, 0)

    def test_sigterm_saves_and_leaves_with_75(self):
        self.signalled(signal.SIGTERM, 0)

    def test_sigusr1_to_mpirun_saves_and_leaves_with_75(self):
        self.signalled(signal.SIGUSR1, 2)

    def test_sigterm_to_mpirun_saves_and_leaves_with_75(self):
        self.signalled(signal.SIGTERM, 2)

    def test_more_steps_go_on_without_a_given_schedule(self):
        text = TINY.format(dir=self.dir, precision="fp32").replace("total_steps: 8", "min_learning_rate: 1.0e-4")
        config = self.config(text=text)
        self.check(orthant("pretrain", config, "run.max_steps=4"), 0)
        self.check(orthant("pretrain", config, "run.max_steps=7"), 0, "schedule.total_steps: 4", "resuming from step 4")
        self.check(orthant("pretrain", config, "run.max_steps=8", "schedule.total_steps=9"), 64, "schedule.total_steps: 4 -> 9")
        self.assertEqual([m["learning_rate"] for m in self.metrics()][3:], [1e-4] * 4)

    def test_fewer_steps_than_warm_up_are_warned_of(self):
        text = TINY.format(dir=self.dir, precision="fp32").replace("warmup_steps: 2, total_steps: 8", "warmup_steps: 5")
        self.check(orthant("pretrain", self.config(text=text), "run.max_steps=2"), 0, "never reaches its peak")

    def test_a_run_directory_is_held_by_one_job(self):
        config = self.config()
        line = command(["pretrain", config, "run.max_steps=100000", "schedule.total_steps=8"])
        process = subprocess.Popen(line, stderr=subprocess.DEVNULL, env=environment())
        try:
            deadline = time.time() + 60
            while time.time() < deadline and not (self.dir / "run/metrics.jsonl").exists():
                time.sleep(0.05)
            self.check(orthant("pretrain", config), 73, "in use by process", str(process.pid))
        finally:
            process.kill()
            process.wait()
        self.check(orthant("pretrain", config, "run.max_steps=1000", "run.resume=auto", "schedule.total_steps=8", "checkpoint.interval=0",
                           f"run.dir={self.dir}/other", "run.max_steps=1"), 0)

    def test_changed_configuration_is_refused_with_the_differences(self):
        config = self.config()
        self.check(orthant("pretrain", config, "run.max_steps=2"), 0)
        self.check(orthant("pretrain", config, "optimizer.learning_rate=0.01"), 64, "optimizer.learning_rate: 0.003 -> 0.01")
        self.check(orthant("pretrain", config, "optimizer.learning_rate=0.01", "run.accept_changes=true"), 0)

    def test_resume_never_refuses_an_existing_run(self):
        config = self.config()
        self.check(orthant("pretrain", config, "run.max_steps=2"), 0)
        self.check(orthant("pretrain", config, "run.resume=never"), 64, "resume")

    def test_damaged_checkpoint_falls_back_loudly(self):
        config = self.oracle("fp32")
        self.check(orthant("pretrain", config, "run.max_steps=6"), 0)
        shard = next((self.dir / "run/checkpoints/step-00000006").glob("shard-*"))
        data = bytearray(shard.read_bytes())
        data[-5] ^= 4
        shard.write_bytes(data)
        self.check(orthant("pretrain", config), 0, "warning", "step-00000006", "resuming from step 4")
        self.same_as_oracle()


class Numeric(CliTest):
    def test_a_bad_norm_is_skipped_by_all_ranks(self):
        result = orthant("pretrain", self.config(), "--allow-failpoints", ranks=2, ORTHANT_FAILPOINT="step.norm:rank=1:step=3:nan")
        self.check(result, 0, "step 3: gradient norm")
        self.assertEqual([m["step"] for m in self.metrics()], list(range(1, 9)))

    def test_persistent_bad_norms_end_with_77(self):
        self.check(orthant("pretrain", self.config(), "optimizer.learning_rate=1e30", "optimizer.grad_clip=0", "run.max_steps=40",
                           "schedule.name=constant", "schedule.warmup_steps=0", "schedule.total_steps=40"), 77, "not finite")


    def test_a_run_that_ends_without_a_finite_loss_saves_nothing(self):
        self.check(orthant("pretrain", self.config(), "optimizer.learning_rate=1e30", "optimizer.grad_clip=0", "checkpoint.interval=0",
                           "schedule.name=constant", "schedule.warmup_steps=0"), 77, "no checkpoint was saved")
        self.assertEqual(list((self.dir / "run/checkpoints").glob("step-*")), [])


class Late(CliTest):
    def test_a_rank_that_stops_is_reported_within_the_deadline(self):
        begin = time.time()
        line = command(["pretrain", self.config(), "parallel.timeout_seconds=3", "--allow-failpoints"], 2)
        process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True,
                                   env=environment(ORTHANT_FAILPOINT="step.backward:rank=1:step=3:sleep=20000"))
        err = process.communicate(timeout=60)[1]
        self.assertEqual(process.returncode, 76, err)
        self.assertIn("rank 1", err)
        self.assertLess(time.time() - begin, 30)


if __name__ == "__main__":
    unittest.main(verbosity=2)
