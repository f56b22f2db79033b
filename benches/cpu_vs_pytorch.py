#!/usr/bin/env python3
"""Our training step against PyTorch's on the same cores: time and peak memory, as ratios of one run.

    cargo build --release
    python benches/cpu_vs_pytorch.py [--case PRESET:BATCH:STEPS ...] [--rounds 3] [--json FILE]

needs torch and diffusers, and an otherwise idle machine: OpenMP's threads wait for each other at every layer, so that a
neighbour slows PyTorch by more than its share. The two programs take turns; every turn is a process of its own, whose
peak memory the system reports. The result is a table in Markdown.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WARMUP_STEPS = 2


def measure(command: list[str], threads: int) -> dict:
    """Runs a program that prints a JSON object; adds its peak resident memory."""
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"{' '.join(command)}: exit status {process.returncode}")
        output.seek(0)
        return json.loads(output.read()) | {"peak_bytes": usage.ru_maxrss * 1024}


def summary(turns: list[dict]) -> dict:
    step_ms = statistics.median(turn["ms_per_step"] for turn in turns)
    peak_bytes = max(turn["peak_bytes"] for turn in turns)
    return {
        "ms_per_step": step_ms,
        "min_ms_per_step": min(turn["min_ms_per_step"] for turn in turns),
        "images_per_s": 1e3 * turns[0]["batch_size"] / step_ms,
        "peak_bytes": peak_bytes,
        # What loading the program costs before there is a model: of PyTorch, some hundred megabytes.
        "peak_above_idle_bytes": peak_bytes - max(turn.get("idle_bytes", 0) for turn in turns),
    }


def compare(preset: str, batch: int, steps: int, args: argparse.Namespace) -> dict:
    counts = ["--steps", str(steps), "--warmup", str(WARMUP_STEPS)]
    ddpm = [str(args.ddpm), "bench", "train", "--device", "cpu", "--preset", preset, *counts]
    ddpm += ["--set", f"train.batch_size={batch}"]
    pytorch = [sys.executable, str(ROOT / "benches" / "pytorch" / "train_step.py"), preset, *counts]
    pytorch += ["--batch", str(batch), "--threads", str(args.threads), *(["--compile"] if args.compile else [])]
    ours, theirs = [], []
    for _ in range(args.rounds):
        ours.append(measure(ddpm, args.threads))
        theirs.append(measure(pytorch, args.threads))
    if ours[0]["parameters"] != theirs[0]["parameters"]:
        sys.exit(f"{preset}: {ours[0]['parameters']} parameters here, {theirs[0]['parameters']} in PyTorch")
    case = {
        "preset": preset,
        "batch_size": batch,
        "parameters": ours[0]["parameters"],
        "torch": theirs[0]["torch"],
        "ddpm": summary(ours),
        "pytorch": summary(theirs),
    }
    case["times_as_fast"] = case["pytorch"]["ms_per_step"] / case["ddpm"]["ms_per_step"]
    case["memory_ratio"] = case["ddpm"]["peak_bytes"] / case["pytorch"]["peak_bytes"]
    above_idle = [case[side]["peak_above_idle_bytes"] for side in ("ddpm", "pytorch")]
    case["memory_ratio_above_idle"] = above_idle[0] / above_idle[1]
    return case


def markdown(cases: list[dict]) -> str:
    lines = [
        "| model | batch | ddpm | PyTorch | times as fast | peak memory, ddpm | PyTorch | of it the model's | memory ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        ours, theirs = case["ddpm"], case["pytorch"]
        speed = [f"{side['ms_per_step']:.0f} ms ({side['images_per_s']:.1f} images/s)" for side in (ours, theirs)]
        peaks = (ours["peak_bytes"], theirs["peak_bytes"], theirs["peak_above_idle_bytes"])
        memory = [f"{n / 1e6:.0f} MB" for n in peaks]
        ratios = f"{case['memory_ratio']:.2f} ({case['memory_ratio_above_idle']:.2f} of the model's)"
        row = [case["preset"], str(case["batch_size"]), *speed, f"{case['times_as_fast']:.2f}", *memory, ratios]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", help="PRESET:BATCH:STEPS, repeatable")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each program")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="let PyTorch compile its model")
    parser.add_argument("--ddpm", type=Path, default=ROOT / "target" / "release" / "ddpm", help="our binary")
    parser.add_argument("--json", type=Path, help="also write all figures here")
    args = parser.parse_args()
    if os.getloadavg()[0] > 0.3:
        print(f"warning: the load average is {os.getloadavg()[0]:.1f}; the figures will flatter ddpm", file=sys.stderr)
    cases = []
    for case in args.case or ["ddpm-cifar10:4:4", "quickstart:32:20"]:
        preset, batch, steps = case.split(":")
        cases.append(compare(preset, int(batch), int(steps), args))
    if args.json:
        figures = {"threads": args.threads, "rounds": args.rounds, "cases": cases}
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(markdown(cases))


if __name__ == "__main__":
    main()
