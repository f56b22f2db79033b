#!/usr/bin/env bash
# What takes too long for every change: hours. Needs nvcc, and no GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
DDPM_NVCC=none cargo clippy --release --lib --bins --features mpi -- -D warnings
scripts/driver-check.sh --all
# 25 ranks of each MPI are killed, and three stopped.
scripts/mpi-check.sh 25 3
scripts/torture.sh
cargo test --release --lib -- --ignored damaged --nocapture
scripts/sanitize.sh address --lib ops::
scripts/sanitize.sh thread --lib -- ops::conv2d --skip cpu::tests --skip threads --skip benchmark_layers
