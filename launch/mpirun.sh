#!/usr/bin/env bash
# mpirun with what laptops, containers and root need: more ranks than cores allowed, no binding, no ssh wanted.  SIGTERM, SIGINT,
# SIGHUP and SIGUSR1 reach the ranks as SIGUSR1, so that a run saves and ends with 75 (mpirun itself would end them within
# seconds); a Ctrl-C after that ends them at once, a third ends mpirun too.  What mpirun says about exit codes is left out: it
# buries what the program says.
#   launch/mpirun.sh -n 2 build/bin/orthant pretrain configs/quickstart.yaml
# On a cluster use your site's mpirun or srun as it is.
set -euo pipefail
if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
command -v ssh >/dev/null || export OMPI_MCA_plm=isolated
# Containers often forbid reading another process's memory; Open MPI then copies through shared memory.
export OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism:-none}

# Standard error without mpirun's paragraphs (between lines of 74 dashes) about an exit code or an abort.  It outlives signals
# and a terminal that is gone: mpirun would die of a pipe that nobody reads.
filter() {
  trap '' INT TERM HUP QUIT USR1
  stdbuf -oL sed -E '/^-{74}$/ {
      :more
      N
      /\n-{74}$/! b more
      /Primary job +terminated normally|processes exited with non-zero status|MPI_ABORT was invoked/ d
    }
    /^mpirun: Forwarding signal|ORTE_ERROR_LOG: .*show_help\.c/ d' >&2 || cat >/dev/null
}
exec 3> >(filter)
filter=$!

# each_rank COMMAND...: with the id of every process that mpirun started here, those of its session; fails where there is none.
each_rank() {
  local file line found=1 field
  for file in /proc/[0-9]*/stat; do
    { read -r line <"$file"; } 2>/dev/null || continue
    read -r -a field <<<"${line##*) }"
    if [ "${field[3]:-}" != "$job" ] || [ "${line%% *}" = "$job" ] || [[ $line == *"(ssh)"* ]]; then continue; fi
    "$@" "${line%% *}" 2>/dev/null || true
    found=0
  done
  return "$found"
}
# Handlers only take notes: a signal that interrupts another's handler may hang what that one reads.
last='' interrupts=0
note() {  # NAME
  if [ -n "$last" ] && [ "$1" = INT ]; then interrupts=$((interrupts + 1)); fi
  last=$1
}
for name in TERM INT HUP USR1; do
  # shellcheck disable=SC2064
  trap "note $name" "$name"
done

# In a session of its own, so that Ctrl-C on a terminal comes here alone.
setsid mpirun --oversubscribe --bind-to none "$@" </dev/null 2>&3 3>&- &
job=$!
exec 3>&-
# A signal goes through mpirun once, as soon as there are ranks, and then to the ranks alone: what comes too early is lost in
# mpirun, and what comes while it ends makes it crash.  It cleans up behind ranks that are killed.
asked=''
while kill -0 "$job" 2>/dev/null; do
  if [ "$interrupts" -gt 1 ]; then
    each_rank kill -KILL || true
    kill -KILL "$job" 2>/dev/null || true
  elif [ "$interrupts" -eq 1 ]; then
    each_rank kill -KILL || true
  elif [ -n "$last" ] && [ -n "$asked" ]; then
    each_rank kill -USR1 || true
  elif [ -n "$last" ] && each_rank :; then
    kill -USR1 "$job" 2>/dev/null || true
    asked=yes
  fi
  # A signal ends this wait; one that comes just before it has to bide the tick.
  sleep 1 >/dev/null 2>&1 &
  tick=$!
  wait -n "$job" "$tick" || true
  kill "$tick" 2>/dev/null || true
done
code=0
wait "$job" || code=$?
while [ "$code" -gt 128 ] && kill -0 "$job" 2>/dev/null; do code=0; wait "$job" || code=$?; done
wait "$filter" 2>/dev/null || true
while kill -0 "$filter" 2>/dev/null; do sleep 0.02; done
# A signal that ended the ranks was on its way through here: as if it had ended this.
if [ -n "$last" ] && [ "$code" -gt 128 ]; then code=$((128 + $(kill -l "$last"))); fi
exit "$code"
