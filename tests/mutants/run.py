#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plants bugs, one at a time, and shows that tests catch each of them.

    tests/mutants/run.py [--tree DIR] [NAME...]

A mutant (mutants.py) replaces one text in one file.  Each is built and tested in a copy of the tree; a mutant whose text is
no longer there is an error of the list.  Prints caught/planted; exits with 1 when one survives.  Slow: not part of tests/run.sh.
"""
import argparse
import filecmp
import os
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/mutants"))
from mutants import MUTANTS  # noqa: E402


def run(command, cwd, timeout):
    try:
        return subprocess.run(command, cwd=cwd, timeout=timeout, capture_output=True, text=True, errors="replace",
                              env={**os.environ, "OMP_NUM_THREADS": "1"})
    except subprocess.TimeoutExpired:
        return None  # a hang counts as noticed: tests have deadlines


def copy_tree(tree):
    """What git knows or would add; files that are equal stay untouched, so that little is built again."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True)
    names = {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    for old in tree.rglob("*"):
        name = old.relative_to(tree)
        if name.parts[0] != "build" and old.is_file() and str(name) not in names:
            old.unlink()
    for name in names:
        source, target = ROOT / name, tree / name
        if target.is_file() and filecmp.cmp(source, target, shallow=False):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def build(tree, target):
    done = run(["ninja", "-C", "build", target], tree, 1800)
    return done is not None and done.returncode == 0, "" if done is None else done.stdout[-2000:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="mutants to plant; all without")
    parser.add_argument("--tree", default="/tmp/orthant-mutants", help="where the copy of the tree is kept")
    options = parser.parse_args()
    chosen = [m for m in MUTANTS if not options.names or m.name in options.names]
    stale = [m for m in chosen if (ROOT / m.file).read_text().count(m.old) != 1]
    for m in stale:
        print(f"{m.name}: its text stands {(ROOT / m.file).read_text().count(m.old)} times in {m.file}, want once")
    if stale:
        sys.exit(1)
    tree = pathlib.Path(options.tree)
    tree.mkdir(parents=True, exist_ok=True)
    copy_tree(tree)
    subprocess.run(["cmake", "-S", ".", "-B", "build", "-G", "Ninja", "-DORTHANT_CUDA=OFF"], cwd=tree, check=True, stdout=subprocess.DEVNULL)
    for target in sorted({m.target for m in chosen}):
        ok, text = build(tree, target)
        if not ok:
            sys.exit(f"the tree without mutants does not build {target}:\n{text}")
    for test in sorted({(m.target, m.filter) for m in chosen}):
        done = run([f"build/bin/{test[0]}", f"--gtest_filter={test[1]}", "--gtest_brief=1"], tree, 300)
        if done is None or done.returncode != 0:
            sys.exit(f"without mutants {test} fails:\n{done and done.stdout[-2000:]}")
    caught = 0
    for mutant in chosen:
        path = tree / mutant.file
        original = path.read_text()
        begin = time.time()
        path.write_text(original.replace(mutant.old, mutant.new))
        try:
            ok, text = build(tree, mutant.target)
            if not ok:
                print(f"NO BUILD  {mutant.name}\n{text}", flush=True)
                continue
            done = run([f"build/bin/{mutant.target}", f"--gtest_filter={mutant.filter}", "--gtest_brief=1"], tree, 300)
        finally:
            path.write_text(original)
        noticed = done is None or done.returncode != 0
        caught += noticed
        print(f"{'caught' if noticed else 'SURVIVED':9} {mutant.name}  ({time.time() - begin:.0f} s)", flush=True)
    print(f"caught/planted: {caught}/{len(chosen)}")
    sys.exit(0 if caught == len(chosen) else 1)


if __name__ == "__main__":
    main()
