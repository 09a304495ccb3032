#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copies the program, the CUDA plugin where it was built, and the libraries they need into one folder that can be carried to
# a machine without them.  Left out: libc, which is of the machine, and NVIDIA's libraries, which come with its toolkit.
#   cmake -S . -B build-portable -G Ninja -DORTHANT_PORTABLE=ON && cmake --build build-portable --target orthant orthant_cuda
#   launch/bundle.sh build-portable FOLDER
# Run it with LD_LIBRARY_PATH=FOLDER: Debian's libmpi has a run path of its own, so that the program's does not hold for it.
# A run of several ranks also wants Open MPI's launcher and modules there (docs/backends.md).
set -euo pipefail
if [ $# -ne 2 ]; then echo "usage: launch/bundle.sh BUILD_FOLDER FOLDER" >&2; exit 2; fi
build=$1 folder=$2
program=$build/bin/orthant plugin=$build/bin/liborthant_cuda.so
[ -x "$program" ] || { echo "bundle: $program: not built" >&2; exit 66; }
if ! readelf -d "$program" | grep -q 'RPATH.*\$ORIGIN'; then
  echo "bundle: $program does not look beside itself for libraries: configure with -DORTHANT_PORTABLE=ON" >&2
  exit 69
fi
mkdir -p "$folder"
files=("$program")
if [ -f "$plugin" ]; then files+=("$plugin"); fi
cp -f "${files[@]}" "$folder/"
# "libyaml-cpp.so.0.7 => /usr/lib/.../libyaml-cpp.so.0.7 (0x...)"; a library that is not found stays out.
ldd "${files[@]}" | awk '$2 == "=>" && $3 ~ /^\// {print $1, $3}' | sort -u | while read -r name path; do
  case $name in
    libc.so.*|libm.so.*|libdl.so.*|libpthread.so.*|librt.so.*|libresolv.so.*|ld-linux*) ;;
    libcuda*|libcublas*|libcudnn*|libnccl*|libnv*) ;;
    *) cp -fL "$path" "$folder/$name" ;;
  esac
done
strip --strip-debug "$folder"/* 2>/dev/null || true
echo "bundle: $(find "$folder" -type f | wc -l) files, $(du -sh "$folder" | cut -f1) in $folder"
echo "Run it:  LD_LIBRARY_PATH=$(realpath "$folder") $(realpath "$folder")/orthant doctor"
