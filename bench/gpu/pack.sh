#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Packs what bench/gpu/run.sh needs on a machine with a GPU and nothing of ours into one file of under 60 MiB:
#
#   bench/gpu/pack.sh [BUILD_FOLDER] [-DKEY=VALUE ...]     BUILD_FOLDER: build-portable; the rest goes to cmake
#
# BUILD_FOLDER/orthant-gpu.tar.gz then holds what launch/bundle.sh bundles (program, plugin, Open MPI), test and benchmark
# programs, configurations and a text.  On the machine:
#   tar xzf orthant-gpu.tar.gz && orthant-gpu/bench/gpu/run.sh
# -DCMAKE_CUDA_ARCHITECTURES=90a-real builds for one kind of device, in half the time.
set -euo pipefail
usage() { sed -n '2,/^set -/{/SPDX/d;s/^# \{0,1\}//p}' "$0"; }
for argument; do
  case $argument in
    -h | --help) usage; exit 0 ;;
    -D*) ;;
    -*) usage >&2; exit 2 ;;
  esac
done

cd "$(dirname "$0")/../.."
build="build-portable"
if [ $# -gt 0 ] && [[ $1 != -* ]]; then build=$1; shift; fi
programs=(conformance_test test_gpu mpi_layouts train_bench op_bench)
targets=(orthant test_conformance test_gpu mpi_layouts train_bench op_bench orthant_cuda rehearsal_cuda)

cmake -S . -B "$build" -G Ninja -DORTHANT_PORTABLE=ON -DORTHANT_TESTS=ON -DORTHANT_BENCH=ON -DORTHANT_CUDA=ON "$@" >"$build.log" 2>&1 ||
  { cat "$build.log" >&2; exit 69; }
rm -f "$build.log"
cmake --build "$build" -j "${JOBS:-$(nproc)}" --target "${targets[@]}" | tail -n 1

folder=$build/orthant-gpu
launch/bundle.sh "$build" "$folder"
mkdir -p "$folder"/{bench/gpu,configs,tests/data,bin/rehearsal}
cp bench/gpu/*.sh "$folder/bench/gpu/"
cp configs/*.yaml "$folder/configs/"
cp tests/data/shakespeare.txt "$folder/tests/data/"
cp "${programs[@]/#/$build/bin/}" "$folder/bin/"
cp "$build/bin/rehearsal/liborthant_cuda.so" "$folder/bin/rehearsal/"
find "$folder/bin" -type f -exec strip {} +

tar -C "$build" -czf "$build/orthant-gpu.tar.gz" orthant-gpu
bytes=$(stat -c %s "$build/orthant-gpu.tar.gz")
echo "packed: $((bytes >> 20)) MiB, $(du -sm "$folder" | cut -f1) MiB unpacked, in $build/orthant-gpu.tar.gz"
if [ "$bytes" -ge $((60 << 20)) ]; then echo "pack.sh: want less than 60 MiB" >&2; exit 1; fi
