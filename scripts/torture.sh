#!/usr/bin/env bash
# Kills, stops, doubles and damages short runs at random moments and compares every one with an undisturbed run.
#   scripts/torture.sh [SHARE]     share of the full counts: 1,000 kills, 200 SIGTERM, 50 second processes, 200 flipped bits
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
DDPM_TORTURE=${1:-1} cargo test --release --test torture -- --ignored --nocapture --test-threads 1
