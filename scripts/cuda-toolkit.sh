#!/bin/sh
# Puts a CUDA compiler into .cuda/ of this repository: no GPU, no driver and no root needed, 300 MB. Done in a moment when
# it is already there. The build finds it by itself.
set -eu
cd "$(dirname "$0")/.."

# All pins in one command: pinning nvcc alone brings a newer nvvm, whose PTX this ptxas refuses.
version=13.0
packages="nvidia-cuda-nvcc nvidia-cuda-crt nvidia-nvvm nvidia-cuda-runtime nvidia-cuda-cccl"
nvcc=.cuda/nvidia/cu13/bin/nvcc

if [ -x "$nvcc" ] && [ "$(cat .cuda/installed 2>/dev/null)" = "$version" ]; then
  echo "cuda-toolkit: $nvcc is there"
  exit 0
fi

for pip in "${PYTHON:-python3} -m pip" pip3 pip; do
  if $pip --version >/dev/null 2>&1; then
    break
  fi
  pip=
done
if [ -z "$pip" ]; then
  echo "cuda-toolkit: needs pip (Debian: apt install python3-pip), or set DDPM_NVCC to an installed nvcc" >&2
  exit 1
fi

# A half-finished installation would make pip skip folders.
rm -rf .cuda/nvidia .cuda/nvidia_*.dist-info .cuda/installed
pins=
for package in $packages; do
  pins="$pins $package==$version.*"
done
# shellcheck disable=SC2086 # the words of $pip and $pins are separate arguments
PIP_ROOT_USER_ACTION=ignore $pip install --quiet --disable-pip-version-check --no-deps --target .cuda $pins
"$nvcc" --version | tail -n 2
echo "$version" >.cuda/installed
echo "cuda-toolkit: installed $nvcc"
