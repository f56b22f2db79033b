#!/bin/sh
# Reads the machine code of Hopper's kernels and prints a table of it: scripts/sass-check.sh [FILES], all
# kernels/**/*_sm90.cu but those of self_test unless told. Fails if one has no warpgroup products (HGMMA) or no tensor
# copies (UTMALDG), touches local memory (LDL, STL), or made the assembler give up performance: products that it
# serialises, register counts that it ignores, waits of its own between products (C7519, and with them products without a
# result, whose destination is RZ).
set -eu
cd "$(dirname "$0")/.."

nvcc=${DDPM_NVCC:-.cuda/nvidia/cu13/bin/nvcc}
nvdisasm=${NVDISASM:-.cuda/disassembler/nvidia/cu13/bin/nvdisasm}
for tool in "$nvcc" "$nvdisasm"; do
  if ! command -v "$tool" >/dev/null; then
    echo "sass-check: no $tool; scripts/cuda-toolkit.sh installs it" >&2
    exit 2
  fi
done
demangle=$(command -v c++filt || echo cat)
files=${*:-$(find kernels -name '*_sm90.cu' ! -path 'kernels/self_test/*' | sort)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

failed=0
printf '%6s %7s %8s %6s %7s  %-6s  %s\n' HGMMA dummies UTMALDG local losses '' kernel
for file in $files; do
  if ! "$nvcc" -cubin -std=c++17 -O3 -Xptxas -v -I kernels -gencode arch=compute_90a,code=sm_90a "$file" \
    -o "$work/cubin" 2>"$work/log"; then
    cat "$work/log" >&2
    exit 1
  fi
  grep -hE 'Potential Performance Loss|warpgroup\.[a-z]+ is injected' "$work/log" >"$work/losses" || true
  "$nvdisasm" "$work/cubin" >"$work/sass"
  awk '
    FILENAME ~ /losses$/ { loss[NR] = $0; losses = NR; next }
    /^[ \t]*\.section[ \t]+\.text\./ {
      kernel = $2
      sub(/^\.text\./, "", kernel)
      sub(/,.*/, "", kernel)
      order[++kernels] = kernel
    }
    /[ \t]HGMMA/ { products[kernel]++ }
    /[ \t]HGMMA[^ ]* RZ,/ { dummies[kernel]++ }
    /[ \t]UTMALDG/ { copies[kernel]++ }
    /[ \t](LDL|STL)[. ]/ { local[kernel]++ }
    END {
      for (i = 1; i <= kernels; i++) {
        kernel = order[i]
        lost = 0
        for (j = 1; j <= losses; j++) if (index(loss[j], kernel)) lost++
        bad = !products[kernel] || dummies[kernel] || !copies[kernel] || local[kernel] || lost
        printf "%6d %7d %8d %6d %7d  %-6s  %s\n", products[kernel], dummies[kernel], copies[kernel], local[kernel], lost, bad ? "FAILED" : "", kernel
        failed = failed || bad
      }
      exit failed || losses > 0
    }' "$work/losses" "$work/sass" >"$work/table" || failed=1
  "$demangle" <"$work/table" | sed 's/  void /  /; s/(.*//'
  cat "$work/losses"
done
exit $failed
