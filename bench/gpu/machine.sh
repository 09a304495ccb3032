# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2034  # DEVICE, NO_DEVICE and MISSING are run.sh's
# What this machine has: sourced by run.sh, which sets ROOT, BIN and WORK.

# The programs beside another plugin.  A program looks for its plugin beside itself, so these are links, or copies.
use_rehearsal_device() {
  local plugin=$BIN/rehearsal/liborthant_cuda.so program
  [ -e "$plugin" ] || { echo "run.sh: $plugin: not built" >&2; exit 66; }
  mkdir "$WORK/bin"
  for program in "$BIN"/*; do
    if [ -f "$program" ] && [ -x "$program" ]; then ln -L "$program" "$WORK/bin/" 2>/dev/null || cp "$program" "$WORK/bin/"; fi
  done
  rm -f "$WORK/bin/liborthant_cuda.so"
  cp "$plugin" "$WORK/bin/"
  BIN=$WORK/bin
}

# Folders where NVIDIA's libraries may be, beside those that the dynamic linker knows: toolkits, the driver's folder of
# containers, and the packages of Python.
library_folders() {
  local site
  printf '%s\n' /usr/local/cuda*/lib64 /usr/local/cuda*/targets/x86_64-linux/lib /usr/local/nvidia/lib64 /usr/local/nvidia/lib
  { python3 -c 'import site, sysconfig; print(sysconfig.get_paths()["purelib"], *site.getsitepackages(), site.getusersitepackages(), sep="\n")' 2>/dev/null || true
    printf '%s\n' /usr/lib/python3/dist-packages /usr/local/lib/python3*/dist-packages /opt/*/lib/python3*/site-packages
  } | while read -r site; do printf '%s\n' "$site"/nvidia/*/lib; done
}

# Adds to LD_LIBRARY_PATH what the plugin lacks, and sets MISSING to what was not found.
find_cuda_libraries() {
  local name folder
  MISSING=''
  [ -e "$BIN/liborthant_cuda.so" ] || return 0
  if [ -d /usr/local/nvidia/lib64 ]; then LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/usr/local/nvidia/lib64; fi
  for name in $(ldd "$BIN/liborthant_cuda.so" | awk '/not found/ {print $1}'); do
    for folder in $(library_folders); do
      if [ -e "$folder/$name" ]; then
        LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
        continue 2
      fi
    done
    MISSING+="${MISSING:+, }$name"
  done
  export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-} MISSING
}

# The first line that a program of sed prints of a file.
first_line() {
  local lines
  lines=$(sed -n "$1" "$2")
  echo "${lines%%$'\n'*}"
}

# DEVICE: the first device as `orthant doctor` describes it, else empty, and NO_DEVICE says why.
find_device() {
  "$BIN/orthant" doctor >"$WORK/doctor" 2>&1 || true
  DEVICE=$(first_line 's/^device  *cuda:0: //p' "$WORK/doctor")
  NO_DEVICE=$(first_line 's/^devices  *none: //p; s/^would use.*because //p' "$WORK/doctor")
  if [ -n "$MISSING" ]; then NO_DEVICE="missing libraries: $MISSING"; fi
}
