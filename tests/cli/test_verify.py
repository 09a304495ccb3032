# SPDX-License-Identifier: Apache-2.0
"""Layouts compared through the program, and experts on other ranks in a run."""
import unittest

from harness import CliTest, orthant


class Verify(CliTest):
    def test_layouts_of_a_configuration_compute_the_same(self):
        config = self.config(precision="fp32")
        done = self.check(orthant("verify", "layout", config, "--layouts", "dp2,dp2+ep2,dp4+ep2+etp2+recompute,dp2+selective,dp1+mb1"), 0,
                          "all layouts compute the same", "fp64 gradients", "fp32 SGD weights")
        self.assertEqual(len([line for line in done.out.splitlines() if line.startswith("dp")]), 5, done)
        self.assertNotIn("BAD", done.out)

    def test_weights_move_whatever_the_schedule(self):
        done = self.check(orthant("verify", "layout", self.config(precision="fp64"), "--steps", "1", "--layouts", "tp2", "run.max_steps=1"), 0)
        row = next(line for line in done.out.splitlines() if line.startswith("tp2"))
        _, _, _, gradients, _, sgd, _, adamw = row.split()[:8]
        self.assertNotIn("0.00e+00", [gradients, sgd, adamw])  # sums in another order leave traces in weights too

    def test_under_mpirun(self):
        config = self.config(precision="fp64")
        self.check(orthant("verify", "layout", config, ranks=2), 0, "dp2+ep2", "all layouts compute the same")
        self.check(orthant("verify", "layout", config, "--layouts", "dp4", ranks=2), 2, "4 ranks, the job 2")

    def test_what_cannot_be_compared_is_said(self):
        config = self.config()
        self.check(orthant("verify", "layout", config, "--layouts", "dp2+tp3x"), 2, "tp3x", "is none of dpN")
        self.check(orthant("verify", "layout", config, "--layouts", "dp3"), 64, "3 ranks cannot share evenly")
        self.check(orthant("verify", "layout", config, "--layouts", "dp2+ep2+etp4"), 64, "does not divide 2 ranks", "dp8")
        self.check(orthant("verify", "layout", config, "--layouts", "ep2"), 64, "does not divide 1 rank,", "dp2+ep2")


class VerifyFits(CliTest):
    """A batch or sequence that some layouts cannot cut."""

    DENSE = ["--steps", "1", "model.n_routed_experts=0", "model.n_shared_experts=0", "model.num_experts_per_tok=0"]

    def rows(self, result):
        return [line.split()[0] for line in result.out.splitlines() if " ok " in line]

    def test_what_does_not_fit_is_left_out_and_named_with_what_would(self):
        config = self.config(precision="fp64")
        done = self.check(orthant("verify", "layout", config, "--ranks", "2", *self.DENSE, "batch.global_batch_size=6"), 0,
                          "left out: layout 'dp2' (2 layers, batch 6 in 2)", "the nearest batches: 4 or 8",
                          "left out: layout 'pp2+dualpipev'", "all layouts compute the same")
        self.assertNotIn("dp2", self.rows(done))
        self.assertTrue({"tp2", "cp2", "pp2"} <= set(self.rows(done)), done)
        done = self.check(orthant("verify", "layout", config, "--ranks", "2", *self.DENSE, "batch.sequence_length=30"), 0,
                          "left out: layout 'cp2'", "28 or 32 do (batch.sequence_length)", "all layouts compute the same")
        self.assertTrue({"dp2", "tp2"} <= set(self.rows(done)) and "cp2" not in self.rows(done), done)

    def test_all_that_were_named_and_do_not_fit_are_refused_at_once(self):
        config = self.config(precision="fp64")
        refused = self.check(orthant("verify", "layout", config, "--layouts", "dp2,tp2,dp4,dp3", *self.DENSE, "batch.global_batch_size=9",
                                     "batch.micro_batch_size=3"), 64, "layout 'dp2'", "the nearest batches: 6 or 12", "layout 'dp4'")
        self.assertNotIn("'tp2'", refused.err)
        self.assertNotIn("'dp3'", refused.err)
        self.assertEqual(refused.out, "")
        self.check(orthant("verify", "layout", config, *self.DENSE, "batch.global_batch_size=5"), 64,
                   "5 is no multiple of micro_batch_size 2; the nearest: 4 or 6")

    def test_the_file_s_own_layout_does_not_matter(self):
        config = self.config(precision="fp64")
        self.check(orthant("verify", "layout", config, "--layouts", "dp2", *self.DENSE, "parallel.pipeline_parallel_size=2",
                           "parallel.pipeline_layers=[1,1]", "batch.ramp_start=2", "batch.ramp_increment=2", "batch.ramp_samples=100"), 0)
        # Three micro-batches: none for two data-parallel ranks, which this job of two ranks is not.
        self.check(orthant("verify", "layout", config, "--layouts", "tp2", *self.DENSE, "batch.global_batch_size=6", ranks=2), 0)

    def test_a_batch_that_follows_the_layout_is_made_the_same_for_all(self):
        config = self.config(precision="fp64")
        done = self.check(orthant("verify", "layout", config, "--layouts", "dp2,dp3,tp2", *self.DENSE, "batch.global_batch_size=0"), 0)
        self.assertEqual(self.rows(done), ["dp2", "dp3", "tp2"])


class ExpertRanks(CliTest):
    FIELDS = ["lm_loss", "balance_loss", "grad_norm"]

    def close(self, run, oracle):
        for got, want in zip(self.metrics(run), self.metrics(oracle), strict=True):
            for field in self.FIELDS:
                self.assertAlmostEqual(got[field], want[field], delta=1e-9 * abs(want[field]) + 1e-15, msg=f"step {got['step']} {field}")

    def test_a_run_goes_on_with_its_experts_elsewhere(self):
        config = self.config(precision="fp64")
        self.check(orthant("pretrain", config, f"run.dir={self.dir}/oracle"), 0)
        ep2, ep4 = "parallel.expert_parallel_size=2", "parallel.expert_parallel_size=4"
        self.check(orthant("pretrain", config, "run.max_steps=2", ep2, ranks=2), 0)
        self.check(orthant("pretrain", config, "run.max_steps=4", ep4, ranks=4), 0, "resuming from step 2")
        self.check(orthant("pretrain", config, "run.max_steps=6", ep2, "parallel.expert_tensor_parallel_size=2", ranks=4), 0, "resuming from step 4")
        self.check(orthant("pretrain", config), 0, "resuming from step 6")
        self.close("run", "oracle")

    def test_samples_and_evaluation_with_experts_on_two_ranks(self):
        config = self.config(precision="fp64")
        more = ["evaluation.interval=4", "generation.samples=1", "generation.max_new_tokens=8", "generation.prompt=The"]
        self.check(orthant("pretrain", config, f"run.dir={self.dir}/oracle", *more), 0, "sample: The")
        self.check(orthant("pretrain", config, "parallel.expert_parallel_size=2", *more, ranks=2), 0, "sample: The")
        self.close("run", "oracle")
        losses = [self.metrics(run)[-1]["validation_loss"] for run in ["run", "oracle"]]
        self.assertAlmostEqual(losses[0], losses[1], delta=1e-9)
        text = orthant("generate", f"{self.dir}/run", "--prompt", "The", "--max-new-tokens", "8")
        self.assertEqual(text.code, 0, text)

    def test_sizes_that_do_not_fit_are_refused_with_the_arithmetic(self):
        config = self.config()
        self.check(orthant("pretrain", config, "parallel.expert_parallel_size=3", ranks=2), 64, "3", "does not divide 2 ranks")
        self.check(orthant("pretrain", config, "parallel.ep=2"), 64, "parallel.expert_parallel_size: 2 does not divide 1 rank;", "orthant launch -n 2")
        refused = self.check(orthant("pretrain", config, "parallel.etp=5"), 64, "parallel.expert_tensor_parallel_size: 5 does not divide 1 rank;")
        self.assertNotIn("expert_parallel_size", refused.err.replace("expert_tensor_parallel_size", ""))
        self.check(orthant("pretrain", config, "parallel.expert_parallel_size=2", "model.n_routed_experts=5", ranks=2), 64,
                   "does not divide model.n_routed_experts 5", "it can be 1")
        dense = ["model.n_routed_experts=0", "model.n_shared_experts=0", "model.num_experts_per_tok=0"]
        self.check(orthant("pretrain", config, "parallel.expert_parallel_size=2", *dense, ranks=2), 64, "no experts")


if __name__ == "__main__":
    unittest.main()
