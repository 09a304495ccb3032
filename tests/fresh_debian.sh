#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Proves the README's first command on a machine that has nothing: makes a bare system of this machine's Debian or Ubuntu
# release, puts this tree as committed into it, runs launch/quickstart.sh there with few steps, and checks the corpus, the
# report and the sample.
#
#   tests/fresh_debian.sh                     what .ci/run calls
#   tests/fresh_debian.sh COMMAND [WORD ...]  any command in such a system, at the root of the tree: tests/run.sh
#
# Needs root and the right to mount (a container: CAP_SYS_ADMIN, as docker run --privileged gives), git, and about 3 GiB;
# debootstrap is installed if it is missing.  Packages come from where this machine's apt gets its own.  The bare system is
# kept in FRESH_HOME (/var/tmp/orthant-fresh) and copied for each run; FRESH_KEEP=1 keeps the copy until the next.  Mounts and processes
# live in namespaces of the run's own and end with it, however it ends.
set -euo pipefail
usage() { sed -n '2,/^set -/{/SPDX/d;s/^# \{0,1\}//p}' "$0"; }
case ${1:-} in
  -h | --help) usage; exit 0 ;;
  -*) usage >&2; exit 2 ;;
esac
say() { echo "fresh_debian: $*"; }
fail() { echo "fresh_debian: error: $*" >&2; exit "${code:-69}"; }

home=${FRESH_HOME:-/var/tmp/orthant-fresh}
tree=$(cd "$(dirname "$0")/.." && pwd)
system=$home/run-$$
log=$home/run-$$.log
steps=16
job=

cleanup() {
  trap '' INT TERM HUP
  if [ -n "$job" ]; then { kill -KILL "$job" && wait "$job"; } 2>/dev/null || true; fi
  if [ -n "${FRESH_KEEP:-}" ]; then
    say "kept $system"
  else
    # Processes of the namespace may take a moment to be gone.
    for _ in 1 2 3 4 5; do
      if rm -rf --one-file-system "$system" 2>/dev/null; then break; fi
      sleep 1
    done
  fi
  rm -f "$log"
}

# Sets site (where debootstrap reads), keyring and sources (lines of a sources.list) from what apt knows of this release.
read_sources() {
  local origin uri codename release component found=()
  # shellcheck disable=SC2016
  while IFS='|' read -r origin uri codename release component; do
    if [ "${origin,,}" != "$ID" ] || [[ $codename != "$VERSION_CODENAME"* ]]; then continue; fi
    found+=("deb $uri $release $component")
    if [ "$codename/$component" = "$VERSION_CODENAME/main" ]; then site=$uri; fi
  done < <(apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)|$(CODENAME)|$(RELEASE)|$(COMPONENT)' 'Created-By: Packages')
  sources=$(printf '%s\n' "${found[@]}")
  [ -n "${site:-}" ]
}

check_machine() {
  [ "$(id -u)" = 0 ] || fail "a bare system is made and entered by root: run this as root"
  # shellcheck source=/dev/null
  . /etc/os-release
  command -v apt-get >/dev/null || fail "this machine has no apt-get, and a bare system is made from its packages"
  unshare --mount --pid --fork mount -t tmpfs none /mnt 2>/dev/null ||
    fail "root may not mount here, which a bare system needs: in a container give it CAP_SYS_ADMIN (docker run --privileged)"
  git_in_tree rev-parse -q --verify HEAD >/dev/null || code=66 fail "$tree is no git checkout: what is committed there is what is tried"
  if ! read_sources || ! command -v debootstrap >/dev/null; then
    apt-get update -qq || fail "apt-get update failed (see above)"
    read_sources || fail "apt knows no source of $ID $VERSION_CODENAME, component main"
  fi
  command -v debootstrap >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap >/dev/null ||
    fail "debootstrap is missing and installing it failed"
}

git_in_tree() { git -c safe.directory="*" -C "$tree" "$@"; }

# The bare system, made once and kept.  It appears under its name when it is whole.
make_base() {
  base=$home/$ID-$VERSION_CODENAME
  exec 9>"$home/lock"
  flock 9
  local old
  for old in "$home"/run-*; do
    if [ -d "$old" ] && ! kill -0 "${old##*-}" 2>/dev/null; then rm -rf --one-file-system "$old" "$old.log" || true; fi
  done
  if [ ! -d "$base" ]; then
    say "making a bare $ID $VERSION_CODENAME from $site in $base"
    rm -rf --one-file-system "$base.new"
    unshare --mount debootstrap --variant=minbase ${certificates:+--include=ca-certificates} \
      "$VERSION_CODENAME" "$base.new" "$site" >"$log" 2>&1 || { tail -n 20 "$log" >&2; fail "debootstrap failed (see above)"; }
    rm -f "$base.new"/var/cache/apt/archives/*.deb
    mv "$base.new" "$base"
  fi
  exec 9>&-
}

make_system() {
  mkdir -p "$home"
  certificates=
  if [[ $sources == *https://* ]]; then certificates=yes; fi
  make_base
  cp -a "$base" "$system"
  echo "$sources" >"$system/etc/apt/sources.list"
  { apt-config dump | grep -E '^Acquire::https?::' || true; echo 'Acquire::Retries "3";'; } >"$system/etc/apt/apt.conf.d/99machine"
  if [ -n "$certificates" ]; then cp -L /etc/ssl/certs/ca-certificates.crt "$system/etc/ssl/certs/"; fi
  rm -f "$system/etc/resolv.conf"
  cp -L /etc/resolv.conf /etc/hosts "$system/etc/"
  mkdir "$system/root/orthant"
  git_in_tree archive HEAD | tar -x -C "$system/root/orthant"
  git_in_tree diff --quiet HEAD || say "changes that are not committed are left out"
}

# The first process of the namespaces: in_system ROOT COMMAND...
in_system() {
  local root=$1 proxies
  shift
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount --rbind /dev "$root/dev"
  mkdir -p "$root/dev/shm"
  mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
  mapfile -t proxies < <(env | grep -iE '^(https?|ftp|no)_proxy=')
  env -i HOME=/root TERM=dumb LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin ${JOBS:+JOBS="$JOBS"} \
    "${proxies[@]}" chroot "$root" /bin/bash -c 'cd /root/orthant && "$@"' _ "$@"
}
export -f in_system

# run COMMAND...: in the system; in the background, so that a signal is heard at once.
run() {
  local status=0
  setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child bash -euo pipefail -c 'in_system "$@"' _ "$system" "$@" </dev/null &
  job=$!
  wait "$job" || status=$?
  job=
  return "$status"
}

# A command of the quickstart's: shown, kept in $log, and it has to succeed.
must_run() {
  local status=0 tee
  exec 3> >(tee "$log")
  tee=$!
  run "$@" >&3 2>&1 || status=$?
  exec 3>&-
  wait "$tee" || true
  if [ "$status" != 0 ]; then code=1 fail "exit code $status from: $*"; fi
}

# want WHAT COMMAND...: a check of what the quickstart left.
want() {
  local what=$1
  shift
  "$@" || code=1 fail "$what (failed: $*)"
  say "ok: $what"
}
has_lines() { [ "$(wc -l <"$1")" = "$2" ]; }
loss_fell() { awk -F'"loss": ' '{split($2, v, ","); if (NR == 1) first = v[1]; last = v[1]} END {exit !(last + 0 > 0 && last + 0 < first - 1)}' "$1"; }
# More follows in the log than the prompt.
goes_on_from() { grep -qE "$1.*[[:alnum:]]" "$2"; }

check_quickstart() {
  local root=$system/root/orthant prompt='It was in the beginning of the year, and'
  local out=$root/runs/quickstart quickstart=(launch/quickstart.sh "run.max_steps=$steps" schedule.warmup_steps=4
    schedule.total_steps=$((steps + 1)) generation.max_new_tokens=60)
  must_run "${quickstart[@]}"
  say "the quickstart took $SECONDS s"
  want "the corpus has the Bible's 1,189 chapters" has_lines "$root/corpora/quickstart/kjv.jsonl" 1189
  want "the corpus has 269 chapters of Jane Austen's" has_lines "$root/corpora/quickstart/austen.jsonl" 269
  want "the metrics have $steps steps" has_lines "$out/metrics.jsonl" "$steps"
  want "the loss fell" loss_fell "$out/metrics.jsonl"
  want "the report has its curves" grep -q '<svg' "$out/report.html"
  want "the report has the sample" goes_on_from "$prompt" "$out/report.html"
  want "the report is whole" grep -q '</html>' "$out/report.html"
  want "the sample was shown" goes_on_from "sample: $prompt" "$log"
  want "bits per byte stand beside gzip's" grep -qE 'bits per byte.*gzip' "$log"
  must_run build/bin/orthant inspect corpus corpora/quickstart.h5
  want "the corpus is sound" grep -q 'all blocks verified' "$log"
  must_run build/bin/orthant generate runs/quickstart --prompt 'Once upon a time' --temperature 0.7 --max-new-tokens 60
  want "the model generates" goes_on_from 'Once upon a time' "$log"
  must_run "${quickstart[@]}" "run.max_steps=$((steps + 1))"
  want "the same command goes on where it stopped" grep -q "resuming from step $steps" "$log"
}

check_machine
mkdir -p "$home"
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
make_system
say "$(git_in_tree rev-parse --short HEAD) in a bare $PRETTY_NAME after $SECONDS s"
if [ $# -gt 0 ]; then
  status=0
  run "$@" || status=$?
  say "exit code $status after $SECONDS s"
  exit "$status"
fi
check_quickstart
say "passed: launch/quickstart.sh on a bare $PRETTY_NAME in $SECONDS s"
