#!/usr/bin/env bash
# Packs what a Linux machine with an NVIDIA driver needs to test, measure and train: the program, its tests, the comparison
# with PyTorch, and data. Nothing of this repository, nor Rust, is needed there. docs/GPU.md is the manual.
#
#   gpu-bundle.sh [--out FILE.tar.xz] [--data FOLDER] [--images-per-class N] [--profile release|dev]
#
#   --out     default: target/ddpm-gpu.tar.xz
#   --data    a folder with mnist/ (idx files) and cifar10/ (a folder of images for each class, or one named train with
#             those in it), or one of the two; of CIFAR-10 the first N (default 1000) of each class are packed
#
# Everything is built here: the machine needs a glibc at least as new as the one that the last line names, and x86-64.
# Fails if the file would be larger than 40 MiB, or if a binary depends on more than glibc or on this folder's path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  echo "gpu-bundle.sh: $*" >&2
  exit 1
}

target=${CARGO_TARGET_DIR:-target} out='' data='' images_per_class=1000 profile=release
while [ $# -gt 0 ]; do
  [ $# -gt 1 ] || fail "$1 needs a value, or is unknown"
  case $1 in
    --out) out=$2 ;;
    --data) data=$2 ;;
    --images-per-class) images_per_class=$2 ;;
    --profile) profile=$2 ;;
    *) fail "unknown argument $1" ;;
  esac
  shift 2
done
out=${out:-$target/ddpm-gpu.tar.xz}

# Test executables by the names that run-on-gpu gives them; `unit` is the library's own.
tests="unit wrappers whole_step golden_forward golden_schedulers train cli"

case ${DDPM_NVCC:-} in
  '') scripts/cuda-toolkit.sh ;;
  none) echo "gpu-bundle.sh: DDPM_NVCC=none: a bundle without GPU kernels" >&2 ;;
esac
cargo build --profile "$profile" --features emulator --bin ddpm
cargo build --profile "$profile" -p run-on-gpu
built=$(cargo test --profile "$profile" --no-run --lib $(printf -- '--test %s ' ${tests#unit}) --message-format=json |
  sed -n 's/.*"target":{"kind":\["\([a-z]*\)"\].*"name":"\([a-z_0-9]*\)","src_path.*"executable":"\([^"]*\)".*/\1 \2 \3/p')

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
bundle=$stage/ddpm-gpu
mkdir -p "$bundle/tests" "$bundle/benches"
for program in ddpm run-on-gpu; do
  strip -o "$bundle/$program" "$target/${profile/dev/debug}/$program"
done
for name in $tests; do
  case $name in
    unit) executable=$(sed -n 's/^lib ddpm //p' <<<"$built") ;;
    *) executable=$(sed -n "s/^test $name //p" <<<"$built") ;;
  esac
  [ -f "$executable" ] || fail "cargo built no test executable $name"
  strip -o "$bundle/tests/$name" "$executable"
done
cp -r benches/*.py benches/pytorch "$bundle/benches/"
find "$bundle" -name __pycache__ -prune -exec rm -rf {} +

newest_glibc=0
for binary in "$bundle/ddpm" "$bundle/run-on-gpu" "$bundle"/tests/*; do
  needed=$(objdump -p "$binary" | sed -n 's/^ *NEEDED *//p')
  strange=$(grep -vE '^(libc|libm|libgcc_s|ld-linux-x86-64|libdl|libpthread|librt)\.so\.[0-9]+$' <<<"$needed" || true)
  [ -z "$strange" ] || fail "$(basename "$binary") needs $strange"
  ! grep -qaF "$PWD/" "$binary" || fail "$(basename "$binary") holds the path $PWD"
  glibc=$(objdump -T "$binary" | grep -o 'GLIBC_[0-9.]*' | sort -V | tail -1)
  newest_glibc=$(printf '%s\n' "$newest_glibc" "${glibc#GLIBC_}" | sort -V | tail -1)
done

if [ -n "$data" ]; then
  if [ -d "$data/mnist" ]; then
    mkdir -p "$bundle/data/mnist"
    cp "$data"/mnist/*-ubyte* "$bundle/data/mnist/"
  fi
  images=$data/cifar10
  [ -d "$images/train" ] && images=$images/train
  for class in "$images"/*/; do
    [ -d "$class" ] || continue
    mkdir -p "$bundle/data/cifar10/$(basename "$class")"
    # sed, not head: with pipefail, a reader that leaves early would end the script.
    find "$class" -type f | sort | sed -n "1,${images_per_class}p" | xargs cp -t "$bundle/data/cifar10/$(basename "$class")"
  done
  [ -d "$bundle/data" ] || fail "$data has neither mnist nor cifar10"
fi

commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain 2>/dev/null)" ] || commit+=" and changes"
printf '{"version":"%s","commit":"%s","built":"%s","profile":"%s","glibc":"%s"}\n' \
  "$("$bundle/ddpm" --version | cut -d' ' -f2)" "$commit" "$(date -u +%F)" "$profile" "$newest_glibc" >"$bundle/BUNDLE.json"

# One block with a window over all of it: the executables have most of their bytes in common.
mkdir -p "$(dirname "$out")"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$stage" -cf - ddpm-gpu |
  xz --lzma2="preset=${XZ_PRESET:-6},dict=192MiB" >"$out.part"
mv "$out.part" "$out"

du -a --apparent-size -B1024 "$bundle" | sort -rn | awk '{ name = $2; sub(/.*\/ddpm-gpu/, "ddpm-gpu", name) } NR <= 24 { printf "%8d KiB  %s\n", $1, name }'
bytes=$(stat -c %s "$out")
printf '%8d KiB  %s, for x86-64 Linux with glibc %s or newer\n' $((bytes / 1024)) "$out" "$newest_glibc"
[ "$bytes" -le $((40 << 20)) ] || fail "more than 40 MiB: pack fewer images"
