#!/usr/bin/env bash
# ptxas 12.8.93 and 12.9.86 (NVIDIA's wheels nvidia-cuda-nvcc-cu12), sm_90a: a loop of wgmma whose first product overwrites its
# accumulators (scale-d false), so that nobody sets them before.
#
# Expected: the first product does not read them, so a zero that is written before the loop changes nothing but one instruction
# a register.
# Seen: ptxas 12.8 (12.4, 12.5 and 12.6 too) says C7515 and runs all products of the function one after the other; with the
# zeros, which are never read, it does not. From 12.9 on it makes no difference. So a kernel that overlaps products when it is
# built with 12.9 may lose that with 12.8, and the cure looks useless.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
for version in 12.8.93 12.9.86; do
  "$folder/venv/bin/pip" install -q --no-deps --target "$folder/$version" "nvidia-cuda-nvcc-cu12==$version"
done
cd "$folder"

# loop FILE ZEROS: 64 x 8 sums over n products of 64 x 16 and 16 x 8 bf16 from shared memory.
loop() {
  cat >"$1" <<PTX
.version 8.0
.target sm_90a
.address_size 64
.visible .entry sums(.param .u64 out, .param .u64 left, .param .u64 right, .param .u32 n)
{
  .reg .f32 %sum<4>;
  .reg .b64 %d<6>;
  .reg .b32 %i<4>;
  .reg .pred %adds, %goes_on;
  ld.param.u64 %d0, [out];
  ld.param.u64 %d1, [left];
  ld.param.u64 %d2, [right];
  ld.param.u32 %i0, [n];
  $2
  mov.u32 %i1, 0;
next:
  setp.ne.u32 %adds, %i1, 0;
  wgmma.fence.sync.aligned;
  wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%sum0, %sum1, %sum2, %sum3}, %d1, %d2, %adds, 1, 1, 0, 0;
  wgmma.commit_group.sync.aligned;
  wgmma.wait_group.sync.aligned 1;
  add.s64 %d1, %d1, 2;
  add.s64 %d2, %d2, 2;
  add.u32 %i1, %i1, 1;
  setp.lt.u32 %goes_on, %i1, %i0;
  @%goes_on bra next;
  wgmma.wait_group.sync.aligned 0;
  mov.u32 %i2, %tid.x;
  mul.wide.u32 %d3, %i2, 16;
  add.s64 %d4, %d0, %d3;
  st.global.v4.f32 [%d4], {%sum0, %sum1, %sum2, %sum3};
  ret;
}
PTX
}
loop overwrites.ptx ""
loop zeroed.ptx "mov.f32 %sum0, 0f00000000; mov.f32 %sum1, 0f00000000; mov.f32 %sum2, 0f00000000; mov.f32 %sum3, 0f00000000;"

serialises() {
  local said
  said=$("$folder/$1/nvidia/cuda_nvcc/bin/ptxas" -v -arch=sm_90a "$2.ptx" -o "$2.cubin" 2>&1)
  grep -q 'C7515' <<<"$said"
}
for version in 12.8.93 12.9.86; do
  for file in overwrites zeroed; do
    if serialises $version $file; then answer=serialised; else answer=overlapped; fi
    echo "ptxas $version, $file: $answer"
  done
done | tee answers
diff answers - <<'ANSWERS'
ptxas 12.8.93, overwrites: serialised
ptxas 12.8.93, zeroed: overlapped
ptxas 12.9.86, overwrites: overlapped
ptxas 12.9.86, zeroed: overlapped
ANSWERS
