#!/usr/bin/env bash
# Makes the bundle for GPU machines, unpacks it in an empty folder and runs its stages there: on the CPU, and on the library
# that stands in for NVIDIA's driver; so that the first minute on a GPU is not spent on finding out what is missing. Takes the
# arguments of gpu-bundle.sh. With DDPM_NVCC=none the bundle has no kernels for a driver, and they are emulated without one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Packed fast: the size is checked all the same.
XZ_PRESET=${XZ_PRESET:-1} scripts/gpu-bundle.sh "$@" --out "$folder/ddpm-gpu.tar.xz"
tar -xJf "$folder/ddpm-gpu.tar.xz" -C "$folder"

# Nothing of this environment goes along.
elsewhere() { (cd "$folder" && env -i PATH=/usr/bin:/bin HOME="$folder" "${driver[@]}" "$folder/ddpm-gpu/run-on-gpu" "$@"); }
fail() {
  echo "check-bundle.sh: $*" >&2
  exit 1
}

# On each device a first call that ends early, and a second that goes on where it stopped.
check() {
  local device=$1 results=$folder/ddpm-gpu/results/$1 passed
  elsewhere "${@:2}" --device "$device" --only device,robustness
  elsewhere "${@:2}" --device "$device" | tee "$folder/second.txt"
  ! grep -E '^device .* s ' <(sed '/^$/q' "$folder/second.txt") || fail "a finished stage ran again on $device"
  passed=$(grep -c '"result":"passed"' "$results/stages.jsonl")
  [ "$passed" -ge 8 ] || fail "only $passed stages passed on $device"
  [ "$(find "$results" -maxdepth 1 -type f | wc -l)" -le 8 ] || fail "too many files of results on $device"
}

driver=()
check cpu
if [ "${DDPM_NVCC:-}" = none ]; then
  check emu
  exit
fi
stand_in=$(scripts/driver-stand-in.sh)
driver=("LD_LIBRARY_PATH=$stand_in" CUDA_STAND_IN=cc=9.0)
check cuda --few
# A call whose time is short ends in it, says what it has not begun, and leaves that to the next.
rm -r "$folder/ddpm-gpu/results/cuda"
began=$SECONDS
elsewhere --device cuda 75 | tee "$folder/short.txt" || true
[ $((SECONDS - began)) -le 80 ] || fail "a call of 75 s took $((SECONDS - began))"
grep -q ': not begun, ' "$folder/short.txt" || fail "a call of 75 s does not say what it has not begun"
