#!/usr/bin/env bash
# Every C++ file as clang-format writes it (.clang-format), every source with its licence line.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t files < <(find . \( -path './build*' -o -path './.git' -o -path './runs' \) -prune -o -name '*.h' -print -o -name '*.cpp' -print -o -name '*.cu' -print -o -name '*.cuh' -print)
clang-format --dry-run --Werror "${files[@]}" || { echo "Run: clang-format -i on the files above" >&2; exit 1; }
for file in "${files[@]}"; do
  read -r line <"$file" || true
  [[ $line == *'SPDX-License-Identifier: Apache-2.0'* ]] || { echo "$file: wants the licence line" >&2; exit 1; }
done
echo "format: ${#files[@]} files"
