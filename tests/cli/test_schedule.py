# SPDX-License-Identifier: Apache-2.0
"""orthant inspect schedule: timelines, bubbles and activations of pipeline schedules."""
import json
import unittest
import xml.etree.ElementTree

from harness import CliTest, orthant

SCHEDULES = ["gpipe", "1f1b", "interleaved", "zb_h1", "dualpipev"]


class Schedule(CliTest):
    def test_timeline_and_table(self):
        done = self.check(orthant("inspect", "schedule", "1f1b", "zb_h1"), 0, "1f1b: 33, bubble 27.3 %", "zb_h1: 27, bubble 11.1 %")
        self.assertIn("rank 3   ......F0B0F1B1F2B2F3B3W0F4B4W1F5B5W2F6B6W3F7B7W4W5W6W7............\n", done.out)
        self.assertIn("0            24          3     11.1%            4             1\n", done.out)
        self.assertTrue(all(len(line) <= 100 for line in done.out.splitlines()))

    def test_every_schedule_fits_its_terminal(self):
        for columns in [40, 100]:
            done = self.check(orthant("inspect", "schedule", *SCHEDULES, "--micro-batches", 12, "--columns", columns), 0, *SCHEDULES)
            lines = [line for line in done.out.splitlines() if line.startswith("rank ") and "busy" not in line]
            self.assertEqual(len(lines), 4 * len(SCHEDULES))
            self.assertTrue(all(len(line) <= columns for line in lines), lines)

    def test_costs_are_of_a_rank(self):
        for chunks in [2, 4]:  # the same work: 8 x 4 a rank; the bubble is 3 x 4 / chunks
            self.check(orthant("inspect", "schedule", "interleaved", "--chunks", chunks, "--costs", "1,2,1"), 0, f"interleaved: {32 + 12 // chunks},")
        slow = orthant("inspect", "schedule", "gpipe", "--costs", "1,1,1,0.5")
        self.check(slow, 0, "gpipe: 36,")  # three messages up, three down

    def test_picture(self):
        self.check(orthant("inspect", "schedule", "gpipe", "zb_h1", "--svg", self.dir / "a.svg"), 0)
        root = xml.etree.ElementTree.parse(self.dir / "a.svg").getroot()
        self.assertTrue(root.tag.endswith("svg"))
        self.assertEqual(len(root.findall('.//{*}path')), 4 * (16 + 24))
        self.check(orthant("inspect", "schedule", "gpipe", "--svg", self.dir / "no/a.svg"), 73, "no/a.svg")

    def test_refusals(self):
        self.check(orthant("inspect", "schedule", "dualpipev", "--micro-batches", 7), 64, "at least 8 micro-batches")
        self.check(orthant("inspect", "schedule", "pipedream"), 64, "pipedream", "zb_h1")
        self.check(orthant("inspect", "schedule", "gpipe", "--costs", "1,2"), 2, "--costs")
        self.check(orthant("inspect", "schedule", "gpipe", "--ranks", 0), 2, "--ranks")
        self.check(orthant("inspect", "schedule", "--help"), 0, "--micro-batches", "dualpipev", "idle")


class Measured(CliTest):
    def test_a_run_leaves_its_timeline(self):
        layout = ["parallel.pipeline_parallel_size=2", "parallel.pipeline_schedule=zb_h1"]
        self.check(orthant("pretrain", self.config(), "run.max_steps=3", *layout, ranks=2), 0, "pipeline: zb_h1, 2 stages of 1, 1 layers, balanced")
        record = json.loads((self.dir / "run/pipeline.json").read_text())
        self.assertEqual([record["step"], record["schedule"], record["ranks"], record["micro_batches"]], [3, "zb_h1", 2, 4])
        self.assertEqual(len(record["spans"]), 2)
        for spans in record["spans"]:  # computations of a rank follow each other
            computed = [span for span in spans if span["action"] in ("forward", "backward_input", "backward_weight")]
            self.assertEqual(len(computed), 12)
            self.assertTrue(all(a["end"] <= b["start"] for a, b in zip(computed, computed[1:])))
            self.assertTrue(all(span["start"] < span["end"] for span in computed))
        # A stage begins when its input is there: both clocks began at one time.
        start = [{(s["action"], s["micro_batch"]): s["start"] for s in spans} for spans in record["spans"]]
        self.assertTrue(all(start[0]["forward", m] < start[1]["forward", m] for m in range(4)))
        done = self.check(orthant("inspect", "schedule", self.dir / "run", "--svg", self.dir / "a.svg"), 0,
                          "predicted: zb_h1, step 3", "measured: zb_h1, step 3", "points apart")
        self.assertLess(done.out.index("predicted: zb_h1"), done.out.index("measured: zb_h1"))
        root = xml.etree.ElementTree.parse(self.dir / "a.svg").getroot()
        self.assertEqual(len(root.findall('.//{*}path')), 2 * 2 * 12)
        report = (self.dir / "run/report.html").read_text()
        self.assertIn("measured: zb_h1, step 3", report)
        self.assertIn("points apart", report)
        self.check(orthant("inspect", "schedule", self.dir / "run", "gpipe"), 2, "no common scale")
        self.broken_records(record)

    def broken_records(self, record):
        path = self.dir / "run/pipeline.json"
        path.write_text(json.dumps({**record, "micro_batches": 3}))
        self.check(orthant("inspect", "schedule", self.dir / "run"), 65, "pipeline.json", "spans, got")
        record["spans"][1][0]["stage"] = 0
        path.write_text(json.dumps(record))
        self.check(orthant("inspect", "schedule", self.dir / "run"), 65, "want recv_forward of stage 1, micro-batch 0, got")
        path.write_text("{")
        self.check(orthant("inspect", "schedule", self.dir / "run"), 65, "pipeline.json")
        path.unlink()
        self.check(orthant("inspect", "schedule", self.dir / "run"), 66, "pipeline.json", "pipeline_parallel_size")


if __name__ == "__main__":
    unittest.main()
