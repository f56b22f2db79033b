#!/usr/bin/env bash
# Training on several processes, built for Open MPI and for MPICH: 1, 2 and 4 ranks write the same bytes, a run that was
# killed on 4 goes on to them on 2 and on 1, a rank that dies or hangs ends the job, and ranks that differ are refused.
#   scripts/mpi-check.sh [KILLS [STOPS]]     ranks that are killed and stopped, of each MPI: 2 and 1 where nothing is said
# PROGRAM_openmpi and PROGRAM_mpich name programs that are built already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
kills=${1:-2} stops=${2:-1}

command -v mpirun.openmpi mpirun.mpich >/dev/null || {
  apt-get update -q
  apt-get install -qy openmpi-bin libopenmpi-dev mpich libmpich-dev libclang-dev
}
# Some containers run as root, and have fewer cores than there are ranks.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
export DDPM_RANK_LIMIT_S=3 RAYON_NUM_THREADS=1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { echo "mpi-check.sh: $*" >&2; exit 1; }
said() { grep -q -- "$1" "$2" || { cat "$2" >&2; fail "\"$1\" is missing in $2"; }; }

# The libraries are those of every other build; the program is compiled quickly, without its kernels for GPUs.
build() {
  cargo clean --release -p mpi-sys -p mpi 2>/dev/null
  MPICC=mpicc.$1 DDPM_NVCC=none cargo build --release --bin ddpm --features mpi,emulator \
    --config 'profile.release.package.ddpm.opt-level=1'
  cp "${CARGO_TARGET_DIR:-target}/release/ddpm" "$folder/ddpm-$1"
}

small=(--set 'model.channels=[8,16]' --set model.groups=4 --set 'model.attention_levels=[1]' --set model.image_size=8
  --set train.batch_size=16 --set train.shards=4 --set train.checkpoint_every=10 --set train.keep_checkpoints=0
  --set sample.n=4 --set sample.sampler=ddim --set sample.steps=5 --set train.sample_every=25 --set data.limit=200
  --set train.validate_every=20 --set train.validation_fraction=0.2 --set data.flip=true)
declare -A models=([digits]='--set model.classes=10 --set diffusion.label_drop=0.2'
  [unconditional]='--set model.classes=0 --set sample.guidance=0 --set model.dropout=0.1')

# ranks N ARGUMENTS: trains on so many; on 1 without a launcher.
ranks() {
  local n=$1
  shift
  if [ "$n" = 1 ]; then "$program" train --device cpu "$@"; else "${run[@]}" -n "$n" "$program" train --device cpu "$@"; fi
}
train() { ranks "$1" --out "$2" "${small[@]}" "${@:3}"; }

# Checkpoints, samples, and metrics but for times.
same() {
  for file in "$1"/checkpoints/* "$1"/samples/*; do
    [ -e "$file" ] || continue # no samples were asked for
    cmp "$file" "$2${file#"$1"}" || fail "$2 has other bytes than $1"
  done
  cmp <(sed 's/,"images_per_second":[^,}]*//' "$1/metrics.jsonl") \
    <(sed 's/,"images_per_second":[^,}]*//' "$2/metrics.jsonl") || fail "$2 has other metrics than $1"
}

# The processes of a run that compute.
processes() { pgrep -f -- "^$program train .*--out $1( |\$)"; }

# strike SIGNAL RUN: sends a signal to a random rank of a run on 4 ranks that begins or goes on; the job must end soon.
strike() { until struck "$@"; do rm -rf "$2"; done; }

# Fails where the run came to its end before.
struck() {
  local run_dir=$2 log=$folder/strike.log job victim began
  (train 4 "$run_dir" --resume --set train.steps=400 >"$log" 2>&1; echo "exit code $?" >>"$log") &
  job=$!
  for _ in $(seq 300); do
    grep -q '^ranks ' "$log" && [ -f "$run_dir/metrics.jsonl" ] && break
    sleep 0.1
  done
  sleep "0.$((RANDOM % 10))"
  victim=$(processes "$run_dir" | shuf -n 1)
  began=$SECONDS
  if [ -z "$victim" ] || ! kill "-$1" "$victim"; then wait "$job"; return 1; fi
  wait "$job"
  [ $((SECONDS - began)) -le 15 ] || fail "the job lived $((SECONDS - began)) s after signal $1"
  if grep -q 'exit code 0' "$log"; then return 1; fi
  for checkpoint in "$run_dir"/checkpoints/*.safetensors; do
    [ ! -f "$checkpoint" ] || "$program" inspect "$checkpoint" >/dev/null || fail "$checkpoint is damaged"
  done
  [ "$1" != STOP ] || said 'gave no sign of life for 3 s' "$log"
}

check() {
  local mpi=$1 model n
  local here=$folder/$mpi
  run=(timeout 300 "mpirun.$mpi")
  [ "$mpi" = openmpi ] && run+=(--oversubscribe --bind-to none)
  mkdir "$here"

  for model in "${!models[@]}"; do
    local settings
    read -ra settings <<<"${models[$model]}"
    for n in 1 2 4; do
      train "$n" "$here/$model-$n" "${settings[@]}" --set train.steps=50 >"$here/$model-$n.log" 2>&1 ||
        { cat "$here/$model-$n.log" >&2; fail "$model on $n ranks failed"; }
      [ "$n" = 1 ] || said "ranks    $n" "$here/$model-$n.log"
      [ "$(grep -c '^device ' "$here/$model-$n.log")" = 1 ] || fail "not rank 0 alone has printed"
    done
    same "$here/$model-1" "$here/$model-2"
    same "$here/$model-1" "$here/$model-4"
    if grep -aqiE 'openmpi|mpich|hydra|"ranks"' "$here/$model-4/checkpoints/step-00000050.safetensors"; then
      fail "a checkpoint tells who trained it"
    fi
  done
  echo "$mpi: 1, 2 and 4 ranks write the same bytes"

  # Killed on 4, resumed on 2 and on 1.
  local settings
  read -ra settings <<<"${models[digits]}"
  small+=("${settings[@]}")
  train 4 "$here/whole" --set train.steps=400 >/dev/null 2>&1
  strike KILL "$here/killed"
  cp -r "$here/killed" "$here/killed-1"
  train 2 "$here/killed" --resume --set train.steps=400 >/dev/null 2>&1
  train 1 "$here/killed-1" --resume --set train.steps=400 >/dev/null 2>&1
  same "$here/whole" "$here/killed"
  same "$here/whole" "$here/killed-1"
  for _ in $(seq 2 "$kills"); do strike KILL "$here/struck"; done
  for _ in $(seq "$stops"); do strike STOP "$here/struck"; done
  train 4 "$here/struck" --resume --set train.steps=400 >/dev/null 2>&1
  same "$here/whole" "$here/struck"
  echo "$mpi: runs whose ranks were killed ($kills) and stopped ($stops) go on to the same bytes"

  # A step that is not finite, and ranks that are not alike.
  local log=$here/refused.log
  refused() { if "$@" >"$log" 2>&1; then fail "not refused: $*"; else [ $? != 124 ] || fail "hung: $*"; fi; }
  refused train 2 "$here/broken" --set train.learning_rate=1e30 --set train.steps=400 --set train.clip_norm=0
  said 'is not finite' "$log"
  refused train 3 "$here/three"
  said '3 processes: wanted 1, 2, 4, 8' "$log"
  refused train 2 "$here/shards" --set train.shards=1
  said 'train.shards=2' "$log"
  local one=("$program" train --device cpu --out "$here/seeds" "${small[@]}" --set train.steps=5)
  refused "${run[@]}" -n 1 "${one[@]}" : -n 1 "${one[@]}" --set train.seed=1
  said 'the configuration of rank 1 is not that of rank 0: seed = 1, not seed = 0' "$log"
  refused "${run[@]}" -n 1 "${one[@]}" : -n 1 "${one[@]}" --set data.source=no/such/folder
  said 'rank 1: ' "$log"
  small=("${small[@]:0:$((${#small[@]} - ${#settings[@]}))}")
  echo "$mpi: ranks that differ are refused"
}

emulated() {
  for precision in f32 bf16; do
    for n in 1 2; do
      local start=()
      [ "$n" = 1 ] || start=(mpirun.openmpi --oversubscribe --bind-to none -n "$n")
      "${start[@]}" "$program" train --device emu --out "$folder/emu-$precision-$n" "${small[@]}" \
        --set "train.precision=$precision" --set train.steps=3 --set train.batch_size=8 --set train.shards=2 \
        --set sample.n=0 --set train.validate_every=0 >/dev/null 2>&1 || fail "emu in $precision on $n ranks failed"
    done
    same "$folder/emu-$precision-1" "$folder/emu-$precision-2"
  done
  echo "emulated GPUs: 1 and 2 ranks write the same bytes in f32 and bf16"
}

for mpi in openmpi mpich; do
  built=PROGRAM_$mpi
  if [ -n "${!built:-}" ]; then cp "${!built}" "$folder/ddpm-$mpi"; else build "$mpi"; fi
  program=$folder/ddpm-$mpi
  check "$mpi"
done
program=$folder/ddpm-openmpi
emulated
# A program for one MPI under the other's launcher becomes several worlds of one: refused, not trained twice.
if mpirun.mpich -n 2 "$program" train --device cpu --out "$folder/other" "${small[@]}" >"$folder/other.log" 2>&1; then
  fail "a program for Open MPI trained under MPICH's launcher"
fi
said 'PMI_SIZE = 2' "$folder/other.log"
said 'built for Open MPI' "$folder/other.log"
echo "mpi-check.sh: all is well, in $SECONDS s"
