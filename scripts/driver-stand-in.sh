#!/usr/bin/env bash
# Builds the library that stands in for NVIDIA's driver (crates/driver-stand-in) and prints its folder, for LD_LIBRARY_PATH:
#
#   LD_LIBRARY_PATH=$(scripts/driver-stand-in.sh) CUDA_STAND_IN=cc=9.0 ddpm train --device cuda ...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}
cargo build --release -p driver-stand-in >&2
folder=$target/driver-stand-in
mkdir -p "$folder"
# The binding asks for the first name, profilers and PyTorch for the second. Moved into place: a process may have it open.
for name in libcuda.so libcuda.so.1; do
  cp "$target/release/libdriver_stand_in.so" "$folder/$name.part"
  mv "$folder/$name.part" "$folder/$name"
done
realpath "$folder"
