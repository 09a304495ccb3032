#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""orthant inspect data: what a user sees of the conversations of a configuration."""
import json
import os
import pty
import subprocess
import unittest

from harness import ROOT, CliTest, command, environment, orthant

STORIES = ROOT / "tests/data/stories260k"
TEMPLATES = ROOT / "tests/golden/chat_templates/templates"


class InspectData(CliTest):
    def setUp(self):
        super().setUp()
        chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
        self.rows = [{"messages": chat}, {"instruction": "Add 1 and 2", "output": "3"}, {"prompt": "Once ", "completion": "upon a time"}] * 8
        self.write_rows()
        (self.dir / "f.yaml").write_text(f"model: {{from: {STORIES}}}\nrun: {{dir: {self.dir}/run, max_steps: 2}}\n"
                                         f"batch: {{micro_batch_size: 2, global_batch_size: 4}}\ndata: {{train: [{{path: {self.dir}/rows.jsonl}}]}}\n"
                                         f"finetune: {{chat_template: {TEMPLATES}/smollm2.jinja}}\n")

    def write_rows(self, *more):
        (self.dir / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in self.rows) + "".join(more))

    def inspect(self, *arguments):
        return orthant("inspect", "data", self.dir / "f.yaml", *arguments)

    def test_shows_rows_and_counts(self):
        result = self.check(self.inspect("--rows", 3), 0, "conversations  24", "examples", "trained (", "filled", "longest")
        self.assertIn("rows.jsonl:1: ", result.out)
        self.assertIn("assistant\n[[Hello!<|im_end|>\n]]", result.out)
        self.assertIn("Once [[upon a time]]", result.out)
        self.assertIn("rows.jsonl:3: ", result.out)
        self.assertNotIn("rows.jsonl:4: ", result.out.split("conversations")[0])
        self.assertFalse((self.dir / "run").exists())

    def test_shows_one_line(self):
        result = self.check(self.inspect("--line", f"{self.dir}/rows.jsonl:2"), 0, "rows.jsonl:2: ")
        self.assertIn("[[3<|im_end|>", result.out)
        self.assertNotIn("conversations", result.out)
        self.check(self.inspect("--line", f"{self.dir}/rows.jsonl:99"), 65, "no row at line 99")
        self.check(self.inspect("--line", f"{self.dir}/none.jsonl:1"), 66, "none.jsonl")
        self.check(self.inspect("--line", "rows"), 2, "FILE:LINE")

    def test_counts_what_is_left_out(self):
        self.write_rows("{]\n", '{"messages": []}\n', json.dumps({"instruction": "q", "output": "long " * 2000}) + "\n")
        result = self.check(self.inspect("--rows", 0), 0, "not JSON: 1, left out", "malformed: 1, left out", "too long: 1, left out")
        self.assertIn("rows.jsonl:25: ", result.out)
        result = self.check(self.inspect("--line", f"{self.dir}/rows.jsonl:26"), 0, "left out: malformed: messages: want a list")

    def test_colours_on_a_terminal_alone(self):
        for no_color in ["", "1"]:
            leader, follower = pty.openpty()
            done = subprocess.run(command(["inspect", "data", self.dir / "f.yaml", "--line", f"{self.dir}/rows.jsonl:1"]), stdout=follower,
                                  stderr=subprocess.DEVNULL, env=environment(NO_COLOR=no_color, TERM="xterm"))
            os.close(follower)
            text = b""
            try:  # until nobody holds the other end
                while piece := os.read(leader, 65536):
                    text += piece
            except OSError:
                pass
            text = text.decode()
            os.close(leader)
            self.assertEqual(done.returncode, 0)
            self.assertEqual("\033[1;32mHello!" in text, not no_color)
            self.assertEqual("[[Hello!" in text, bool(no_color))

    def test_wrong_configurations(self):
        self.check(self.inspect("finetune.loss_on=none"), 64, "finetune.loss_on", "last_turn")
        self.check(self.inspect("data.train.0.format=text"), 64, "format text is for orthant pretrain")
        self.check(self.inspect("finetune.chat_template=no.jinja"), 66, "no.jinja")
        self.check(self.inspect("batch.sequence_length=3"), 65, "no example to train on", "too long")
        self.check(self.inspect("model.from="), 64, "model.from")


if __name__ == "__main__":
    unittest.main(verbosity=2)
