#!/usr/bin/env bash
# Runs everything that shows on a machine that the program is right and how fast it is there: the tests, the sanitizers,
# the benchmarks, the comparison with PyTorch, training. Part of the bundle that scripts/gpu-bundle.sh makes; docs/GPU.md
# says what each stage proves.
#
#   run-on-gpu.sh [--device cuda|emu|cpu] [--only STAGE,...] [--done FILE] [--list] [SECONDS]
#
#   SECONDS         end within this time: a stage that would not is cut, and begun again by the next call (default: no limit)
#   --device        what to run on (default cuda); emu and cpu run the same stages with less work in each
#   --only          run these stages alone, finished or not
#   --done FILE     the stages.jsonl of an earlier call on another machine: what it finished is not run again
#   --list          print the stages and what of them is finished
#
# Results are written when a stage ends, to results/DEVICE beside this script and, where OUT is set, to that folder too: a
# run that is cut short loses the stage that was running. A further call skips what is finished.
#
#   stages.jsonl    one object a stage: result (passed, failed, skipped, timeout), seconds, note, facts
#   summary.txt     the same as a table
#   bench.json      what was measured, as benches/results/README.md describes it
#   wrappers.txt    what a GPU gave, for tests/golden (cuda only)
#   logs.tar.gz     everything that was printed
#   artifacts.tar   samples, curves, tables
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ddpm=$here/ddpm

# Name, the seconds it may take, and what it is.
stages="
device       60  driver, GPU, machine code in use, ceilings
robustness   60  no GPU visible: falls back to the CPU; too large a batch: a clear error
wrappers     60  each instruction's wrapper against arithmetic
ops         240  every op and its gradient against float64
parity      240  whole training steps against the CPU
program     240  files, schedulers and runs through the program, away from its build
determinism 240  two runs and a resumed one give the same bytes
bench       300  training steps and samples a second, time of each kernel
pytorch     540  the same steps in PyTorch
ncu         300  counters of the largest kernels
memcheck    300  compute-sanitizer: accesses out of bounds
racecheck   300  compute-sanitizer: races in shared memory
initcheck   300  compute-sanitizer: reads of what was never written
synccheck   300  compute-sanitizer: wrong barriers
mnist       420  trains digits 1, 2, 3 for 50 epochs
cifar10     300  trains ddpm-cifar10 for some minutes
"

fail() {
  echo "run-on-gpu.sh: $*" >&2
  exit 2
}

device=cuda only='' done_before='' list=no budget=1000000 stage=''
while [ $# -gt 0 ]; do
  case $1 in
    --device | --only | --done | --stage)
      [ $# -gt 1 ] || fail "$1 needs a value"
      case $1 in
        --device) device=$2 ;;
        --only) only=$2 ;;
        --done) done_before=$2 ;;
        --stage) stage=$2 ;; # one stage in this very process: how this script calls itself
      esac
      shift
      ;;
    --list) list=yes ;;
    *[!0-9]* | '') fail "unknown argument $1" ;;
    *) budget=$1 ;;
  esac
  shift
done
case $device in
  cuda | emu | cpu) ;;
  *) fail "unknown device $device: cuda, emu and cpu are known" ;;
esac
for name in ${only//,/ }; do
  grep -q "^$name " <<<"$stages" || fail "unknown stage $name; --list shows them"
done

results=$here/results/$device
scratch=$here/scratch/$device/$stage # of a stage; kept, so that training goes on where it was cut
parts=$results/parts                 # what the result files are made of
facts=$parts/facts/$stage            # one JSON value a file
export CARGO_BIN_EXE_ddpm=$ddpm      # where the tests look for the program
export DDPM_TEST_DEVICES=$device
if [ "$device" = cuda ]; then
  export DDPM_REQUIRE_GPU=1
else
  export DDPM_TEST_SHAPES=few
fi

on_gpu() { [ "$device" = cuda ]; }
note() { echo "$*" >"$parts/notes/$stage"; }
skip() {
  note "$*"
  exit 77
}
fact() { cat >"$facts/$1.json"; } # the JSON value on standard input
keep() { cp "$1" "$parts/artifacts/$2"; }
has() { "$ddpm" "$@" --help >/dev/null 2>&1; }

# Runs a test executable, prints what it says, and notes how many passed.
run_tests() {
  local executable=$1
  shift
  "$here/tests/$executable" "$@" 2>&1 | tee "$scratch/$executable.log"
  local status=${PIPESTATUS[0]}
  sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed;.*/\1 \2/p' "$scratch/$executable.log" >>"$scratch/counts"
  note "$(awk '{ passed += $1; failed += $2 } END { print passed + 0, "passed,", failed + 0, "failed" }' "$scratch/counts")"
  return "$status"
}

# A small network that uses every part of a run, on drawn digits.
tiny=(--set model.image_size=8 --set 'model.channels=[8,16]' --set model.groups=4 --set model.dropout=0.1
  --set data.limit=100 --set train.batch_size=4 --set sample.n=0 --set train.lr_schedule=constant)

# The benchmark models with the batches to measure: PRESET:BATCH.
models() {
  case $device in
    cuda) echo ddpm-cifar10:128 mnist-123:128 unet64:32 unet64:128 quickstart:32 ;;
    cpu) echo quickstart:32 ;;
    emu) echo quickstart:1 ;;
  esac
}

stage_device() {
  uname -srm
  grep -m1 '^model name' /proc/cpuinfo
  command -v nvidia-smi && nvidia-smi
  "$ddpm" devices
  "$ddpm" devices --json | fact devices
  note "$("$ddpm" devices | grep "^${device/cuda/cuda:0} " | sed 's/^[^ ]* *//')"
  if on_gpu; then
    # Machine code that was in the program, not what the driver has made of its PTX.
    "$ddpm" devices | grep '^cuda:0 .* runs sm_[0-9]*$' || return 1
  fi
  if has bench ceilings; then
    "$ddpm" bench ceilings --device "$device" | tee ceilings.json && fact ceilings <ceilings.json
  fi
}

stage_robustness() {
  CUDA_VISIBLE_DEVICES='' "$ddpm" bench train --steps 1 --warmup 0 "${tiny[@]}" 2>&1 | tee fallback.log
  grep -q '^computing on the CPU (' fallback.log && grep -q '"device":"cpu ' fallback.log || return 1
  local wanted=(--set train.batch_size=1000000)
  case $device in
    cpu) return 0 ;;
    emu)
      export DDPM_EMU=memory=60000000
      wanted=(--set train.batch_size=512)
      ;;
  esac
  if "$ddpm" bench train --device "$device" "${wanted[@]}" 2>&1 | tee memory.log; then
    echo "a batch that cannot fit was accepted"
    return 1
  fi
  grep '^error: .*out of memory: [0-9]* bytes wanted, [0-9]* of [0-9]* free; train.batch_size = [0-9]* would fit' memory.log
}

stage_wrappers() {
  [ "$device" != cpu ] || skip "there are no kernels on the CPU"
  if on_gpu; then
    export DDPM_WRITE_GOLDEN=$results/wrappers.txt
  fi
  run_tests wrappers
}

stage_ops() {
  if on_gpu; then
    run_tests unit
  else
    run_tests unit ops::
  fi
}

stage_parity() { run_tests whole_step; }

stage_program() {
  local status=0
  for executable in golden_forward golden_schedulers train cli; do
    [ "$device" != emu ] || [ "$executable" = golden_schedulers ] || continue # these run on the CPU
    run_tests "$executable" || status=1
  done
  return $status
}

stage_determinism() {
  local settings=("${tiny[@]}") steps=200
  on_gpu && settings=(--set train.lr_schedule=constant --set sample.n=0)
  [ "$device" = emu ] && steps=6
  train() { # NAME STEPS [MORE]
    "$ddpm" train --device "$device" --out "$1" "${settings[@]}" --set "train.steps=$2" --set train.warmup_steps=0 \
      --set train.checkpoint_every=$((steps / 2)) "${@:3}" >/dev/null 2>"$1.err" || {
      cat "$1.err"
      return 1
    }
  }
  rm -rf first second resumed
  train first $steps && train second $steps && train resumed $((steps / 2)) && train resumed $steps --resume || return 1
  local last
  last=$(printf 'checkpoints/step-%08d.safetensors' $steps)
  cmp "first/$last" "second/$last" && cmp "first/$last" "resumed/$last" || return 1
  sha256sum {first,second,resumed}/"$last"
  note "$steps steps: two runs and a resumed one are equal"
}

stage_bench() {
  local counts=(--steps 30 --warmup 10) model
  on_gpu || counts=(--steps 2 --warmup 1)
  [ "$device" = emu ] && counts=(--steps 1 --warmup 0)
  for model in $(models); do
    local preset=${model%:*} batch=${model#*:} begin
    "$ddpm" bench train --device "$device" --preset "$preset" --set "train.batch_size=$batch" "${counts[@]}" |
      tee step.json || return 1
    fact "$preset-$batch" <step.json
    if has bench kernels && [ "$device" != emu ]; then
      "$ddpm" bench kernels --device "$device" --preset "$preset" --set "train.batch_size=$batch" >kernels.json || return 1
      keep kernels.json "kernels-$preset-$batch.json"
      "$ddpm" profile --device "$device" --preset "$preset" --batch "$batch" >profile.txt || return 1
      keep profile.txt "profile-$preset-$batch.txt"
    fi
  done
  if on_gpu && has bench convolution; then
    local shape
    # Input, output channels, kernel: layers of ddpm-cifar10, mnist-123 and unet64, and a linear one.
    for shape in 128x32x32x128:128:3 128x16x16x256:256:3 128x8x8x256:256:3 128x4x4x512:512:3 32x64x64x64:64:3 128x16x16x256:768:1; do
      local input=${shape%%:*} rest=${shape#*:}
      "$ddpm" bench convolution "$input" "${rest%:*}" --kernel "${rest#*:}" --device cuda || return 1
    done >convolutions.jsonl
    keep convolutions.jsonl convolutions.jsonl
  fi
  if on_gpu && has bench sample; then
    "$ddpm" bench sample --device cuda --preset ddpm-cifar10 --n 256 | tee sample.json || return 1
    fact sample-ddpm-cifar10 <sample.json
  fi
  begin=$(date +%s%N)
  rm -rf one
  "$ddpm" train --device "$device" --out one "${tiny[@]}" --set train.steps=1 >/dev/null || return 1
  echo $((($(date +%s%N) - begin) / 1000000)) | tee one_step_ms
  fact run_of_one_step_ms <one_step_ms
  note "$(sed -n 's/.*"ms_per_step":\([0-9.]*\).*/\1 ms a step/p' step.json); a run of one step: $(cat one_step_ms) ms"
}

stage_pytorch() {
  on_gpu || skip "compares GPUs"
  [ -f "$here/benches/compare.py" ] || skip "this bundle has no benches/compare.py"
  python3 -c 'import torch; assert torch.cuda.is_available()' || skip "no PyTorch that sees the GPU"
  local mode case name
  # What takes longest to compile comes last; what a call that was cut has measured is kept.
  for mode in eager compile max-autotune; do
    for case in ddpm-cifar10:128:30 mnist-123:128:30 unet64:32:60; do
      name=${case%%:*}-$mode
      [ -s "$name.json" ] ||
        python3 "$here/benches/compare.py" --device cuda --ddpm "$ddpm" --case "$case" --mode "$mode" --json "$name.json" ||
        return 1
      fact "$name" <"$name.json"
    done
    note "$mode and what is before it"
  done
}

stage_ncu() {
  on_gpu || skip "needs a GPU"
  command -v ncu >/dev/null || skip "no ncu"
  local bench=("$ddpm" bench train --device cuda --preset ddpm-cifar10 --set train.batch_size=128 --steps 1 --warmup 1)
  local ncu=(ncu --clock-control none --graph-profiling node --csv --page raw --print-kernel-base function --print-units base)
  local metrics=gpu__time_duration.sum,sm__throughput.avg.pct_of_peak_sustained_elapsed
  metrics+=,gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed,dram__bytes.sum
  "${ncu[@]}" --launch-count 800 --metrics "$metrics" --log-file all.csv "${bench[@]}" || return 1
  keep all.csv ncu-all.csv
  # Total nanoseconds by kernel: the column is found by its heading.
  awk -F'","' '
    !name && /Kernel Name/ { for (i = 1; i <= NF; i++) { if ($i ~ /Kernel Name/) name = i; if ($i ~ /time_duration/) time = i } next }
    name && NF >= time { gsub(/[",]/, "", $time); sum[$name] += $time; count[$name]++ }
    END { for (k in sum) printf "%12.0f ns %4d launches  %s\n", sum[k], count[k], k }' all.csv | sort -rn | tee kernels.txt
  keep kernels.txt ncu-kernels.txt
  local largest
  largest=$(head -5 kernels.txt | awk '{ print $NF }' | paste -sd'|')
  [ -n "$largest" ] || return 1
  note "largest: ${largest//|/, }"
  ncu --clock-control none --graph-profiling node --set full --kernel-name-base function --kernel-name "regex:^($largest)\$" \
    --launch-count 15 --page details --log-file details.txt "${bench[@]}" && keep details.txt ncu-details.txt
}

sanitize() {
  on_gpu || skip "needs a GPU"
  command -v compute-sanitizer >/dev/null || skip "no compute-sanitizer"
  export DDPM_TEST_SHAPES=few
  local log=$scratch/sanitizer.log status=0 options=(--tool "$stage" --error-exitcode 9)
  # A kernel's parameters are counted by asking the driver until it says no.
  [ "$stage" != memcheck ] || options+=(--report-api-errors no)
  for tests in wrappers 'unit ops::'; do
    # shellcheck disable=SC2086 # an executable and its filter
    set -- $tests
    compute-sanitizer "${options[@]}" "$here/tests/$1" "${@:2}" --test-threads=1 2>&1 | tee -a "$log"
    [ "${PIPESTATUS[0]}" = 0 ] || status=1
  done
  note "$(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$log" | sed 's/=* *//' | paste -sd';')"
  return $status
}
stage_memcheck() { sanitize; }
stage_racecheck() { sanitize; }
stage_initcheck() { sanitize; }
stage_synccheck() { sanitize; }

# Trains to the end or for so many seconds, and keeps what there is to look at. A run that was cut goes on.
train_model() { # SECONDS ARGUMENTS
  timeout --foreground --signal=INT "$1" "$ddpm" train --device "$device" --out run --resume "${@:2}"
  local status=$?
  [ $status = 0 ] || [ $status = 124 ] || [ $status = 130 ] || return $status
  if [ $status != 0 ]; then
    "$ddpm" sample run --device "$device" --n 64 --steps 50 --sampler ddim --out run/sheet.png || return 1
  fi
  local file
  for file in run/config.toml run/loss.svg run/sheet.png $(ls run/samples/*.png 2>/dev/null | tail -2); do
    [ -f "$file" ] && keep "$file" "$stage-$(basename "$file")"
  done
  gzip -c run/metrics.jsonl >metrics.gz && keep metrics.gz "$stage-metrics.jsonl.gz"
  tail -1 run/metrics.jsonl | fact last_step
  note "$(tail -1 run/metrics.jsonl | cut -c1-120)"
}

stage_mnist() {
  if ! on_gpu; then
    train_model 60 "${tiny[@]}" --set train.steps=3 --set sample.n=4 --set sample.steps=2
    return
  fi
  [ -d "$here/data/mnist" ] || skip "this bundle has no MNIST"
  # 18,831 training images of digits 1, 2, 3: 50 epochs of 589 batches.
  train_model 380 --preset mnist-123 --data "$here/data/mnist" --set train.steps=29450 --set train.checkpoint_every=2000
}

stage_cifar10() {
  on_gpu || skip "takes a GPU"
  [ -d "$here/data/cifar10" ] || skip "this bundle has no CIFAR-10"
  train_model 240 --preset ddpm-cifar10 --data "$here/data/cifar10" --set train.steps=20000 \
    --set train.checkpoint_every=2000 --set train.sample_every=0
}

if [ -n "$stage" ]; then
  mkdir -p "$scratch" && cd "$scratch" || exit 1
  rm -f counts
  "stage_$stage"
  exit
fi

quote() { tr -s '\n\t' '  ' | tr -d '\000-\037' | sed 's/\\/\\\\/g; s/"/\\"/g; s/ *$//; s/.*/"&"/'; }
is_finished() { grep -qs "^{\"stage\":\"$1\"," "$results/stages.jsonl"; }
note_of() { head -c 200 "$parts/notes/$1" 2>/dev/null; }

# {"key":VALUE,...} of the files of a folder.
facts_of() {
  local file separator=''
  printf '{'
  for file in "$parts/facts/$1"/*.json; do
    [ -s "$file" ] || continue
    printf '%s"%s":%s' "$separator" "$(basename "$file" .json)" "$(tr -d '\n' <"$file")"
    separator=,
  done
  printf '}'
}

record() { # STAGE RESULT SECONDS
  local others
  others=$(grep -v "^{\"stage\":\"$1\"," "$results/stages.jsonl" 2>/dev/null)
  {
    [ -z "$others" ] || printf '%s\n' "$others"
    printf '{"stage":"%s","device":"%s","result":"%s","seconds":%d,"note":%s,"facts":%s}\n' "$1" "$device" "$2" "$3" \
      "$({ note_of "$1"; echo; } | quote)" "$(facts_of "$1")"
  } >"$results/stages.new"
  mv "$results/stages.new" "$results/stages.jsonl"
}

# The facts of a finished stage.
recorded() {
  local line
  line=$(grep "^{\"stage\":\"$1\"," "$results/stages.jsonl" 2>/dev/null | sed 's/.*,"facts":\({.*}\)}$/\1/')
  echo "${line:-{\}}"
}

summarise() {
  local name _ what outcome
  {
    printf '%-12s %-8s %7s  %s\n' stage result seconds note
    while read -r name _ what; do
      [ -n "$name" ] || continue
      outcome=$(sed -n "s/^{\"stage\":\"$name\",\"device\":\"[a-z]*\",\"result\":\"\([a-z]*\)\",\"seconds\":\([0-9]*\),.*/\1 \2/p" \
        "$results/stages.jsonl" 2>/dev/null)
      # shellcheck disable=SC2086 # a result and seconds, or nothing
      printf '%-12s %-8s %7s' "$name" ${outcome:-- -}
      printf '  %s\n' "$(if [ -s "$parts/notes/$name" ]; then note_of "$name"; else echo "$what"; fi)"
    done <<<"$stages"
  } >"$results/summary.txt"
  {
    printf '{"date":"%s","bundle":%s,' "$(date -u +%F)" "$(cat "$here/BUNDLE.json" 2>/dev/null || echo null)"
    printf '"environment":%s,"steps":%s,"comparison":%s,"training":{"mnist":%s,"cifar10":%s}}\n' "$(recorded device)" \
      "$(recorded bench)" "$(recorded pytorch)" "$(recorded mnist)" "$(recorded cifar10)"
  } >"$results/bench.json"
}

# Eight files at most, none above 16 MiB.
publish() {
  summarise
  (cd "$parts/logs" && for log in *.log; do [ ! -f "$log" ] || tail -c 1500000 "$log" >"../tails/$log"; done)
  tar -czf "$results/logs.tar.gz" -C "$parts/tails" .
  find "$parts/artifacts" -type f -size +3000k -delete
  tar -cf "$results/artifacts.tar" -C "$parts/artifacts" .
  if [ -n "${OUT:-}" ]; then
    find "$results" -maxdepth 1 -type f -size -16000k -exec cp {} "$OUT/" \;
  fi
}

mkdir -p "$parts"/{logs,tails,artifacts,notes,facts} || exit 1
if [ -n "$done_before" ]; then
  cp "$done_before" "$results/stages.jsonl" || exit 1
fi
if [ $list = yes ]; then
  summarise
  cat "$results/summary.txt"
  exit
fi

begun=$SECONDS failures=0 running=''
# `timeout` passes the signal on: nothing goes on behind the back of the next call.
trap '[ -z "$running" ] || kill $running; exit 143' INT TERM HUP
while read -r name limit _; do
  [ -n "$name" ] || continue
  if [ -n "$only" ]; then
    [[ ",$only," == *",$name,"* ]] || continue
  elif is_finished "$name"; then
    continue
  fi
  left=$((budget - SECONDS + begun))
  if [ "$left" -lt 15 ]; then
    echo "$name: not begun, $left s are left"
    break
  fi
  allowed=$((left - 8 < limit ? left - 8 : limit)) # the rest is for writing results
  rm -rf "$parts/facts/$name" "$parts/notes/$name"
  mkdir -p "$parts/facts/$name"
  start=$SECONDS
  printf '%-12s ' "$name"
  timeout --kill-after=5 "$allowed" "${BASH_SOURCE[0]}" --device "$device" --stage "$name" >"$parts/logs/$name.log" 2>&1 </dev/null &
  running=$!
  wait $running
  case $? in
    0) result=passed ;;
    77) result=skipped ;;
    124 | 137) if [ "$allowed" -lt "$limit" ]; then result=cut; else result=timeout; fi ;;
    *) result=failed ;;
  esac
  printf '%-8s %4d s  %s\n' "$result" $((SECONDS - start)) "$(note_of "$name")"
  case $result in
    failed | timeout) failures=$((failures + 1)) && tail -5 "$parts/logs/$name.log" ;;
  esac
  # What the whole run's end cut off is begun again by the next call.
  [ $result = cut ] || record "$name" "$result" $((SECONDS - start))
  publish
done <<<"$stages"
publish
echo
cat "$results/summary.txt"
[ $failures = 0 ]
