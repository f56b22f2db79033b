#!/usr/bin/env bash
# Opens the pages that the program writes in headless Chromium: a run that has finished, was resumed, trains, was killed; a
# run of points; experiments; and the book, where it was built. On a desk and on a phone, light and dark, nothing may be
# missing, broken or too small to read.
#   scripts/browser-check.sh [--program DDPM] [--shots FOLDER]     of a program that is built already; with pictures
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

browser() { command -v chromium-headless-shell || command -v chromium || command -v google-chrome; }
browser >/dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends chromium-headless-shell; }

if [ "${1:-}" = --program ]; then
  ddpm=$(realpath "$2")
  shift 2
else
  # With the emulator, as the tests build it: nothing is compiled for this alone.
  cargo build --release --features emulator --bin ddpm
  ddpm=$PWD/${CARGO_TARGET_DIR:-target}/release/ddpm
fi
work=$(mktemp -d)
alive=
trap '[ -z "$alive" ] || kill -9 "$alive" 2>/dev/null || true; rm -rf "$work"' EXIT

tiny=(--device cpu --set model.image_size=16 --set 'model.channels=[8,16]' --set model.groups=4
  --set 'model.attention_levels=[]' --set data.limit=500 --set train.batch_size=8 --set sample.n=16 --set sample.steps=10)
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }; }
train() { quietly "$ddpm" train "$@"; }

train --out "$work/finished run" "${tiny[@]}" --set train.steps=60 --set train.sample_every=10
train --out "$work/resumed" "${tiny[@]}" --set train.steps=20 --set train.validation_fraction=0.2 --set train.validate_every=5
train --out "$work/resumed" --resume --device cpu --set train.steps=40
train --out "$work/points" --preset points-2d --device cpu --set train.steps=60 --set train.sample_every=20 \
  --set sample.steps=10
quietly "$ddpm" experiment schedules --quick --device cpu --out "$work/experiments"
quietly "$ddpm" experiment thesis-2d-data --quick --device cpu --out "$work/experiments"
"$ddpm" train --out "$work/alive" "${tiny[@]}" --set train.steps=100000000 >/dev/null 2>&1 &
alive=$!
disown "$alive" # its end is meant, and no news

python3 scripts/browser_check.py --browser "$(browser)" --alive "$work/alive/report.html" "$alive" "$@" \
  "$work/finished run/report.html" "$work/resumed/report.html" "$work/points/report.html" \
  "$work"/experiments/*/index.html "$work/experiments/index.html" $(ls target/book/*.html 2>/dev/null)
