#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails on a shell script without `set -euo pipefail`, and on a pipeline whose reader may leave early.

  check_scripts.py ROOT

`producer | grep -q WORD`: grep leaves at the first match, the producer dies of SIGPIPE when it writes on, and pipefail makes
the pipeline fail though the word was there; sometimes.  Take `grep -q WORD <<<"$(producer)"`, or a file.
"""
import pathlib
import re
import sys

SKIPPED = re.compile(r"^(build.*|runs|corpora|\.git|\.venv|node_modules)$")
SHELL = re.compile(r"^#!.*\b(ba|da|k)?sh\b|^# shellcheck shell=")
WORD = r"""(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s|;&<>()'"])+"""
# What reads a pipe: behind brackets, assignments and commands that run another.
READER = re.compile(r"(?<!\|)\|&?\s*(?:[{(!]\s*)*(?:(?:\w+=\S*|command|exec|sudo|env|nice)\s+)*"
                    rf"(?P<name>[\w./:-]+)(?P<arguments>(?:[ \t]+{WORD})*)")
CASES = [  # (leaves early, line)
    (True, "ldd x | grep -q 'not found'"), (True, "a | grep -Eq b"), (True, "a |& grep -m 1 b"), (True, "a | grep -e b --quiet"),
    (True, "a | head -n 1"), (True, "x=$(a | b | head -c5)"), (True, "a | \\\n  head"), (True, "a |\n  head"), (True, "a | read x"),
    (True, "a | { read -r x; echo; }"), (True, "a | sed 3q"), (True, "a | sed -n '/x/{p;q}'"), (True, "a | sed -e p -e q"),
    (True, "a | awk '/x/ {print; exit}'"), (True, "a | LC_ALL=C /usr/bin/head -1"), (True, "yes | true"), (True, "a | sudo head -1"),
    (False, "a | grep b"), (False, "a | grep -c b | tail -n 1"), (False, "grep -q b <<<\"$(a)\""), (False, "grep -m 1 b FILE | cut -c1-9"),
    (False, "a || head -n 1 FILE"), (False, "a | sed 's/q/; q/'"), (False, "a | awk '{n += $1} END {exit n}'"), (False, "a | while read -r x; do :; done"),
    (False, "# a | head"), (False, "case $x in -h | --head) ;; esac"), (False, "a | sort -q"), (False, "a | grep -- -q"),
]


def leaves_early(name, arguments):
    name = name.rsplit("/", 1)[-1]
    if name in ("head", "read", "true", "false", ":"):
        return True
    words = [word.strip("'\"") for word in re.findall(WORD, arguments)]
    if "--" in words:
        words = words[:words.index("--")]
    if re.fullmatch(r"[ef]?grep|rg", name):
        return any(re.match(r"-[A-Za-z]*[qmlL]|--(quiet|silent|max-count|files-with)", word) for word in words)
    if name == "sed":
        commands = [re.sub(r"s(.).*?\1.*?\1", "s", word) for word in words]
        return any(re.search(r"(^|[0-9$/;{}\s])[qQ]\s*\d*\s*($|[;}])", command) for command in commands)
    if re.fullmatch(r"[gmn]?awk", name):
        return any(re.search(r"\bexit\b", word.split("END", 1)[0]) for word in words)
    return False


def early_readers(text):
    """Line numbers and readers; comments count for nothing."""
    text = re.sub(r"(?m)(^|\s)#.*$", lambda m: m[1], text)
    for pipe in READER.finditer(re.sub(r"\\\n", " \f", text)):
        if leaves_early(pipe["name"], pipe["arguments"]):
            yield 1 + len(re.findall(r"[\n\f]", pipe.string[:pipe.start()])), pipe["name"] + pipe["arguments"]


def scripts_in(folder):
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            if not SKIPPED.match(path.name):
                yield from scripts_in(path)
        elif path.is_file():
            with path.open("rb") as file:
                first = file.readline(200).decode(errors="replace")
            if SHELL.match(first) or path.suffix == ".sh":
                yield path, first


def main():
    root = pathlib.Path(sys.argv[1])
    problems = [f"check_scripts.py: {line!r}: leaves early is {not want}" for want, line in CASES if bool(list(early_readers(line))) != want]
    files = 0
    for path, first in scripts_in(root):
        files += 1
        name, text = path.relative_to(root).as_posix(), path.read_text()
        if first.startswith("#!") and not re.search(r"(?m)^set -euo pipefail$", text):
            problems.append(f"{name}: wants a line `set -euo pipefail`")
        for number, reader in early_readers(text):
            problems.append(f"{name}:{number}: `| {reader.strip()}` may leave before its producer has written all, which pipefail "
                            "takes for a failure; read from a file or from <<<\"$(producer)\"")
    print("\n".join(problems) if problems else f"scripts: {files} files, {len(CASES)} cases, no reader of a pipe leaves early")
    return 1 if problems or not files else 0


if __name__ == "__main__":
    sys.exit(main())
