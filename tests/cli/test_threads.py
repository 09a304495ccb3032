# SPDX-License-Identifier: Apache-2.0
"""Where the system gives no more threads: a run goes on with fewer, or says what it lacks; nothing aborts."""
import os
import pathlib
import resource
import shutil
import subprocess
import tempfile
import unittest

import harness
from harness import CliTest, Result, environment

NOBODY = 65534


def limited(threads, *arguments):
    """The program as a user who may have so many processes and threads; root has no limit, so it becomes somebody else."""
    def limit():
        resource.setrlimit(resource.RLIMIT_NPROC, (threads, threads))
        if os.getuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
    done = subprocess.run([harness.BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
                          env=environment(OMP_NUM_THREADS="4"), preexec_fn=limit, cwd="/")
    return Result(done)


class Threads(CliTest):
    def setUp(self):
        super().setUp()
        if os.getuid() != 0:
            self.skipTest("other processes of this user would count")
        # What nobody may read and write.
        folder = pathlib.Path(tempfile.mkdtemp(prefix="orthant-program-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        old, harness.BINARY = harness.BINARY, shutil.copy(harness.BINARY, folder / "orthant")
        self.addCleanup(setattr, harness, "BINARY", old)
        self.dir.chmod(0o777)

    def test_no_number_of_threads_ends_in_an_abort(self):
        config = self.config()
        codes, said = [], ""
        for threads in range(1, 9):
            result = limited(threads, "pretrain", config, "run.max_steps=1", f"run.dir={self.dir}/run-{threads}")
            codes.append(result.code)
            said += result.err
            self.assertIn(result.code, (0, 69), result)
            if result.code:
                self.assertRegex(result.err, "error: .*: cannot start a thread: .*; the system limits them", result)
        self.assertEqual((codes[0], codes[-1]), (69, 0), codes)
        self.assertRegex(said, r"warning: going on with \d of 4 threads, slower: cannot start a thread")
        self.assertIn("warning: checkpoints are written while training waits: cannot start a thread", said)
        self.assertIn("HDF5: cannot start a thread", said)
        self.assertIn("reading data ahead: cannot start a thread", said)

    def test_ranks_that_are_threads_all_start_or_none(self):
        result = limited(3, "verify", "layout", self.config(), "--ranks", "4", "--layouts", "dp4", "--steps", "1")
        self.check(result, 69, "cannot start a thread")


if __name__ == "__main__":
    unittest.main()
