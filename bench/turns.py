# SPDX-License-Identifier: Apache-2.0
"""Programs that stay up and take turns, so that a slow phase of the machine meets all: each answers a line on stdin with
a line that begins with the seconds that it took.  OMP_NUM_THREADS: 2 where it is not set."""
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Program:
    def __init__(self, name, command):
        self.name = name
        env = dict(os.environ, OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "2"))
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env)

    def seconds(self, line="step"):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name}: ended with {self.process.wait()}")
        return float(answer.split()[0])

    def peak_mib(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
        return 0.0

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def take_turns(programs, turns):
    """Rows of the seconds of steps, a column for each program; two steps of each come before."""
    for program in programs:
        for _ in range(2):
            program.seconds()
    return [[program.seconds() for program in programs] for _ in range(turns)]
