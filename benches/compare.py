#!/usr/bin/env python3
"""Our training step against PyTorch's on the same machine: time and peak memory, as ratios of one run.

    cargo build --release
    python benches/compare.py                                            the CPU: quickstart, ddpm-cifar10
    python benches/compare.py --device cuda --mode compile --mode max-autotune --ddpm ./ddpm --json result.json

needs torch, and an otherwise idle machine: OpenMP's threads wait for each other at every layer, so that a neighbour
slows PyTorch by more than its share. The programs take turns: ours starts anew for every turn, PyTorch's is started once
for each mode, since it may compile for minutes, and waits while others run. Peak memory is that of the process on the
CPU, and what the programs asked of the GPU otherwise; nvidia-smi, where there is one that sees the processes, adds what
they really took. The result is a table in Markdown.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WARMUP_STEPS = 3
# PRESET:BATCH:STEPS of each turn.
CASES = {
    "cpu": ["ddpm-cifar10:4:4", "quickstart:32:20"],
    "cuda": ["ddpm-cifar10:128:30", "mnist-123:128:30", "unet64:32:60"],
}
MODES = ["eager", "compile", "max-autotune"]


class GpuMemory(threading.Thread):
    """Watches what a process takes of a GPU's memory, where nvidia-smi tells."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.pid, self.peak_bytes, self.over = pid, None, threading.Event()

    def run(self) -> None:
        query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
        while shutil.which(query[0]) and not self.over.wait(0.5):
            answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout
            rows = [line.split(",") for line in answer.splitlines()]
            mine = [int(row[1]) << 20 for row in rows if row[0].strip() == str(self.pid) and row[1].strip().isdigit()]
            self.peak_bytes = max([self.peak_bytes or 0, *mine]) or None

    def finish(self) -> int | None:
        self.over.set()
        self.join()
        return self.peak_bytes


class Ours:
    """A program that lives for one turn."""

    def __init__(self, command: list[str], environment: dict, on_gpu: bool):
        self.command, self.environment, self.on_gpu = command, environment, on_gpu

    def turn(self) -> dict:
        process = subprocess.Popen(self.command, stdout=subprocess.PIPE, env=self.environment)
        memory = GpuMemory(process.pid)
        memory.start()
        output = process.communicate()[0]
        gpu_bytes = memory.finish()
        if process.returncode != 0:
            sys.exit(f"{' '.join(self.command)}: exit status {process.returncode}")
        report = json.loads(output)
        peak_bytes = report["peak_bytes" if self.on_gpu else "peak_resident_bytes"]
        return report | {"peak_bytes": peak_bytes, "gpu_bytes": gpu_bytes}


class Theirs:
    """A program that waits for its turns."""

    def __init__(self, command: list[str], environment: dict):
        self.command = command
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=environment, text=True, **pipes)

    def turn(self) -> dict:
        memory = GpuMemory(self.process.pid)
        memory.start()
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        gpu_bytes = memory.finish()
        if not line:
            sys.exit(f"{' '.join(self.command)}: exit status {self.process.wait()}")
        return json.loads(line) | {"gpu_bytes": gpu_bytes}

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def summary(turns: list[dict]) -> dict:
    step_ms = statistics.median(turn["ms_per_step"] for turn in turns)
    peak_bytes = max(turn["peak_bytes"] for turn in turns)
    known = {key: turns[0][key] for key in ("mfu", "first_step_s") if key in turns[0]}
    return known | {
        "ms_per_step": step_ms,
        "min_ms_per_step": min(turn["min_ms_per_step"] for turn in turns),
        "images_per_s": 1e3 * turns[0]["batch_size"] / step_ms,
        "peak_bytes": peak_bytes,
        # What loading the program costs before there is a model: of PyTorch on the CPU, some hundred megabytes.
        "peak_above_idle_bytes": peak_bytes - max(turn.get("idle_bytes", 0) for turn in turns),
        "gpu_bytes": max((turn["gpu_bytes"] for turn in turns if turn["gpu_bytes"]), default=None),
    }


def compare(preset: str, batch: int, steps: int, modes: list[str], args: argparse.Namespace, folder: Path) -> dict:
    config = folder / f"{preset}.toml"
    config.write_bytes(subprocess.run([args.ddpm, "presets", preset], capture_output=True, check=True).stdout)
    environment = os.environ | {"RAYON_NUM_THREADS": str(args.threads), "OMP_NUM_THREADS": str(args.threads)}
    counts = ["--steps", str(steps), "--warmup", str(WARMUP_STEPS), "--device", args.device]
    ours = [str(args.ddpm), "bench", "train", "--json", "--config", str(config), "--set", f"train.batch_size={batch}", *counts]
    theirs = [sys.executable, str(ROOT / "benches" / "pytorch" / "train_step.py"), str(config), "--batch", str(batch)]
    theirs += ["--threads", str(args.threads), *counts]
    programs = {"ddpm": Ours(ours, environment, args.device != "cpu")}
    programs |= {mode: Theirs([*theirs, "--mode", mode], environment) for mode in modes}
    turns = {name: [] for name in programs}
    for mode in modes:
        programs[mode].turn()  # it has compiled and is warm when this comes back
    for _ in range(args.rounds):
        for name, program in programs.items():
            turns[name].append(program.turn())
    for mode in modes:
        programs[mode].end()

    first = {name: list_[0] for name, list_ in turns.items()}
    counts = {name: report["parameters"] for name, report in first.items()}
    if len(set(counts.values())) > 1:
        sys.exit(f"{preset}: the networks have different numbers of parameters: {counts}")
    case = {
        "preset": preset,
        "batch_size": batch,
        "parameters": counts["ddpm"],
        "device": first["ddpm"]["device"],
        "torch": first[modes[0]]["torch"],
        "ddpm": summary(turns["ddpm"]),
        "pytorch": {},
    }
    for mode in modes:
        side = summary(turns[mode])
        ratios = {
            "time_ratio": "ms_per_step",
            "memory_ratio": "peak_bytes",
            "memory_ratio_above_idle": "peak_above_idle_bytes",
        }
        case["pytorch"][mode] = side | {ratio: case["ddpm"][key] / side[key] for ratio, key in ratios.items()}
    return case


def markdown(cases: list[dict]) -> str:
    lines = [
        "| model | batch | PyTorch's mode | ddpm | PyTorch | time ratio | peak memory, ddpm | PyTorch | memory ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        for mode, theirs in case["pytorch"].items():
            sides = (case["ddpm"], theirs)
            speed = [f"{side['ms_per_step']:.1f} ms ({side['images_per_s']:.1f} images/s)" for side in sides]
            memory = [f"{side['peak_bytes'] / 1e6:.0f} MB" for side in sides]
            row = [case["preset"], str(case["batch_size"]), mode, *speed, f"{theirs['time_ratio']:.2f}", *memory]
            lines.append("| " + " | ".join([*row, f"{theirs['memory_ratio']:.2f}"]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--case", action="append", help="PRESET:BATCH:STEPS, repeatable")
    parser.add_argument("--mode", action="append", choices=MODES, help="how PyTorch runs, repeatable [default: eager]")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each program")
    parser.add_argument("--threads", type=int, default=2, help="threads on the CPU")
    parser.add_argument("--ddpm", type=Path, default=ROOT / "target" / "release" / "ddpm", help="our binary")
    parser.add_argument("--json", type=Path, help="also write all figures here")
    args = parser.parse_args()
    args.ddpm = args.ddpm.resolve()
    if args.device == "cpu" and os.getloadavg()[0] > 0.3:
        print(f"warning: the load average is {os.getloadavg()[0]:.1f}; the figures will flatter ddpm", file=sys.stderr)
    modes = list(dict.fromkeys(args.mode or ["eager"]))
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        for case in args.case or CASES[args.device.split(":")[0]]:
            preset, batch, steps = case.split(":")
            cases.append(compare(preset, int(batch), int(steps), modes, args, Path(folder)))
    if args.json:
        date = time.strftime("%Y-%m-%d")
        figures = {"date": date, "threads": args.threads, "rounds": args.rounds, "cases": cases}
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(markdown(cases))


if __name__ == "__main__":
    main()
