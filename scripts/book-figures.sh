#!/usr/bin/env bash
# Remakes every figure of the book in docs/book/images, drawn by the program. A few minutes on two cores.
#   scripts/book-figures.sh [DDPM]     of a program that is built already
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ -n "${1:-}" ]; then
  ddpm=$(realpath "$1")
else
  cargo build --release --features emulator --bin ddpm
  ddpm=$PWD/${CARGO_TARGET_DIR:-target}/release/ddpm
fi
images=$PWD/docs/book/images scripts=$PWD/scripts
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

quietly() { "$@" >log 2>&1 || { cat log >&2; exit 1; }; }
experiment() { quietly "$ddpm" experiment "$1" --quick --device cpu --out .; }
# Keeps every n-th point of a plot of points.
thin() {
  python3 - "$1" <<'PYTHON'
import re, sys
every, svg = int(sys.argv[1]), open("in.svg").read()

def thinned(found):
    x = y = 0
    kept = []
    for number, (dx, dy) in enumerate(re.findall(r"m ?(-?\d+)[ ]?(-?\d+)h0", found[1])):
        x, y = x + int(dx), y + int(dy)
        if number % every == 0:
            kept.append(f"M{x} {y}h0")
    return f'd="{"".join(kept)}"'

open("out.svg", "w").write(re.sub(r'd="((?:m ?-?\d+ ?-?\d+h0)+)"', thinned, svg))
PYTHON
}

# Chapter 1
experiment schedules
cp schedules/discrete-log-snr.svg schedules/log-snr.svg "$images"
experiment thesis-2d-noising
cp thesis-2d-noising/2d-noising.svg in.svg && thin 10 && cp out.svg "$images/noising.svg"

# Chapters 2, 4, 5: one perceptron, four targets
for target in x0 epsilon v score; do
  quietly "$ddpm" train --preset points-2d --device cpu --data waves --out "$target" --set model.classes=2 \
    --set diffusion.target=$target --set train.batch_size=256 --set train.steps=1500 --set train.lr_schedule=cosine \
    --set sample.n=600 --set sample.steps=50
done
draw() { quietly "$ddpm" sample "$1" --device cpu -n 600 --out "$images/$2.svg" "${@:3}"; }
for target in x0 epsilon v score; do
  draw $target target-$target --sampler dpm-solver --steps 20
done
draw epsilon target-epsilon-98 --sampler dpm-solver --steps 20 --set diffusion.t_max=0.98
for steps in 5 20 200; do
  draw v ddpm-$steps --sampler ddpm --steps $steps
  draw v ddim-$steps --sampler ddim --steps $steps
done
draw v dpm-solver-5 --sampler dpm-solver --steps 5
draw v dpm-solver-20 --sampler dpm-solver --steps 20
for w in -1 0 2 8; do
  draw v guidance-$w --class upper --guidance=$w --sampler dpm-solver --steps 20
done

# Chapter 3
experiment ho-bound
cp ho-bound/weights.svg "$images/eps-weights.svg"
experiment snr-weights
cp snr-weights/snr-weights.svg "$images"

# Chapter 4
experiment langevin
cp langevin/density.svg "$images/langevin-density.svg"
cp langevin/shares.svg "$images/langevin-shares.svg"

# Chapter 7
quietly "$ddpm" inspect --preset quickstart --plan "$images/plan-quickstart.svg"

# Chapters 11 to 13, 17: tiles, from the sizes in the kernels; a tree
python3 "$scripts/book/pictures.py" "$images"

# Chapter 14
"$ddpm" profile --preset ddpm-cifar10 --batch-size 128 --model h200 --json | python3 "$scripts/book/roofline.py" "$images"

# Chapter 15
for n in 50 100 200 500 1000 2000; do
  for seed in 0 1 2; do
    quietly "$ddpm" eval --topline --data glyphs --metrics frechet,kid -n $n --seed $seed --device cpu --cache . --out $n-$seed.json
  done
done
python3 "$scripts/book/topline.py" "$images" [0-9]*-[0-9].json

cd "$images"
find . -size +59k | grep . && { echo "book-figures.sh: larger than 60 kB" >&2; exit 1; }
[ "$(du -sk . | cut -f1)" -lt 2000 ]
