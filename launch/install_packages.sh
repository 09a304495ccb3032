#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that building and testing need, and only those that are missing.
#   launch/install_packages.sh          what the orthant program needs
#   launch/install_packages.sh tests    also what the tests need
set -euo pipefail
usage() { sed -n '2,/^set -/{/SPDX/d;s/^# \{0,1\}//p}' "$0"; }
case $#,${1:-} in
  0, | 1,tests) ;;
  *,-h | *,--help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac

packages=(g++ cmake ninja-build openmpi-bin libopenmpi-dev libhdf5-dev libyaml-cpp-dev libspdlog-dev libfmt-dev
  nlohmann-json3-dev libcli11-dev libxxhash-dev zlib1g-dev libzstd-dev libsentencepiece-dev
  libpcre2-dev libutf8proc-dev)
if [ "${1:-}" = tests ]; then packages+=(libgtest-dev libgmock-dev clang-format python3); fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
  [ "$status" = 'install ok installed' ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

run() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }
if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
  echo "These packages are missing and installing them needs root: ${missing[*]}" >&2
  exit 69
fi
echo "Installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { run apt-get update -q && run apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  cat "$log" >&2
  echo "Installing failed; the packages above are needed." >&2
  exit 69
fi
rm -f "$log"
