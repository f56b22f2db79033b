#!/usr/bin/env python3
"""Renders the README's performance tables from benches/results (see the README there).

    scripts/performance-table.py           writes README.md
    scripts/performance-table.py --check   fails if README.md would change
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benches" / "results"


def newest(folder: Path) -> Path | None:
    return max(folder.glob("*.json"), default=None)


def rate(images_per_s: float) -> str:
    return f"{images_per_s:.1f}" if images_per_s < 100 else f"{images_per_s:,.0f}"


def table(headings: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in [headings, *rows]]
    return "\n".join([lines[0], "|---" * len(headings) + "|", *lines[1:]])


def cpu_table(file: Path) -> str:
    headings = ["model", "batch", "ddpm", "PyTorch", "times as fast", "peak memory, ddpm", "PyTorch"]
    rows = []
    for case in sorted(json.loads(file.read_text())["cases"], key=lambda case: case["parameters"]):
        sides = [case["ddpm"], case["pytorch"].get("eager", case["pytorch"])]
        speed = [f"{side['ms_per_step']:.0f} ms, {rate(side['images_per_s'])} images/s" for side in sides]
        memory = [f"{side['peak_bytes'] / 1e6:,.0f} MB" for side in sides]
        name, batch = f"`{case['preset']}`", str(case["batch_size"])
        ratio = sides[1]["ms_per_step"] / sides[0]["ms_per_step"]
        rows.append([name, batch, *speed, f"{ratio:.1f}", *memory])
    return table(headings, rows)


def gpu_table(file: Path) -> str:
    """A step of each model, and its share of what the GPU does at most."""
    results = json.loads(file.read_text())
    gpu = next(d for d in results["environment"]["devices"]["devices"] if d["device"] == "cuda:0")
    headings = ["model", "batch", "step", "images/s", "TFLOP/s", "of the ceiling (MFU)", "peak memory"]
    rows = []
    for step in results["steps"].values():
        if not isinstance(step, dict) or step.get("what") != "training step":
            continue
        row = [f"`{step['model']}`", str(step["batch_size"]), f"{step['ms_per_step']:.2f} ms", rate(step["images_per_s"])]
        work = [f"{step['gflop_per_s'] / 1e3:.0f}", f"{100 * step['mfu']:.0f} %"]
        rows.append([*row, *work, f"{step['peak_bytes'] / 1e9:.2f} GB"])
    where = f"[{results['date']}]({file.relative_to(ROOT)})"
    name = gpu["name"].removesuffix(" (cuda:0)")
    text = f"A training step on {name}, bf16 ([{results['date']}]({file.relative_to(ROOT)})):\n\n" + table(headings, rows)
    comparisons = [case for mode in results["comparison"].values() for case in mode["cases"]]
    if not comparisons:
        return text
    headings = ["model", "batch", "PyTorch's mode", "ddpm", "PyTorch", "times as fast", "peak memory, ddpm", "PyTorch"]
    rows = [row for case in sorted(comparisons, key=lambda case: case["preset"]) for row in comparison_rows(case)]
    return f"{text}\n\nThe same steps in PyTorch {comparisons[0]['torch']}, in turns with ours:\n\n" + table(headings, rows)


def comparison_rows(case: dict) -> list[list[str]]:
    rows = []
    for mode, theirs in case["pytorch"].items():
        sides = [case["ddpm"], theirs]
        speed = [f"{side['ms_per_step']:.2f} ms" for side in sides]
        memory = [f"{side['peak_bytes'] / 1e9:.2f} GB" for side in sides]
        ratio = theirs["ms_per_step"] / case["ddpm"]["ms_per_step"]
        rows.append([f"`{case['preset']}`", str(case["batch_size"]), mode, *speed, f"{ratio:.2f}", *memory])
    return rows


def render(text: str, name: str, content: str) -> str:
    """Puts content between the markers `<!-- NAME -->` and `<!-- end of NAME -->`."""
    pattern = re.compile(f"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)", re.DOTALL)
    if not pattern.search(text):
        sys.exit(f"README.md has no place for {name}")
    return pattern.sub(lambda match: match[1] + content + match[2], text)


def main() -> None:
    readme = ROOT / "README.md"
    before = readme.read_text()
    text = render(before, "cpu table", cpu_table(newest(RESULTS / "cpu")))
    gpus = [folder for folder in sorted(RESULTS.iterdir()) if folder.is_dir() and folder.name != "cpu" and newest(folder)]
    if gpus:
        text = render(text, "gpu tables", "\n\n".join(gpu_table(newest(folder)) for folder in gpus))
    else:
        print("no GPU has been measured yet: its part of README.md stays as it is")
    if "--check" in sys.argv[1:]:
        if text != before:
            sys.exit("README.md is not what benches/results says: run scripts/performance-table.py")
    else:
        readme.write_text(text)


if __name__ == "__main__":
    main()
