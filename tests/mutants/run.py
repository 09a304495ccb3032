#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plants bugs, one at a time, and shows that tests catch each of them.

    tests/mutants/run.py --check [--fix]                  every bug's place is found once; nothing is built
    tests/mutants/run.py [--only PATTERN]... [--since REV] [--jobs N] [--minutes M] [--tree DIR]

A planted bug (bugs_*.py) replaces a text in a function, wherever that function stands (anchors.py).  --check says which
entries have lost their place, and what is nearest; --fix writes the function where the text stands now into the entries
whose text stands in one place only.  Bugs are planted one after the other in a copy of the tree that is built again in
parts; those of one file follow each other.  Prints caught/planted; exits with 1 when one survives, does not build, has no
place or no test that passes without it, or was not tried for want of time.  Slow: not part of tests/run.sh, where --check is.
"""
import argparse
import filecmp
import fnmatch
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/mutants"))
from anchors import Tree  # noqa: E402
from mutants import FILES, MUTANTS  # noqa: E402

SCRIPTS = {"orthant": "tests/cli", "mpi_second_loop": "tests/mpi"}  # programs that scripts test: where these stand


def run(command, cwd, timeout):
    try:
        return subprocess.run(command, cwd=cwd, timeout=timeout, capture_output=True, text=True, errors="replace",
                              env={**os.environ, "OMP_NUM_THREADS": "1", "ORTHANT_ROOT": str(cwd), "ORTHANT_BIN": f"{cwd}/build/bin/orthant",
                                   "SECOND_LOOP_BIN": f"{cwd}/build/bin/mpi_second_loop",
                                   "PYTHONDONTWRITEBYTECODE": "1"})
    except subprocess.TimeoutExpired:
        return None  # a hang counts as noticed: tests have deadlines


def test_command(target, filter):
    """What shows the bug: a test program's filter, or for a program that a script runs "SCRIPT TEST..."."""
    if target in SCRIPTS:
        script, *tests = filter.split()
        return [sys.executable, f"{SCRIPTS[target]}/{script}", *tests]
    return [f"build/bin/{target}", f"--gtest_filter={filter}", "--gtest_brief=1"]


class Plantation:
    """A copy of the tree with a build of its own."""

    def __init__(self, folder, build_jobs):
        self.folder, self.build_jobs = pathlib.Path(folder), build_jobs
        self.passing = set()  # (target, filter): tests that pass without bugs
        self.folder.mkdir(parents=True, exist_ok=True)

    def copy_tree(self):
        """What git knows or would add; files that are equal stay untouched, so that little is built again."""
        listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True)
        names = {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
        for old in self.folder.rglob("*"):
            name = old.relative_to(self.folder)
            if name.parts[0] != "build" and old.is_file() and str(name) not in names:
                old.unlink()
        for name in names:
            source, target = ROOT / name, self.folder / name
            if target.is_file() and filecmp.cmp(source, target, shallow=False):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)

    def build(self, *targets):
        done = run(["ninja", "-C", "build", "-j", str(self.build_jobs), *targets], self.folder, 3600)
        return done is not None and done.returncode == 0, "" if done is None else done.stdout[-2000:]

    def test(self, mutant):
        return run(test_command(mutant.target, mutant.filter), self.folder, 300)

    def prepare(self, chosen):
        """"" when the tree without bugs builds; says which tests fail without bugs: they can notice none."""
        self.copy_tree()
        subprocess.run(["cmake", "-S", ".", "-B", "build", "-G", "Ninja", "-DORTHANT_TESTS=ON", "-DORTHANT_CUDA=OFF"],
                       cwd=self.folder, check=True, stdout=subprocess.DEVNULL)
        ok, text = self.build(*sorted({m.target for m in chosen}))
        if not ok:
            return f"the tree without planted bugs does not build:\n{text}"
        for target, filter in sorted({(m.target, m.filter) for m in chosen}):
            done = run(test_command(target, filter), self.folder, 600)
            if done is None or done.returncode != 0:
                print(f"without planted bugs {target} {filter} fails:\n{done and (done.stdout + done.stderr)[-2000:]}", flush=True)
            elif "] 0 tests from" in done.stdout:
                print(f"{target}: no test is called {filter}", flush=True)
            else:
                self.passing.add((target, filter))
        return ""

    def plant(self, mutant, place):
        """(verdict, more)."""
        if (mutant.target, mutant.filter) not in self.passing:
            return "NO TEST", ""
        path = self.folder / place.file
        original = path.read_text()
        path.write_text(original[:place.begin] + mutant.new.strip("\n") + original[place.end:])
        try:
            ok, text = self.build(mutant.target)
            if not ok:
                return "NO BUILD", text
            done = self.test(mutant)
        finally:
            path.write_text(original)
        return ("caught" if done is None or done.returncode != 0 else "SURVIVED"), ""


def rename(old, new):
    """True where the text stands once, in one of the lists, which then has the new one."""
    having = [(path, text) for path in FILES if (text := path.read_text()).count(old)]
    if len(having) != 1 or having[0][1].count(old) != 1:
        return False
    having[0][0].write_text(having[0][1].replace(old, new))
    return True


def find_places(mutants, fix):
    """{name: place}; says which have none."""
    tree, places = Tree(ROOT), {}
    for mutant in mutants:
        place, fault = tree.find(mutant.where, mutant.old)
        moved = None if place or not fix else tree.moved_to(mutant.where, mutant.old)
        if moved and rename(f'"{mutant.name}", "{mutant.where}"', f'"{mutant.name}", "{moved.symbol}"'):
            place, fault = moved, ""
            print(f"FIXED     {mutant.name}: {mutant.where} -> {moved.symbol} ({moved.file})")
        if place:
            places[mutant.name] = place
        else:
            print(f"STALE     {mutant.name}: {fault}\n          wanted: {mutant.old.strip()}")
    return places


def since(places, revision):
    """The names of the bugs in files that have changed."""
    changed = subprocess.run(["git", "diff", "--name-only", revision, "--"], cwd=ROOT, check=True, capture_output=True, text=True)
    files = set(changed.stdout.splitlines())
    return {name for name, place in places.items() if place.file in files}


def plant_all(chosen, places, options):
    """{name: verdict}, by as many trees as there are jobs, each with its share of the cores."""
    verdicts, print_lock, left = {}, threading.Lock(), queue.Queue()
    by_file = {}
    for mutant in chosen:
        by_file.setdefault(places[mutant.name].file, []).append(mutant)
    for group in sorted(by_file.values(), key=len, reverse=True):
        left.put(group)
    end = time.time() + options.minutes * 60

    def work(number):
        tree = Plantation(pathlib.Path(options.tree) / str(number), max(1, (os.cpu_count() or 1) // options.jobs))
        fault = tree.prepare(chosen)
        if fault:
            with print_lock:
                print(fault, flush=True)
            return
        while True:
            try:
                group = left.get_nowait()
            except queue.Empty:
                return
            for mutant in group:
                if time.time() > end:
                    return
                begin = time.time()
                verdict, more = tree.plant(mutant, places[mutant.name])
                verdicts[mutant.name] = verdict
                with print_lock:
                    print(f"{verdict:9} {mutant.name}  ({time.time() - begin:.0f} s)", *([more] if more else []), flush=True)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(options.jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return verdicts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only look whether every bug has its place")
    parser.add_argument("--fix", action="store_true", help="with --check: follow texts that moved to another function")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="bugs by name, place or test program, as *norm*")
    parser.add_argument("--since", metavar="REV", help="bugs in files that differ from this commit")
    parser.add_argument("--jobs", type=int, default=1, help="trees that are worked on side by side")
    parser.add_argument("--minutes", type=float, default=1e6, help="plant no more once so long at it")
    parser.add_argument("--tree", default="/tmp/orthant-mutants", help="where the copies of the tree are kept")
    options = parser.parse_args()
    names = [m.name for m in MUTANTS]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        sys.exit(f"tests/mutants: two bugs are called {twice[0]}")
    is_meant = lambda m: not options.only or any(fnmatch.fnmatch(text, p) for p in options.only for text in (m.name, m.where, m.target))
    chosen = [m for m in MUTANTS if is_meant(m)]
    places = find_places(chosen, options.fix)
    stale = len(chosen) - len(places)
    if options.check or stale:
        print(f"planted bugs with a place: {len(places)}/{len(chosen)}")
        sys.exit(1 if stale else 0)
    if options.since:
        wanted = since(places, options.since)
        chosen = [m for m in chosen if m.name in wanted]
    verdicts = plant_all(chosen, places, options) if chosen else {}
    untried = [m.name for m in chosen if m.name not in verdicts]
    for name in untried:
        print(f"not tried {name}")
    caught = sum(verdict == "caught" for verdict in verdicts.values())
    print(f"caught/planted: {caught}/{len(chosen)}" + (f", {len(untried)} not tried" if untried else ""))
    sys.exit(0 if caught == len(chosen) else 1)


if __name__ == "__main__":
    main()
