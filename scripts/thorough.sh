#!/usr/bin/env bash
# What takes too long for every change: hours. Needs nvcc, and no GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
./driver-check.sh --all
./torture.sh
