#!/usr/bin/env bash
# From nothing to a trained Mixture-of-Experts model: installs packages, builds the program, makes a corpus of public-domain
# English, trains configs/quickstart.yaml on two ranks into runs/quickstart, and shows a sample and where the curves are.
# Running it again goes on from where it stopped.
#   launch/quickstart.sh [key=value ...]     for the trainer, for example run.max_steps=1200
set -euo pipefail
usage() { sed -n '2,/^set -/{/SPDX/d;s/^# \{0,1\}//p}' "$0"; }
for argument; do
  case $argument in
    [!-=]*=*) ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
cd "$(dirname "$0")/.."
jobs=${JOBS:-$(nproc)}
step() { printf '\n== %s (%d s)\n' "$1" "$SECONDS"; }

step "packages"
launch/install_packages.sh

step "build (only the orthant program)"
cmake -S . -B build -G Ninja -DORTHANT_TESTS=OFF >build.log 2>&1 || { cat build.log >&2; exit 69; }
rm -f build.log
cmake --build build --target orthant -j "$jobs" >build/build.log 2>&1 || { tail -n 60 build/build.log >&2; exit 69; }
tail -n 1 build/build.log

step "corpus"
launch/make_corpus.sh corpora/quickstart.h5

step "training on 2 ranks"
build/bin/orthant launch -n 2 -- pretrain configs/quickstart.yaml "$@"

step "done"
echo "More text:  build/bin/orthant generate runs/quickstart --prompt 'Once upon a time'"
echo "Curves:     runs/quickstart/report.html"
