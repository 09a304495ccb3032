#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What DeepSeek-V2's balance losses and V3's selection bias do to the experts' loads: four runs of 300 steps on quickstart's
# text in 4,096 sub-word pieces, and the table and curves of docs/balance.md.  About 10 minutes on two cores.
#
#   bench/balance.sh [OUT]        default: runs/balance; runs that are there already are not made again
set -euo pipefail
usage() { sed -n '2,/^set -/{/SPDX/d;s/^# \{0,1\}//p}' "$0"; }
case $#,${1:-} in
  0, | 1,[!-]*) ;;
  *,-h | *,--help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$root/runs/balance}
orthant=${ORTHANT:-$root/build/bin/orthant}
corpora=$root/corpora
mkdir -p "$out"
[ -s "$corpora/quickstart.h5" ] || ORTHANT=$orthant "$root/launch/make_corpus.sh"
text=("$corpora"/quickstart/*.jsonl)
[ -s "$corpora/subword.model" ] || "$orthant" tokenizer train "${text[@]}" --vocab-size 4096 -o "$corpora/subword.model"
[ -s "$corpora/subword.h5" ] || "$orthant" prepare "${text[@]}" --tokenizer "$corpora/subword.model" -o "$corpora/subword.h5"

cd "$root"
run() {  # NAME CONFIG [key=value...]
  "$orthant" pretrain "configs/$2.yaml" "run.dir=$out/$1" "${@:3}" --quiet
}
export OMP_NUM_THREADS=1
(run v2 balance-v2; run v3 balance-v3) &
run v2-off balance-v2 moe.balance.expert=0 moe.balance.device=0 moe.balance.communication=0
run v3-off balance-v3 moe.bias_update_rate=0
wait
python3 "$root/bench/balance.py" "$out" "$out/balance.svg"
