#!/usr/bin/env bash
# mpirun with what laptops, containers and root need: more ranks than cores allowed, no binding, no ssh wanted; SIGTERM, SIGINT
# and SIGUSR1 reach the ranks as SIGUSR1, so that a run saves and ends with 75 (mpirun itself would end them within seconds).
#   launch/mpirun.sh -n 2 build/bin/orthant pretrain configs/quickstart.yaml
# On a cluster use your site's mpirun or srun as it is.
set -euo pipefail
if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
command -v ssh >/dev/null || export OMPI_MCA_plm=isolated
# Containers often forbid reading another process's memory; Open MPI then copies through shared memory.
export OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism:-none}

# In a session of its own, so that Ctrl-C on a terminal comes here alone; a second one ends the job.
setsid mpirun --oversubscribe --bind-to none "$@" </dev/null &
job=$!
signals=0
pass_on() {
  signals=$((signals + 1))
  if [ "$signals" -eq 1 ]; then kill -USR1 "$job" 2>/dev/null; else kill -TERM "$job" 2>/dev/null; fi || true
}
trap pass_on TERM INT USR1
code=0
wait "$job" || code=$?
while kill -0 "$job" 2>/dev/null; do
  code=0
  wait "$job" || code=$?
done
exit "$code"
