#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails on a line of more than 100 characters in README.md, CONTRIBUTING.md, docs/*.md and configs/*.yaml.

  check_width.py ROOT

A line that is nothing but an address or a link may be as long as it is: it cannot be broken.
"""
import pathlib
import re
import sys

WIDTH = 100
PAGES = ["README.md", "CONTRIBUTING.md", "docs/*.md", "configs/*.yaml"]
ALONE = re.compile(r"[\s#>*-]*(<?https?://\S+|!?\[[^\]]*\]\(\S+\)|\[[^\]]*\]:\s*\S+)[.,;:]?\s*")
CASES = [  # (too wide, line)
    (False, "x" * 100), (True, "x" * 101), (False, "\u00e4" * 100), (False, "https://example.org/" + "x" * 100),
    (False, "- [a page](https://example.org/" + "x" * 100 + ")"), (True, "See https://example.org/" + "x" * 100),
]


def is_too_wide(line):
    return len(line) > WIDTH and not ALONE.fullmatch(line)


def main():
    root = pathlib.Path(sys.argv[1])
    problems = [f"check_width.py: {line!r}: too wide is {not want}" for want, line in CASES if is_too_wide(line) != want]
    files = [path for page in PAGES for path in sorted(root.glob(page))]
    for path in files:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if is_too_wide(line):
                problems.append(f"{path.relative_to(root).as_posix()}:{number}: {len(line)} characters, want at most {WIDTH}")
    print("\n".join(problems) if problems else f"width: {len(files)} files, {len(CASES)} cases, at most {WIDTH} columns")
    return 1 if problems or not files else 0


if __name__ == "__main__":
    sys.exit(main())
