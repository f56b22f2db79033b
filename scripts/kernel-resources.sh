#!/bin/sh
# Prints registers, shared memory, stack and spills of every GPU kernel; fails if one spills. Takes flags for cargo test.
set -eu
cd "$(dirname "$0")/.."
exec cargo test "${@:---release}" --test kernel_resources no_kernel_spills -- --nocapture
