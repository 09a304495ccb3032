#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A sequence of 32,768 tokens on one rank and on 4 context-parallel ranks: what every rank holds in a full step, predicted and
# measured, and the time; then the same model on sequences that are short enough for fp64, compared number by number.
#
#   bench/long_context.sh [OUT]        default: runs/long-context
#
# Fails when activations, workspace and communication of a context-parallel rank peak above 30% of the one rank's.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$root/runs/long-context}
orthant=${ORTHANT:-$root/build/bin/orthant}
config=configs/long-context.yaml
export OMP_NUM_THREADS=1
cd "$root"
mkdir -p "$out"

run() {  # NAME RANKS [key=value...]
  local name=$1 ranks=$2
  shift 2
  rm -rf "${out:?}/$name"
  "$orthant" pretrain "$config" "$@" --dry-run --ranks "$ranks" | grep -A 20 '^#   memory'
  "$orthant" launch -n "$ranks" -- pretrain "$config" "run.dir=$out/$name" generation.samples=0 "$@"
}
run one 1 parallel.context_parallel_size=1
run four 4
python3 - "$out" <<'PYTHON'
import json, sys
last = {name: json.loads(open(f"{sys.argv[1]}/{name}/metrics.jsonl").readlines()[-1]) for name in ("one", "four")}
for name, step in last.items():
    held = ", ".join(f"{key[7:-6]} {value / 2**20:.1f}" for key, value in step.items() if key.startswith("memory_") and key.endswith("_bytes"))
    print(f"{name:5} {step['step_ms'] / 1e3:6.1f} s, loss {step['lm_loss']:.6f}; MiB of the fullest rank: {held}")
share = last["four"]["memory_step_bytes"] / last["one"]["memory_step_bytes"]
print(f"activations, workspace and communication of a context-parallel rank: {100 * share:.1f}% of the one rank's")
sys.exit(share > 0.30)
PYTHON
"$orthant" verify layout "$config" batch.sequence_length=512 batch.global_batch_size=4 model.vocab_size=512 \
  --layouts cp4,cp2+ep2 --steps 1
