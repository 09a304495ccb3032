# SPDX-License-Identifier: Apache-2.0
"""orthant inspect schedule: timelines, bubbles and activations of pipeline schedules."""
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


if __name__ == "__main__":
    unittest.main()
