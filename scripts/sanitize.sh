#!/bin/sh
# Runs tests with the emulated kernels under a sanitizer: scripts/sanitize.sh address|thread [arguments of cargo test].
# AddressSanitizer (with UBSan) refuses every byte that a launch was not given; ThreadSanitizer names the two lines of a
# missing barrier.
set -eu
cd "$(dirname "$0")/.."
sanitizer=$1
shift
library() { "${CXX:-c++}" -print-file-name="$1"; }
case $sanitizer in
  address) preload="$(library libasan.so):$(library libubsan.so)" ;;
  thread) preload="$(library libtsan.so)" ;;
  *) echo "sanitize.sh: $sanitizer is neither address nor thread" >&2; exit 2 ;;
esac
# Rust's own allocations are freed at exit or not at all: leaks are not the question here.
export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}" DDPM_EMU_SANITIZE="$sanitizer" DDPM_NVCC=none
unset DDPM_REQUIRE_NVCC
# The Rust side is not instrumented: its atomics are invisible to ThreadSanitizer. Kernels run on stacks of their own.
suppressions=$(mktemp)
trap 'rm -f "$suppressions"' EXIT
echo 'race:*.rs' >"$suppressions"
export TSAN_OPTIONS="suppressions=$suppressions${TSAN_OPTIONS:+:$TSAN_OPTIONS}"
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="env LD_PRELOAD=$preload"
cargo test --release "$@"
