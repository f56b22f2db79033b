#!/usr/bin/env bash
# nvcc 13.5.37 (NVIDIA's wheel nvidia-cuda-nvcc), sm_90: powf(x, 2.0f), std::pow(x, 2.0f), powf(x, 1.0f) with -use_fast_math.
#
# Expected: a constant exponent of 2 becomes x * x (and 1 becomes x), as it does in g++, which compiles the host's half of the
# same function, and -use_fast_math, if anything, makes that more likely.
# Seen: the device's half is ex2(2 * lg2(x)), in approximate instructions, with nothing that looks at the sign of x, and a
# negative number has no logarithm: its square, a loss for one, is lost on the device and right on the host. So is even its
# power of 1.
# A negative constant is right again: powf(-3.0f, 2.0f) is folded to 9, so a test with constants shows nothing. Without
# -use_fast_math the constant exponents are not simplified either: 91 floating-point instructions of PTX, with load and store,
# where x * x has 3. And pow(x, 2) with an int is a power in double precision, 151 instructions, the same with -use_fast_math.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q nvidia-cuda-{nvcc,crt,runtime,cuobjdump}==13.5.37 nvidia-nvvm==13.5.37
cd "$folder"
cuda=$(echo venv/lib/python3*/site-packages/nvidia/cu13)
export PATH=$PWD/$cuda/bin:$PATH

# device EXPRESSION OPTION...: what it is in PTX: how many floating instructions, and which approximate ones.
device() {
  cat >power.cu <<CODE
#include <cmath>
__host__ __device__ float power(float x) { return $1; }
__global__ void all(float *p) { p[threadIdx.x] = power(p[threadIdx.x]); }
CODE
  nvcc -arch=sm_90 "${@:2}" -ptx power.cu -o power.ptx
  sed -n '/entry/,$p' power.ptx >entry
  local length
  length=$(grep -cE '^\s(@%p[0-9]+ )?[a-z0-9]+(\.[a-z0-9]+)*\.(f32|f64)\b' entry || true)
  echo "$1 ${*:2}: $length floating, $(grep -oE '\b(lg2|ex2)\.approx[.a-z0-9]*|\bmul[.a-z]*\.f64' entry | sort -u | tr '\n' ' ')"
}
for expression in 'powf(-3.0f, 2.0f)' 'powf(-3.0f, 1.0f)'; do
  echo "__global__ void all(float *p) { p[threadIdx.x] = $expression; }" >constant.cu
  nvcc -arch=sm_90 -use_fast_math -ptx constant.cu -o constant.ptx
  echo "$expression -use_fast_math: the constant $(grep -oE 'mov.u32\s+%r2, -?[0-9]+' constant.ptx | grep -oE '[-0-9]+$')"
done | tee folded
diff folded - <<'FOLDED' # the bits of 9.0 and -3.0
powf(-3.0f, 2.0f) -use_fast_math: the constant 1091567616
powf(-3.0f, 1.0f) -use_fast_math: the constant -1069547520
FOLDED
for expression in 'x * x' 'powf(x, 2.0f)' 'std::pow(x, 2.0f)' 'powf(x, 1.0f)' 'pow(x, 2)'; do
  device "$expression"
  device "$expression" -use_fast_math
  nvcc -arch=sm_90 -use_fast_math -O2 -c power.cu -o power.o
  host=$(objdump -d --no-show-raw-insn --disassemble=_Z5powerf power.o | grep -oE '\b(mulss|mulsd|call|jmp|ret)\b.*')
  echo "  host:" $host
done | sed 's/ *$//' | tee seen
diff seen - <<'SEEN'
x * x : 3 floating,
x * x -use_fast_math: 3 floating,
  host: mulss %xmm0,%xmm0 ret
powf(x, 2.0f) : 91 floating,
powf(x, 2.0f) -use_fast_math: 5 floating, ex2.approx.ftz.f32 lg2.approx.ftz.f32
  host: mulss %xmm0,%xmm0 ret
std::pow(x, 2.0f) : 91 floating,
std::pow(x, 2.0f) -use_fast_math: 5 floating, ex2.approx.ftz.f32 lg2.approx.ftz.f32
  host: mulss %xmm0,%xmm0 ret
powf(x, 1.0f) : 91 floating,
powf(x, 1.0f) -use_fast_math: 4 floating, ex2.approx.ftz.f32 lg2.approx.ftz.f32
  host: ret
pow(x, 2) : 151 floating, mul.f64 mul.rn.f64
pow(x, 2) -use_fast_math: 151 floating, mul.f64 mul.rn.f64
  host: mulss %xmm0,%xmm0 ret
SEEN
