#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks and times Orthant on an NVIDIA GPU, in one go of under ten minutes, and prints a table.
#
#   bench/gpu/run.sh [--check] [--small] [--only STEP,...] [--seconds N] [--output FOLDER] [BUILD_FOLDER]
#
#   --check     only what can be wrong; no timing
#   --small     tiny models and few cases: tries out the script, not the device
#   --only      these steps; --only list names them
#   --seconds   for all of it (540); a step that no longer fits is listed as not run
#   --output    where table.txt and log.txt go (runs/gpu)
#
# Runs in a source tree with a build (BUILD_FOLDER, build/ by default) or in a bundle (bench/gpu/pack.sh).  Needs bash,
# coreutils, sed and awk, no network, and installs nothing.  Without a device, steps that need one are skipped and say why;
# those that train run on the CPU.  ORTHANT_GPU_REHEARSAL=1 takes the CPU in disguise for the device (tests/fake_device).
# Exit code: 0, or 1 when a step failed, 2 wrong command line, 66 nothing built.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
ROOT=$(cd "$here/../.." && pwd)
# name, seconds at most, kind
steps="environment 30 check
conformance 90 check
engine 90 check
quickstart 90 check
ranks2 60 check
ranks4 75 check
resume 45 check
nccl1 30 check
nccl2 45 check
sanitizer 120 check
startup 30 time
dense 60 time
moe 60 time
ops 90 time"

check='' only='' SMALL='' seconds=540 output=$ROOT/runs/gpu build=$ROOT/build
if [ -e "$ROOT/environment.sh" ]; then build=$ROOT; fi  # a bundle
usage() { sed -n '2,/^set -/{/SPDX/d;s/^# \{0,1\}//p}' "$0"; }
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --check) check=1 ;;
    --small) SMALL=1 ;;
    --only | --seconds | --output)
      [ $# -gt 1 ] || { usage >&2; exit 2; }
      declare "${1#--}=$2"
      shift
      ;;
    -*) usage >&2; exit 2 ;;
    *) build=$1 ;;
  esac
  shift
done
if [ "$only" = list ]; then echo "$steps"; exit 0; fi
for name in ${only//,/ }; do
  grep -q "^$name " <<<"$steps" || { echo "run.sh: no step is called $name; --only list names them" >&2; exit 2; }
done
if [ ! -x "$build/bin/orthant" ]; then echo "run.sh: $build/bin/orthant: not built" >&2; exit 66; fi
BIN=$(cd "$build/bin" && pwd)

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
mkdir -p "$output"
: >"$output/log.txt"

# shellcheck source=launch/bundle_environment.sh
if [ -e "$ROOT/environment.sh" ]; then . "$ROOT/environment.sh"; fi
# shellcheck source=bench/gpu/machine.sh
. "$here/machine.sh"
if [ -n "${ORTHANT_GPU_REHEARSAL:-}" ]; then use_rehearsal_device; fi
find_cuda_libraries
find_device
export ROOT BIN WORK SMALL DEVICE NO_DEVICE

table=$output/table.txt failed=0
row() { printf '%-12s %-8s %-5s %5s  %s\n' "$@"; }
row step result on s '' >"$table"

run_step() {
  local name=$1 limit=$2 left=$((seconds - SECONDS)) begin=$SECONDS status=0 result figure on=cpu
  if [ -n "$DEVICE" ]; then on=${ORTHANT_GPU_REHEARSAL:+fake}; on=${on:-cuda}; fi
  if [ "$left" -lt 10 ]; then row "$name" 'NOT RUN' - - "no time left" | tee -a "$table"; return; fi
  if [ "$limit" -gt $((left - 5)) ]; then limit=$((left - 5)); fi
  : >"$WORK/figure"
  LIMIT=$limit FIGURE=$WORK/figure timeout -k 10 "$limit" bash "$here/steps.sh" "$name" >"$WORK/output" 2>&1 </dev/null || status=$?
  figure=$(head -n 1 "$WORK/figure")
  case $status in
    0) result=PASS ;;
    77) result=SKIP on=- ;;
    124 | 137)
      result=FAIL figure="over its limit of $limit s"
      if [ "$limit" -lt "$2" ]; then result='NOT RUN' figure="cut off after $limit s: no time left"; fi
      ;;
    *) result=FAIL figure=${figure:-exit code $status: $(tail -n 1 "$WORK/output" | cut -c1-120)} ;;
  esac
  { echo "=== $name: $result"; cat "$WORK/output"; } >>"$output/log.txt"
  if [ "$result" = FAIL ]; then
    failed=1
    tail -n 15 "$WORK/output" | cut -c1-240 | sed "s/^/    /"
  elif [ "$3" = time ] && [ "$result" = PASS ]; then
    sed 's/^/    /' "$WORK/output"
  fi
  row "$name" "$result" "$on" $((SECONDS - begin)) "$figure" | tee -a "$table"
}

while read -r name limit kind <&3; do
  if [ -n "$only" ] && [[ ,$only, != *,$name,* ]]; then continue; fi
  if [ -n "$check" ] && [ "$kind" = time ]; then continue; fi
  run_step "$name" "$limit" "$kind"
done 3<<<"$steps"

echo
count() { grep -c " $1 " "$table" || true; }
echo "$(count PASS) passed, $(count FAIL) failed, $(count SKIP) skipped, $(count 'NOT RUN') not run, $SECONDS s" >>"$table"
cat "$table"
echo "log: $output/log.txt"
exit "$failed"
