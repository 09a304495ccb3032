#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Packs what bench/gpu/run.sh needs on a machine with a GPU and nothing of ours into one file of under 60 MiB:
#
#   bench/gpu/pack.sh [BUILD_FOLDER] [-DKEY=VALUE ...]     BUILD_FOLDER: build-portable; the rest goes to cmake
#
# BUILD_FOLDER/orthant-gpu.tar.gz then holds programs and plugin (they need libc, Open MPI and NVIDIA's libraries), Open MPI
# from Debian's packages, which are downloaded here, configurations and a text.  On the machine:
#   tar xzf orthant-gpu.tar.gz && orthant-gpu/bench/gpu/run.sh
# -DCMAKE_CUDA_ARCHITECTURES=90a-real builds for one kind of device, in half the time.
set -euo pipefail

cd "$(dirname "$0")/../.."
build=build-portable
if [ $# -gt 0 ] && [[ $1 != -* ]]; then build=$1; shift; fi
programs=(orthant conformance_test test_gpu mpi_layouts train_bench op_bench)
targets=(orthant test_conformance test_gpu mpi_layouts train_bench op_bench orthant_cuda fake_cuda)
packages=(openmpi-bin openmpi-common libopenmpi3 libpmix2 libhwloc15 libevent-core-2.1-7 libevent-pthreads-2.1-7
  libmunge2 libudev1 zlib1g)

cmake -S . -B "$build" -G Ninja -DORTHANT_PORTABLE=ON -DORTHANT_TESTS=ON -DORTHANT_BENCH=ON -DORTHANT_CUDA=ON "$@" >"$build.log" 2>&1 ||
  { cat "$build.log" >&2; exit 69; }
rm -f "$build.log"
cmake --build "$build" -j "${JOBS:-$(nproc)}" --target "${targets[@]}" | tail -n 1

folder=$build/orthant-gpu
rm -rf "$folder"
mkdir -p "$folder"/{bench/gpu,launch,configs,tests/data,build/bin/fake_device,mpi}
cp bench/gpu/*.sh "$folder/bench/gpu/"
cp launch/mpirun.sh "$folder/launch/"
cp configs/*.yaml "$folder/configs/"
cp tests/data/shakespeare.txt "$folder/tests/data/"
cp "${programs[@]/#/$build/bin/}" "$build/bin/liborthant_cuda.so" "$folder/build/bin/"
cp "$build/bin/fake_device/liborthant_cuda.so" "$folder/build/bin/fake_device/"
find "$folder/build" -type f -exec strip {} +

# Open MPI: its launcher is found as mpirun through a link that only installing the package makes.
downloads=$build/packages
mkdir -p "$downloads"
if [ "$(find "$downloads" -name '*.deb' | wc -l)" != ${#packages[@]} ]; then
  rm -f "$downloads"/*.deb
  (cd "$downloads" && apt-get download -qq -o "APT::Sandbox::User=$(id -un)" "${packages[@]}")
fi
for package in "$downloads"/*.deb; do dpkg-deb -x "$package" "$folder/mpi"; done
ln -s orterun "$folder/mpi/usr/bin/mpirun"
rm -rf "$folder"/mpi/usr/share/{doc,man,bug,lintian} "$folder/mpi/usr/include"

tar -C "$build" -czf "$build/orthant-gpu.tar.gz" orthant-gpu
bytes=$(stat -c %s "$build/orthant-gpu.tar.gz")
echo "packed: $((bytes >> 20)) MiB, $(du -sm "$folder" | cut -f1) MiB unpacked, in $build/orthant-gpu.tar.gz"
if [ "$bytes" -ge $((60 << 20)) ]; then echo "pack.sh: want less than 60 MiB" >&2; exit 1; fi
