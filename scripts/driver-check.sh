#!/usr/bin/env bash
# Runs what calls NVIDIA's driver against the library that stands in for it (crates/driver-stand-in). Needs nvcc, and no GPU.
#
#   driver-check.sh             what fits into a few minutes
#   driver-check.sh --all       every op's tests on both generations, and every call of a short run fails once
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

LD_LIBRARY_PATH=$(scripts/driver-stand-in.sh)
export LD_LIBRARY_PATH
# The library's own tests: what it refuses.
cargo test --release -p driver-stand-in

# What only the emulator can run is skipped there.
on_gpu() { CUDA_STAND_IN=$1 DDPM_TEST_DEVICES=cuda DDPM_REQUIRE_GPU=1 DDPM_REQUIRE_TESTS=0 cargo test --release "${@:2}"; }
case ${1:-} in
  '')
    # One op of each way to call a kernel: plain, in parts, with structs, with tensor maps and clusters.
    on_gpu cc=8.0 --lib -- device:: ops::silu ops::adam ops::concat ops::sum_parts
    for stream in 1 2; do on_gpu "cc=8.0 run=ahead:$stream" --lib -- device::cuda --test-threads=1; done
    on_gpu "cc=9.0 multiprocessors=40 run=coin:1" --lib -- device::cuda ops::conv2d::hopper::tests::kernels
    DDPM_DRIVER_FUNCTIONS=cuEventSynchronize,cuFuncGetParamInfo,cuGraphLaunch,cuMemcpyDtoH_v2,cuMemcpyHtoDAsync_v2,cuModuleLoadData \
      cargo test --release --test driver_stand_in -- --ignored
    ;;
  --all)
    for options in cc=8.0 "cc=9.0 run=early" "cc=9.0 multiprocessors=78 run=coin:1"; do
      on_gpu "$options" --lib -- engine:: --skip cpu::tests
      on_gpu "$options" --test whole_step
    done
    DDPM_DRIVER_POSITIONS=all cargo test --release --test driver_stand_in -- --ignored
    ;;
  *)
    echo "driver-check.sh: unknown argument $1" >&2
    exit 1
    ;;
esac
