#!/bin/sh
# The hunt of chapter 9, in seconds and without cargo: hunt.sh OUT [--planted] [flags of g++]. With --planted, a barrier of
# group norm is missing. Leaves the program OUT/hunt.
set -eu
root=$(cd "$(dirname "$0")/../../.." && pwd)
out=$1
shift
mkdir -p "$out"
rm -rf "$out/kernels"
cp -r "$root/kernels" "$out/kernels"
if [ "${1:-}" = --planted ]; then
  shift
  # The last barrier of add_rows.
  sed -i '/sums.vector0 . VEC + i. = total;/,/__syncthreads/ { /__syncthreads/d }' "$out/kernels/group_norm/slab.cuh"
fi
# As crates/kernel-build compiles kernels, but with lines for a debugger.
common="-std=c++17 -O1 -g -march=x86-64-v3 -fno-strict-aliasing -ffp-contract=off -Wno-unknown-pragmas -Wno-tsan -pthread"
emulator=$root/crates/kernel-emulator
for file in "$emulator"/runtime/*.cpp; do
  object=$out/$(basename "$file" .cpp).o
  # ThreadSanitizer must not see the emulator's own bookkeeping.
  case $* in
    *-fsanitize=thread*) ${CXX:-g++} $common -DEMU_TSAN=1 -I"$emulator/include" -c "$file" -o "$object" ;;
    *) ${CXX:-g++} $common "$@" -I"$emulator/include" -c "$file" -o "$object" ;;
  esac
done
cd "$out"
${CXX:-g++} $common "$@" -I"$emulator/include" -Ikernels "$root/docs/book/hunt/hunt.cpp" ./*.o -o hunt
