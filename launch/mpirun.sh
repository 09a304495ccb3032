#!/usr/bin/env bash
# mpirun with what laptops, containers and root need: more ranks than cores allowed, no binding, no ssh wanted.
#   launch/mpirun.sh -n 2 build/bin/orthant pretrain configs/quickstart.yaml
# On a cluster use your site's mpirun or srun as it is.
set -euo pipefail
if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
command -v ssh >/dev/null || export OMPI_MCA_plm=isolated
# Containers often forbid reading another process's memory; Open MPI then copies through shared memory.
export OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism:-none}
exec mpirun --oversubscribe --bind-to none "$@"
