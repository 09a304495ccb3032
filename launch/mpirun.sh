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

# Standard error without mpirun's paragraphs (between lines of 74 dashes) about an exit code or an abort, and without the line
# about a signal at the end of this script where mpirun has named the rank.  It outlives signals and a terminal that is gone:
# mpirun would die of a pipe that nobody reads.
coproc filter {
  trap '' INT TERM HUP QUIT USR1
  stdbuf -oL sed -E '/^-{74}$/ {
      :more
      N
      /\n-{74}$/! b more
      /Primary job +terminated normally|processes exited with non-zero status|MPI_ABORT was invoked/ d
      /mpirun/ h
    }
    /^mpirun: Forwarding signal|ORTE_ERROR_LOG: .*show_help\.c/ d
    /^mpirun\.sh: exit code/ { x; /./ d; x; }' >&2 || cat >/dev/null
}
# shellcheck disable=SC2154
filter_job=$filter_PID
# shellcheck disable=SC1083,SC2093
exec 3>&"${filter[1]}" {filter[0]}<&- {filter[1]}>&-

# Handlers only take notes: a signal that interrupts another's handler may hang what that one reads.
last='' interrupts=0
# shellcheck disable=SC2317
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

# To all that mpirun started here, which is the rest of its session.  Not to mpirun: what comes too early is lost in it, and what
# comes while it ends makes it crash.  Ranks on other hosts hear of a stop from those here, and mpirun cleans up behind the killed.
left=0  # that live still
signal_ranks() {  # SIGNAL
  local file line
  left=0
  for file in /proc/[0-9]*/stat; do
    { read -r line <"$file"; } 2>/dev/null || continue
    # After the name in brackets: state, parent, group, session.
    if ! [[ ${line##*) } =~ ^[^Z]\ [0-9]+\ [0-9]+\ $job\  ]] || [ "${line%% *}" = "$job" ]; then continue; fi
    left=$((left + 1))
    if [[ $line != *"(ssh)"* ]]; then kill -"$1" "${line%% *}" 2>/dev/null || true; fi
  done
}
# Again and again, for ranks that start late.  A signal ends the wait; one that comes just before it has to bide the tick.
# mpirun may hang at its end for good when a rank died before it had connected: nothing of its session is left then.
seen=''
while kill -0 "$job" 2>/dev/null; do
  if [ "$interrupts" -gt 0 ]; then signal_ranks KILL; elif [ -n "$last" ]; then signal_ranks USR1; else signal_ranks 0; fi
  if [ "$left" -gt 0 ]; then seen=$SECONDS; fi
  if [ "$interrupts" -gt 1 ] || [ $((SECONDS - ${seen:-$SECONDS})) -gt 20 ]; then kill -KILL "$job" 2>/dev/null || true; fi
  sleep 1 >/dev/null 2>&1 3>&- &
  tick=$!
  wait -n "$job" "$tick" 2>/dev/null || true
  kill "$tick" 2>/dev/null || true
done
trap '' TERM INT HUP USR1
code=0
wait "$job" 2>/dev/null || code=$?
if [ "$code" -gt 128 ] && [ -n "$last" ]; then
  code=$((128 + $(kill -l "$last")))  # it was on its way through here: as if it had ended this
elif [ "$code" -gt 128 ] && name=$(kill -l "$code" 2>/dev/null); then
  # Of a rank that dies before all have started mpirun often says nothing, nor can it of itself.
  echo "mpirun.sh: exit code $code: a rank, or mpirun itself, ended by signal $((code - 128)) ($name)" >&3
fi
exec 3>&-
wait "$filter_job"
exit "$code"
