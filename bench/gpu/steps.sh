#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# One step of bench/gpu/run.sh, by name.  Exit code 0: passed, 77: skipped, else failed; the line in $FIGURE says what was
# measured, or why not.  run.sh gives ROOT, BIN, WORK (a folder for files), SMALL, DEVICE (empty: none), NO_DEVICE, LIMIT.
set -euo pipefail

figure() { echo "$*" >"$FIGURE"; }
skip() { figure "$*"; exit 77; }
fail() { figure "$*"; exit 1; }
need_device() { if [ -z "$DEVICE" ]; then skip "${NO_DEVICE:-no device}"; fi; }
need_mpi() { command -v mpirun >/dev/null || skip "no mpirun"; }
where=cpu
if [ -n "$DEVICE" ]; then where=cuda; fi

# on_ranks N PROGRAM ...: mpirun ends them in time.
on_ranks() { MPIEXEC_TIMEOUT=$((LIMIT > 10 ? LIMIT - 5 : LIMIT)) "$BIN/orthant" launch -n "$1" --program "$2" -- "${@:3}"; }

# Quickstart's model on the text of the tests, into $WORK/FOLDER:
#   train FOLDER DEVICE [key=value ...]        train_on_ranks N FOLDER DEVICE [key=value ...]
command_of() {
  command=("$BIN/orthant" pretrain "$ROOT/configs/quickstart.yaml" run.dir="$WORK/$1" device="$2"
    data.train="$ROOT/tests/data/shakespeare.txt" evaluation.interval=0 checkpoint.interval=0 generation.samples=0
    "${@:3}")
  if [ -n "$SMALL" ]; then command+=("${tiny[@]}"); fi
}
tiny=(model.hidden_size=64 model.num_hidden_layers=2 model.intermediate_size=64 model.moe_intermediate_size=32
  batch.sequence_length=64)
train() { command_of "$@"; "${command[@]}"; }
train_on_ranks() { local n=$1; command_of "${@:2}"; on_ranks "$n" "${command[@]}"; }

# The largest relative difference of a metric in two runs, from step FIRST on: difference FOLDER FOLDER KEY [FIRST].
# Fails where steps or numbers are missing.
difference() {
  local folder
  for folder in "$1" "$2"; do
    sed -n "s/.*\"step\": \([0-9]*\),.* \"$3\": \([^,}]*\).*/\1 \2/p" "$WORK/$folder/metrics.jsonl" >"$WORK/$folder/$3.txt"
  done
  paste -d ' ' "$WORK/$1/$3.txt" "$WORK/$2/$3.txt" | awk -v first="${4:-1}" -v key="$3" '
    $1 < first {next}
    NF != 4 || $1 != $3 || $2 !~ /^-?[0-9.]+(e[-+]?[0-9]+)?$/ || $4 !~ /^-?[0-9.]+(e[-+]?[0-9]+)?$/ {bad = 1; print key ": line " $0 > "/dev/stderr"; next}
    {d = $2 - $4; if (d < 0) d = -d; s = $4 < 0 ? -$4 : $4; if (d > s * worst) worst = d / s; ++n}
    END {if (bad || !n) exit 1; printf "%.1e", worst}'
}
# agree WHAT FOLDER FOLDER: two runs in bf16 agree.  Over a few steps losses see little, gradient norms more; two levels of the
# CPU differ by 2e-5 and 4e-4.
agree() {
  local loss norm text
  loss=$(difference "$2" "$3" loss)
  norm=$(difference "$2" "$3" grad_norm)
  text="$1: loss within $loss of 2e-2, gradient norm $norm of 5e-2"
  figure "$text"
  within "$loss" 2e-2 && within "$norm" 5e-2
}
within() { awk -v a="$1" -v b="$2" 'BEGIN {exit !(a <= b)}'; }

step_environment() {
  cat "$WORK/doctor"
  nvidia-smi 2>/dev/null || true
  echo "LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}"
  ldd "$BIN/liborthant_cuda.so" 2>/dev/null | grep -E 'cuda|cublas|cudnn|nccl|not found' || true
  grep -q '^orthant' "$WORK/doctor" || fail "orthant doctor did not run"
  if [ -n "$DEVICE" ]; then
    figure "$DEVICE; $(sed -n 's/^cuda plugin *//p' "$WORK/doctor")"
  elif [ -e /dev/nvidia0 ]; then
    fail "a device is here but cannot be used: $NO_DEVICE"
  else
    figure "no device: $NO_DEVICE"
  fi
}

# Sum, or largest, of the numbers behind a word in the output of a test.
sum_of() { awk -v word="$1" '$0 ~ word {n += $NF} END {print n + 0}' "$2"; }

step_conformance() {
  need_device
  local filter='*cuda*'
  if [ -n "$SMALL" ]; then filter='*/cuda_add:*/cuda_matmul:*/cuda_router:*BackendTable*cuda'; fi
  "$BIN/conformance_test" --gtest_filter="$filter" | tee "$WORK/conformance.txt" || true
  local cases ok bad
  cases=$(sum_of 'cases:' "$WORK/conformance.txt")
  ok=$(grep -c '^\[       OK' "$WORK/conformance.txt" || true)
  bad=$(sed -n 's/^\[  FAILED  \] \(.*\), where.*(.*ms)$/\1/p' "$WORK/conformance.txt" | sed 's/.*cuda_//' | tr '\n' ' ')
  grep -q '^\[  PASSED  \]' "$WORK/conformance.txt" || fail "stopped early"
  if grep -q '^\[  FAILED  \]' "$WORK/conformance.txt"; then fail "$cases cases; wrong: ${bad:-see the log}"; fi
  if [ "$ok" = 0 ] || [ "$cases" = 0 ]; then fail "nothing was tested"; fi
  figure "$cases cases of $ok tests"
}

# The largest difference that tests in f64 print for a kind.
worst_fp64() { awk -v kind="worst $1:" '/^\[ RUN/ {on = /Fp64Equals/} on && index($0, kind) {seen = 1; if ($3 + 0 > w) w = $3 + 0}
  END {if (seen) printf "%.1e", w; else printf "not measured"}' "$2"; }

step_engine() {
  need_device
  local filter='*' status=0
  if [ -n "$SMALL" ]; then filter='*Fp64*/moe'; fi
  "$BIN/test_gpu" --gtest_filter="$filter" | tee "$WORK/engine.txt" || status=$?
  local worst
  worst="f64: gradients $(worst_fp64 gradients "$WORK/engine.txt"), weights $(worst_fp64 weights "$WORK/engine.txt") of 1e-10"
  [ "$status" = 0 ] || fail "$(grep -c '^\[  FAILED  \].*ms' "$WORK/engine.txt" || true) tests failed; $worst"
  grep -q '^\[       OK' "$WORK/engine.txt" || fail "nothing was tested"
  figure "$(grep -c '^\[       OK' "$WORK/engine.txt") tests; $worst"
}

step_quickstart() {
  train quickstart-cpu cpu run.max_steps=20
  train quickstart-device $where run.max_steps=20
  agree "20 steps in bf16, $where and CPU" quickstart-device quickstart-cpu
}

# Several ranks, on the one device or the CPU, against one rank.
ranks() {
  need_mpi
  local n=$1 bits=''
  if [ -z "$SMALL" ]; then
    bits=$(on_ranks "$n" "$BIN/mpi_layouts" $where) || { echo "$bits"; fail "tiny models: ${bits:-mpirun failed, see the log}"; }
    echo "$bits"
  fi
  train "one-$n" $where run.max_steps=10
  train_on_ranks "$n" "many-$n" $where run.max_steps=10
  agree "$n ranks and one${bits:+ (tiny models: the same bits)}" "many-$n" "one-$n"
}
step_ranks2() { ranks 2; }
step_ranks4() { ranks 4; }

# f64, six steps: a checkpoint of step 3 goes on on the other side, once on two ranks.
step_resume() {
  local options=(precision=fp64 schedule.total_steps=6 schedule.warmup_steps=1 "${tiny[@]}") worst=0 d key run
  local half=("${options[@]}" run.max_steps=3) whole=("${options[@]}" run.max_steps=6)
  train straight cpu "${whole[@]}"
  train there cpu "${half[@]}"
  train there $where "${whole[@]}" 2>&1 | tee "$WORK/there.txt"
  train back $where "${half[@]}"
  if command -v mpirun >/dev/null; then
    train_on_ranks 2 back cpu "${whole[@]}" 2>&1 | tee "$WORK/back.txt"
  else
    train back cpu "${whole[@]}" 2>&1 | tee "$WORK/back.txt"
  fi
  for run in there back; do
    grep -q 'resuming from step 3' "$WORK/$run.txt" || fail "$run: did not resume from step 3"
    for key in loss grad_norm; do
      d=$(difference $run straight $key 4)
      within "$d" 1e-9 || fail "$run: $key is off by $d after the checkpoint (want 1e-9)"
      if within "$worst" "$d"; then worst=$d; fi
    done
  done
  figure "CPU to $where and back, f64: loss and norm within $worst of 1e-9"
}

need_nccl() {
  need_device
  need_mpi
  grep -q device_transport <<<"$("$BIN/orthant" inspect config --reference)" || skip "this program has no parallel.device_transport"
  train nccl-one $where run.max_steps=10
}
step_nccl1() {
  need_nccl
  train_on_ranks 1 nccl-1 $where run.max_steps=10 parallel.device_transport=nccl
  agree "NCCL with one rank" nccl-1 nccl-one
}
# NCCL refuses two ranks on a device unless it takes them for two machines.  That may not work everywhere: no failure.
step_nccl2() {
  need_nccl
  export NCCL_NET=Socket NCCL_SOCKET_IFNAME=lo NCCL_IB_DISABLE=1 NCCL_MNNVL_ENABLE=0 NCCL_MAX_CTAS=2 NCCL_ALGO=Ring \
    NCCL_PROTO=Simple NCCL_CUMEM_ENABLE=0
  command_of nccl-2 $where run.max_steps=10 parallel.device_transport=nccl
  # shellcheck disable=SC2016
  on_ranks 2 bash -c 'export NCCL_HOSTID=r$OMPI_COMM_WORLD_RANK; exec "$@"' _ "${command[@]}" 2>&1 | tee "$WORK/nccl2.txt" ||
    skip "two ranks on a device: $(grep -m 1 -E 'error|NCCL' "$WORK/nccl2.txt" | cut -c1-100)"
  agree "NCCL with two ranks on a device" nccl-2 nccl-one
}

step_sanitizer() {
  need_device
  PATH=$PATH:$(printf '%s:' /usr/local/cuda*/bin /usr/local/cuda*/compute-sanitizer /opt/nvidia/*)
  command -v compute-sanitizer >/dev/null || skip "no compute-sanitizer"
  local memory=(rms_norm rms_norm_grad rotary attention attention_grad swiglu_grad cross_entropy embedding_grad combine_grad
    router router_grad dispatch_plan adamw sum_squares)
  local race=(rms_norm_grad cross_entropy embedding_grad router dispatch_plan sum_squares attention)
  if [ -n "$SMALL" ]; then memory=(add) race=(add); fi
  sanitize memcheck "${memory[@]}"
  sanitize racecheck "${race[@]}"
  figure "memcheck of ${#memory[@]} ops and racecheck of ${#race[@]}: no error"
}
# sanitize TOOL OP...
sanitize() {
  local filter log=$WORK/$1.txt
  filter=$(printf '*/cuda_%s:' "${@:2}")
  local status=0 seconds=$((LIMIT * 6 / 10))
  timeout "$seconds" compute-sanitizer --tool "$1" --report-api-errors no --error-exitcode 9 \
    "$BIN/conformance_test" --gtest_filter="$filter" 2>&1 | tee "$log" || status=$?
  if [ $status = 0 ]; then return 0; fi
  if [ $status = 124 ]; then skip "$1 was not done after $seconds s"; fi
  if grep -q 'Device not supported' "$log"; then skip "compute-sanitizer: device not supported"; fi
  fail "$1: $(grep -m 1 SUMMARY "$log" | sed 's/^=* *//')"
}

median() { sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

step_startup() {
  local i help first
  help=$(for i in $(seq 21); do
    local begin=${EPOCHREALTIME/[.,]/}
    "$BIN/orthant" --help >/dev/null
    echo $(((${EPOCHREALTIME/[.,]/} - begin) / 100))
  done | median)
  for i in 1 2 3; do train startup-$i $where run.max_steps=1 "${tiny[@]}"; done >"$WORK/startup.txt" 2>&1
  grep 'first step after' "$WORK/startup.txt"
  first=$(sed -n 's/.*first step after \([0-9.]*\) s.*/\1/p' "$WORK/startup.txt" | median)
  figure "--help $(awk -v t="$help" 'BEGIN {printf "%.1f", t / 10}') ms; a run's first step on $where after $first s"
}

speed() {
  need_device
  local small=()
  if [ -n "$SMALL" ]; then small=(model.hidden_size=96 model.num_hidden_layers=2 model.vocab_size=512 batch.sequence_length=32); fi
  (cd "$ROOT" && "$BIN/train_bench" "configs/bench-$1.yaml" device=$where "${small[@]}" --speed) | tee "$WORK/speed.txt"
  (cd "$ROOT" && "$BIN/train_bench" "configs/bench-$1.yaml" device=$where "${small[@]}" --profile) | tail -n +2
  figure "$(sed -n 's/.*: step /step /p' "$WORK/speed.txt")"
}
step_dense() { speed dense; }
step_moe() { speed moe; }

# The largest number before a unit in lines of the ops' table.
fastest() {
  awk -v line="$1" -v unit="$2" '$0 ~ line {for (i = 2; i <= NF; ++i) if ($i == unit && $(i - 1) + 0 > best) best = $(i - 1)}
    END {print best + 0}' "$WORK/ops.txt"
}
step_ops() {
  need_device
  "$BIN/op_bench" $where ${SMALL:+--small} | tee "$WORK/ops.txt"
  figure "bf16 products up to $(fastest '^matmul bf16' TFLOP/s) TFLOP/s, memory up to $(fastest . GB/s) GB/s"
}

"step_$1"
