#!/usr/bin/env bash
# Makes the bundle for GPU machines, unpacks it in an empty folder and runs its stages there, emulated and on the CPU: so
# that the first minute on a GPU is not spent on finding out what is missing. Takes the arguments of gpu-bundle.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Packed fast: the size is checked all the same.
XZ_PRESET=${XZ_PRESET:-1} scripts/gpu-bundle.sh "$@" --out "$folder/ddpm-gpu.tar.xz"
tar -xJf "$folder/ddpm-gpu.tar.xz" -C "$folder"

# Nothing of this environment goes along.
elsewhere() { (cd "$folder" && env -i PATH=/usr/bin:/bin HOME="$folder" "$folder/ddpm-gpu/run-on-gpu" "$@"); }

# A first call that ends early, and a second that goes on where it stopped.
elsewhere --device cpu --only device,robustness
elsewhere --device cpu | tee "$folder/second.txt"
if grep -E '^device .* s ' <(sed '/^$/q' "$folder/second.txt"); then
  echo "check-bundle.sh: a finished stage ran again" >&2
  exit 1
fi
elsewhere --device emu

for device in cpu emu; do
  results=$folder/ddpm-gpu/results/$device
  [ "$(grep -c '"result":"passed"' "$results/stages.jsonl")" -ge 8 ] || {
    echo "check-bundle.sh: fewer stages passed on $device than should" >&2
    exit 1
  }
  [ "$(find "$results" -maxdepth 1 -type f | wc -l)" -le 8 ]
done
