#!/usr/bin/env bash
# Installs what is missing, builds everything, and runs every test that a machine without an accelerator can run.
#   tests/run.sh             all of it
#   tests/run.sh -L unit     arguments go to ctest
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=${JOBS:-$(nproc)}
build=${BUILD:-build}

launch/install_packages.sh tests
tests/check_format.sh
cmake -S . -B "$build" -G Ninja -DORTHANT_TESTS=ON >"$build.log" 2>&1 || { cat "$build.log" >&2; exit 1; }
rm -f "$build.log"
begin=$SECONDS
cmake --build "$build" -j "$jobs" >"$build/build.log" 2>&1 || { tail -n 60 "$build/build.log" >&2; exit 1; }
echo "build: $((SECONDS - begin)) s"
ctest --test-dir "$build" --output-on-failure -j "$jobs" -LE 'slow|gpu' "$@"
