#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Tokens/s of configs/bench-moe.yaml on two ranks by each axis, over one rank's, one thread a rank: medians of the steps behind
# the first, in rounds that alternate.  For pp the bubble beside it, predicted from the stages' costs and measured.
#
#   bench/two_ranks.sh [ROUNDS]        default: 3; a round takes about 3 minutes
set -euo pipefail
usage() { sed -n '2,/^set -/{/SPDX/d;s/^# \{0,1\}//p}' "$0"; }
case $#,${1:-} in
  0, | 1,[1-9]*) ;;
  *,-h | *,--help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
root=$(cd "$(dirname "$0")/.." && pwd)
orthant=${ORTHANT:-$root/build/bin/orthant}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export OMP_NUM_THREADS=1
cd "$root"

run() {  # NAME RANKS [key=value...]
  rm -rf "${scratch:?}/$1"
  local launch=()
  [ "$2" -eq 1 ] || launch=(launch -n "$2" --)
  "$orthant" "${launch[@]}" pretrain configs/bench-moe.yaml "run.dir=$scratch/$1" batch.global_batch_size=32 run.max_steps=6 \
    logging.interval=1 generation.samples=0 logging.progress=off --quiet "${@:3}" 2>"$scratch/$1.err" || { cat "$scratch/$1.err" >&2; exit 1; }
  python3 - "$scratch" "$1" <<'PYTHON'
import json, statistics, sys
speed = {name: statistics.median(json.loads(line)["tokens_per_second"] for line in open(f"{sys.argv[1]}/{name}/metrics.jsonl").readlines()[1:])
         for name in {"one", sys.argv[2]}}
print(f"{sys.argv[2]:4} {speed[sys.argv[2]]:7.0f} tokens/s  {speed[sys.argv[2]] / speed['one']:.2f}", flush=True)
PYTHON
}
for _ in $(seq "${1:-3}"); do
  run one 1
  run dp2 2
  run tp2 2 parallel.tensor_parallel_size=2
  run cp2 2 parallel.context_parallel_size=2
  run pp2 2 parallel.pipeline_parallel_size=2 batch.micro_batch_size=2
  "$orthant" inspect schedule "$scratch/pp2" | grep "points apart" | sed 's/^.*: bubble/     bubble/'
  run ep2 2 parallel.expert_parallel_size=2
done
