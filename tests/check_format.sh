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
# Comments stand as they were written (tables!), so their width is looked at here.
long=$(awk 'length > 100 { print FILENAME ":" FNR ": wider than 100 columns" }' "${files[@]}")
[[ -z $long ]] || { echo "$long" >&2; exit 1; }
echo "format: ${#files[@]} files"
