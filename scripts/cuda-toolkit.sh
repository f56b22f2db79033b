#!/bin/sh
# Puts a CUDA compiler and a disassembler into .cuda/ of this repository: no GPU, no driver and no root needed, 350 MB.
# Done in a moment when they are already there. The build finds the compiler by itself.
set -eu
cd "$(dirname "$0")/.."

for pip in "${PYTHON:-python3} -m pip" pip3 pip; do
  if $pip --version >/dev/null 2>&1; then
    break
  fi
  pip=
done

# install FOLDER PROGRAM VERSION PACKAGES...: the packages, all of one version, unless the program is there.
install() {
  folder=$1
  program=$folder/nvidia/cu13/bin/$2
  version=$3
  shift 3
  if [ -x "$program" ] && [ "$(cat "$folder/installed" 2>/dev/null)" = "$version" ]; then
    echo "cuda-toolkit: $program is there"
    return
  fi
  if [ -z "$pip" ]; then
    echo "cuda-toolkit: needs pip (Debian: apt install python3-pip), or set DDPM_NVCC to an installed nvcc" >&2
    exit 1
  fi
  # A half-finished installation would make pip skip folders.
  rm -rf "$folder/nvidia" "$folder"/nvidia_*.dist-info "$folder/installed"
  pins=
  for package in "$@"; do
    pins="$pins $package==$version.*"
  done
  # shellcheck disable=SC2086 # the words of $pip and $pins are separate arguments
  PIP_ROOT_USER_ACTION=ignore $pip install --quiet --disable-pip-version-check --no-deps --target "$folder" $pins
  "$program" --version | tail -n 2
  echo "$version" >"$folder/installed"
  echo "cuda-toolkit: installed $program"
}

# All pins in one command: pinning nvcc alone brings a newer nvvm, whose PTX this ptxas refuses.
install .cuda nvcc 13.0 nvidia-cuda-nvcc nvidia-cuda-crt nvidia-nvvm nvidia-cuda-runtime nvidia-cuda-cccl
# Of another version, as the first to be packaged, hence a folder of its own.
install .cuda/disassembler nvdisasm 13.2 nvidia-cuda-nvdisasm
