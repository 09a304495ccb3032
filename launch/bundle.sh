#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts the program, the CUDA plugin where it was built, and Open MPI into a folder that can be carried to a machine that has
# libc alone.  Left out: NVIDIA's libraries, which come with its toolkit.  Open MPI is that of this system's packages, which
# are downloaded and not installed.
#   cmake -S . -B build-portable -G Ninja -DORTHANT_PORTABLE=ON && cmake --build build-portable --target orthant orthant_cuda
#   launch/bundle.sh build-portable FOLDER
# There:  . FOLDER/environment.sh; FOLDER/bin/orthant doctor; FOLDER/bin/orthant launch -n 2 -- pretrain ...
set -euo pipefail
usage() { sed -n '2,/^set -/{/SPDX/d;s/^# \{0,1\}//p}' "$0"; }
case $#,${1:-} in
  2,[!-]*) ;;
  *,-h | *,--help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
build=$1 folder=$2 here=$(dirname "$0")
program=$build/bin/orthant plugin=$build/bin/liborthant_cuda.so
packages=(openmpi-bin openmpi-common libopenmpi3 libpmix2 libhwloc15 libevent-core-2.1-7 libevent-pthreads-2.1-7
  libmunge2 libudev1 zlib1g)
[ -x "$program" ] || { echo "bundle: $program: not built" >&2; exit 66; }
if ! grep -q '^ORTHANT_PORTABLE:BOOL=ON' "$build/CMakeCache.txt"; then
  echo "bundle: $program needs libraries of this machine: configure with -DORTHANT_PORTABLE=ON" >&2
  exit 69
fi

rm -rf "${folder:?}/bin" "${folder:?}/mpi"
mkdir -p "$folder/bin" "$folder/mpi" "$build/packages"
cp "$program" "$folder/bin/"
if [ -f "$plugin" ]; then cp "$plugin" "$folder/bin/"; fi
strip "$folder"/bin/*
cp "$here/bundle_environment.sh" "$folder/environment.sh"

if [ "$(find "$build/packages" -name '*.deb' | wc -l)" != ${#packages[@]} ]; then
  rm -f "$build"/packages/*.deb
  (cd "$build/packages" && apt-get download -qq -o "APT::Sandbox::User=$(id -un)" "${packages[@]}")
fi
for package in "$build"/packages/*.deb; do dpkg-deb -x "$package" "$folder/mpi"; done
ln -s orterun "$folder/mpi/usr/bin/mpirun"  # a link that only installing the package makes
rm -rf "$folder"/mpi/usr/share/{doc,man,bug,lintian} "$folder/mpi/usr/include"

echo "bundle: $(du -sm "$folder" | cut -f1) MiB in $folder"
