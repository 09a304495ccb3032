#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Planted breaches of the collective contract between real processes: each is reported by name before its time is up, nothing
hangs, and nothing stays behind in /dev/shm.   ORTHANT_BIN=bin/orthant CONTRACT_BIN=bin/mpi_contract tests/mpi/test_contract.py"""
import glob
import os
import re
import subprocess
import sys
import time

# mpirun's own start and end, on a busy machine.
MARGIN_SECONDS = 15
SITE = r"mpi/contract_mpi_main\.cpp:\d+"
# Rank 1 of 3 is the odd one.  case, deadline, must end within, exit codes, what the report says
BOTH = "rank 0 calls {}.* at " + SITE + ".*rank 1 calls {}.* at " + SITE
CASES = [
    ("nothing", 20, 20, [0], ["^ok$"]),
    ("operation", 20, 5, [76], ["about the operation: " + BOTH.format("all_reduce", "barrier")]),
    ("dtype", 20, 5, [76], ["about the dtype: " + BOTH.format("all_reduce .* f32", "all_reduce .* f64")]),
    ("count", 20, 5, [76], ["about the number of elements: " + BOTH.format("all_reduce .* 8 e", "all_reduce .* 9 e")]),
    ("step", 20, 5, [76], [r"about the step: .*\(step 7\).*\(step 8\)"]),
    ("rows", 20, 5, [76], [r"rows that rank 0 sends \(2\) and rank 1 expects of it \(3\).*" + BOTH.format("all_to_all", "all_to_all")]),
    ("skipped", 20, 5, [76], ["about the call site: " + BOTH.format("all_reduce", "all_reduce")]),
    ("crossed", 20, 8, [76], ["waits in vain", "waits for this rank, .* in all_reduce on group [ab] at " + SITE, "different orders"]),
    ("crossed unchecked", 20, 8, [76], ["waits for this rank, .* in all_reduce on group [ab] at " + SITE, "different orders"]),
    ("computes", 2, 2, [76], [r"barrier on group world: waited 2(\.\d)? s for rank 1 ",
                              "rank 1 has been in its own code for .* last it called barrier .*; its process \\d+ is running"]),
    ("late", 4, 6, [0], ["barrier on group world: has waited 1(\\.\\d)? s for rank 1", "rank 1 came after", "^ok$"]),
    ("killed", 20, 8, None, [r"rank 1.*(is dead|signal 9|Killed)|rank 1 with PID .* exited on signal 9"]),
    ("stopped", 3, 3, [76], [r"barrier on group world: waited 3(\.\d)? s for rank 1 ", r"rank 1 .*; its process \d+ is stopped"]),
    ("threw", 20, 5, [78], ["r1.*no room for 12 GiB"]),
    ("left", 20, 5, [76], ["rank 1 failed: corpus.bin: bad magic"]),
    ("left unchecked", 20, 5, [76], ["rank 1 failed: corpus.bin: bad magic|rank 1 is in .*the end|rank [02] is in barrier"]),
    ("ended", 20, 5, [76], ["about the operation: " + BOTH.format("barrier", "finalize")]),
    ("ended unchecked", 20, 5, [76], ["rank [02], but rank 1 is in .*the end|rank 1, but rank [02] is in barrier"]),
    ("unreceived", 2, 3, [76], [r"(send|barrier) on group world: waited 2(\.\d)? s",
                                "rank 1 has waited .* for rank 0 in send on group world at " + SITE]),
    ("unsent", 2, 3, [76], [r"recv on group world: waited 2(\.\d)? s for rank 0|barrier on group world: waited 2(\.\d)? s for rank 1"]),
    ("message", 20, 5, [76], ["disagree on a message about the (size|dtype).*rank 0 calls recv.*rank 1 calls send"]),
]


def shared_memory():
    return set(glob.glob("/dev/shm/orthant*"))


def run(case, deadline, limit):
    name, *mode = case.split()
    command = [os.environ["ORTHANT_BIN"], "launch", "-n", "3", "--program", os.environ["CONTRACT_BIN"], "--", name, str(deadline)] + mode
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        text, _ = process.communicate(timeout=limit + MARGIN_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        return None, "hangs", limit
    return process.returncode, text, time.monotonic() - start


def main():
    chosen = [c for c in CASES if len(sys.argv) < 2 or c[0] in sys.argv[1:]]
    caught = 0
    before = shared_memory()
    for case, deadline, limit, codes, patterns in chosen:
        code, text, seconds = run(case, deadline, limit)
        faults = [] if code is not None and (code in codes if codes else code != 0) else [f"exit code {code}"]
        faults += [f"no '{p}'" for p in patterns if not re.search(p, text, re.MULTILINE)]
        if "waits in vain" in text and "parallel.timeout_seconds" in text:
            faults.append("advises to wait longer, in vain")
        left = shared_memory() - before
        faults += [f"left behind: {left}"] if left else []
        caught += not faults
        print(f"{case:18} {seconds:5.1f} s  " + ("ok" if not faults else "; ".join(faults) + "\n" + text))
    print(f"contract, processes: caught {caught} of {len(chosen)}")
    return caught != len(chosen)


if __name__ == "__main__":
    sys.exit(main())
