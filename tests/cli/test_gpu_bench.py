# SPDX-License-Identifier: Apache-2.0
"""bench/gpu/run.sh, with the CPU in disguise as the device: its steps run, and it says what is wrong."""
import os
import pathlib
import subprocess
import unittest

from harness import BINARY, ROOT, CliTest

BUILD = pathlib.Path(BINARY).parent.parent


class GpuBench(CliTest):
    def bench(self, *arguments, build=BUILD, **env):
        """Exit code, and the results by step: 'PASS', 'FAIL', 'SKIP' or 'NOT RUN', and what the table says."""
        done = subprocess.run([ROOT / "bench/gpu/run.sh", "--check", "--small", "--output", self.dir / "out", *arguments, build],
                              capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
                              env={**os.environ, "OMP_NUM_THREADS": "1", "ORTHANT_GPU_REHEARSAL": "1", **env})
        self.said = done.stdout + done.stderr
        rows = {}
        for line in (self.dir / "out/table.txt").read_text().splitlines()[1:-1]:
            rows[line[:12].strip()] = (line[13:21].strip(), line[35:].strip())
        return done.returncode, rows

    def programs(self):
        """A build folder whose programs can be replaced."""
        bin_folder = self.dir / "build/bin"
        bin_folder.mkdir(parents=True)
        for path in (BUILD / "bin").iterdir():
            (bin_folder / path.name).symlink_to(path)
        return bin_folder

    def test_every_step_runs(self):
        code, rows = self.bench()
        self.assertEqual(code, 0, self.said)
        for step in "environment conformance engine quickstart ranks2 ranks4 resume".split():
            self.assertEqual(rows[step][0], "PASS", self.said)
        for step in "nccl1 nccl2 sanitizer".split():
            self.assertIn(rows[step][0], ("PASS", "SKIP"), self.said)
        self.assertRegex(rows["conformance"][1], r"^\d+ cases of \d+ tests$")

    def test_a_step_that_fails_stops_no_other(self):
        wrong = self.programs() / "test_gpu"
        wrong.unlink()
        wrong.write_text("#!/bin/sh\necho '[ RUN      ] Models/GpuEngine.Fp64EqualsTheCpu/moe'\n"
                         "echo '  worst gradients: 3e-05 in w'\necho '  worst gradients: 1e-12 in w'\nexit 1\n")
        wrong.chmod(0o755)
        code, rows = self.bench("--only", "engine,resume", build=self.dir / "build")
        self.assertEqual(code, 1, self.said)
        self.assertEqual(rows["engine"][0], "FAIL")
        self.assertIn("gradients 3.0e-05", rows["engine"][1])
        self.assertEqual(rows["resume"][0], "PASS", self.said)

    def test_no_time_left_is_said(self):
        code, rows = self.bench("--seconds", "1")
        self.assertEqual(code, 0, self.said)
        self.assertEqual({result for result, _ in rows.values()}, {"NOT RUN"}, self.said)

    def test_without_a_device_the_rest_runs_on_the_cpu(self):
        code, rows = self.bench("--only", "environment,engine,ranks2", ORTHANT_GPU_REHEARSAL="")
        if rows["engine"][0] != "SKIP":
            self.skipTest("a device is here")
        self.assertEqual(code, 0, self.said)
        self.assertIn("no device", rows["environment"][1])
        self.assertEqual(rows["ranks2"][0], "PASS", self.said)


if __name__ == "__main__":
    unittest.main()
