#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails on an include that goes up the layers of docs/layers.txt, or on a device #ifdef above a backend folder.

  check_layers.py ROOT
"""
import pathlib
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
DEVICE_SWITCH = re.compile(r"^\s*#\s*(?:el)?if.*(CUDA|HIP|AVX|AMX)")
BACKENDS = ("tensor/cpu/", "tensor/cuda/")
# Philox is shared with device code, which marks its functions.
ALLOWED_SWITCHES = {"base/philox.h"}


def read_levels(path):
    levels = {}
    lines = [l for l in path.read_text().splitlines() if l and not l.startswith("#")]
    for level, line in enumerate(reversed(lines)):
        for folder in line.split():
            levels[folder] = level
    return levels


def layer_of(name, levels):
    """The deepest folder of docs/layers.txt that the file is in."""
    folders = [f for f in levels if name.startswith(f + "/")]
    return max(folders, key=len, default=None)


def main():
    root = pathlib.Path(sys.argv[1])
    levels = read_levels(root / "docs/layers.txt")
    problems, files = [], 0
    for folder, level in levels.items():
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in {".h", ".cpp", ".cu", ".cuh"}:
                continue
            name = path.relative_to(root).as_posix()
            if layer_of(name, levels) != folder:
                continue
            files += 1
            for number, line in enumerate(path.read_text().splitlines(), 1):
                include = INCLUDE.match(line)
                target = layer_of(include.group(1), levels) if include else None
                if target and target != folder and levels[target] >= level:
                    problems.append(f"{name}:{number}: {folder}/ may not include {target}/ (docs/layers.txt)")
                if include and "/" not in include.group(1):
                    problems.append(f"{name}:{number}: include paths start at the root")
                if DEVICE_SWITCH.match(line) and not name.startswith(BACKENDS) and name not in ALLOWED_SWITCHES:
                    problems.append(f"{name}:{number}: a device #if above the backend folders")
    print("\n".join(problems) if problems else f"layers: {files} files, no back edge")
    return 1 if problems or not files else 0


if __name__ == "__main__":
    sys.exit(main())
