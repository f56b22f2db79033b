#!/usr/bin/env python3
"""Writes the tables of docs/PERFORMANCE-MODEL.md, and beside it the list of launches of each benchmark model.

    cargo build --release        with nvcc, which knows how many registers the kernels take
    python3 scripts/performance-model.py [--ddpm target/release/ddpm]

Every figure comes from `ddpm profile --model h200 --json`; no GPU and no package is needed.
"""

import argparse
import json
import re
import subprocess
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "PERFORMANCE-MODEL.md"
# Preset, batch, and the milliseconds of a step that would be ahead of every peer.
MODELS = [("ddpm-cifar10", 128, 1e3 * 128 / 10_600), ("mnist-123", 128, 1e3 * 128 / 19_000), ("unet64", 32, 4.5)]
CONV_TFLOPS = [450, 550, 700]
PRODUCT_TFLOPS = 790
SHORT_US = 5

# What a launch is for: whether it is there for lack of a better place, and why it stays.
KINDS = {
    "convolutions": (False, "the work itself; a 1x1 shortcut could be a second product in the launch of the 3x3 beside it"),
    "projections of attention": (False, "the work itself; short only where an image has 4x4 or 8x8 pixels"),
    "attention": (False, "the work itself; short only where an image has 4x4 or 8x8 pixels"),
    "attention: delta": (True, "a sum over each row, which the kernels for Hopper compute on the way; for heads of 512, one layer, a launch"),
    "optimiser": (False, "one launch over all weights, after one for the norm of all gradients"),
    "noise and loss": (False, "the first and the last launch of the forward pass"),
    "group norm, backward": (True, "its sums need all of one data gradient before the next can begin"),
    "group norm, forward": (True, "in the load of the convolution after it, it would be computed three times over, and be missing for the weight gradient: [weighed](kernels/group-norm.md)"),
    "sums of split gradients": (True, "of several layers at once, as many as the L2 cache holds: more at once would read them back from memory (`src/engine/tape/gradients.rs`)"),
    "additions": (False, "of a class to the time: a few numbers"),
    "time bias": (True, "only where dropout stands between it and the norm, which would draw the mask twice each way; one launch for both, each way"),
    "concatenation": (True, "only where something else than a norm and a shortcut reads it, as these read two tensors: an upsampling of three layers"),
    "resampling": (True, "pooling, bilinear, and nearest without a convolution after it; with one, only its weights are added up"),
    "time embedding": (False, "two small layers, and one of stacked weights for the projections of all blocks"),
}  # fmt: skip


def kind(row: dict) -> str:
    op, kernel = row["op"], row["kernel"]
    if kernel.startswith("attention_bwd_delta"):
        return "attention: delta"
    if op.startswith("group_norm"):
        return "group norm, " + ("forward" if op == "group_norm_fwd" else "backward")
    if op.startswith("channel_bias"):
        return "time bias"
    if "time_emb" in row["layer"] and op.startswith(("linear", "add", "silu", "timestep")):
        return "time embedding"
    if op.startswith("upsample_conv2d") and "weights" not in op:
        return "convolutions"
    prefixes = {
        "conv2d": "convolutions", "linear": "projections of attention", "attention": "attention", "adam": "optimiser",
        "grad_norm": "optimiser", "noise": "noise and loss", "loss": "noise and loss", "add": "additions",
        "sum_parts": "sums of split gradients", "concat": "concatenation", "upsample": "resampling",
        "avg_pool": "resampling",
    }  # fmt: skip
    (found,) = {name for prefix, name in prefixes.items() if op.startswith(prefix)}
    return found


def table(header: list[str], rows: list[list], texts: int = 1) -> str:
    """A table in Markdown; the columns after the first `texts` hold numbers."""
    lines = [header, ["---"] * texts + ["---:"] * (len(header) - texts), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def by_kind(rows: list[dict]) -> dict[str, list[dict]]:
    groups = defaultdict(list)
    for row in rows:
        groups[kind(row)].append(row)
    return dict(sorted(groups.items(), key=lambda group: -us(group[1])))


def us(rows: list[dict]) -> float:
    return sum(row["predicted_us"] for row in rows)


class Model:
    """The profiles of one benchmark model, by what convolutions are assumed to reach."""

    def __init__(self, ddpm: Path, preset: str, batch: int, target_ms: float):
        self.preset, self.batch, self.target_ms = preset, batch, target_ms
        command = [str(ddpm), "profile", "--preset", preset, "--batch-size", str(batch), "--model", "h200", "--json"]

        def profile(tflops: int) -> dict:
            output = subprocess.run([*command, "--conv-tflops", str(tflops)], capture_output=True, check=True).stdout
            return json.loads(output)

        self.profiles = {tflops: profile(tflops) for tflops in CONV_TFLOPS}
        self.middle = self.profiles[550]

    def title(self) -> str:
        return f"{self.preset}, batch {self.batch}"

    def summary(self) -> list[list]:
        rows = []
        for tflops, p in self.profiles.items():
            mfu = f"{100 * p['mfu']:.1f} %"
            rows.append([self.title(), tflops, f"{p['predicted_ms']:.2f}", f"{p['images_per_s']:,.0f}", mfu])
        return rows

    def counted(self) -> list:
        p = self.middle
        return [
            self.title(), p["launches"], f"{p['gflop_per_step'] / 1e3:.2f}", f"{p['gb_per_step']:.1f}",
            f"{p['floor_ms']:.2f}", f"{p['persistent_bytes'] / 1e9:.2f}", f"{p['arena_bytes'] / 1e9:.2f}",
            f"{p['peak_bytes'] / 1e9:.2f}",
        ]  # fmt: skip

    def by_op(self) -> str:
        rows = []
        for total in self.middle["by_op"]:
            flops, moved = f"{total['flops'] / 1e9:,.0f}", f"{total['bytes'] / 1e9:.2f}"
            times = [f"{total['floor_us'] / 1e3:.2f}", f"{total['us'] / 1e3:.2f}", f"{100 * total['share']:.1f} %"]
            rows.append([total["name"], total["launches"], flops, moved, *times])
        return table(["op", "launches", "GFLOP", "GB", "floor ms", "predicted ms", "share"], rows)

    def short(self) -> str:
        short = [row for row in self.middle["rows"] if row["predicted_us"] < SHORT_US]
        rows = [[name, len(group), f"{us(group):.0f}"] for name, group in by_kind(short).items()]
        note = f"{len(short)} of {self.middle['launches']} launches, {us(short) / 1e3:.2f} ms:\n\n"
        return note + table(["what for", "launches", "us together"], rows)

    def removal(self) -> str:
        """What is left, and the MFU, as ever more kinds of launches go: the costly first, the norm's backward pass last."""
        slow = self.profiles[450]
        left_us = us(slow["rows"])
        mfu = lambda: f"{1e5 * slow['gflop_per_step'] / (left_us * PRODUCT_TFLOPS):.1f} %"  # noqa: E731
        rows = [["as it is", slow["launches"], "", f"{left_us / 1e3:.2f}", mfu()]]
        groups = [(name, group) for name, group in by_kind(slow["rows"]).items() if KINDS[name][0]]
        groups.sort(key=lambda group: group[0] == "group norm, backward")
        for name, group in groups:
            left_us -= us(group)
            rows.append([f"without {name}", len(group), f"{us(group) / 1e3:.2f}", f"{left_us / 1e3:.2f}", mfu()])
        half_ms = slow["gflop_per_step"] / (PRODUCT_TFLOPS / 2)
        goal = f"50 % of {PRODUCT_TFLOPS} TFLOP/s is {half_ms:.2f} ms; ahead of every peer is {self.target_ms:.2f} ms.\n\n"
        return goal + table(["", "launches", "ms", "ms left", "MFU"], rows)

    def efficiency(self) -> list[list]:
        """Parts of tiles and waves that are not in vain, of all products of an op, by their FLOPs."""
        groups = defaultdict(list)
        for row in self.middle["rows"]:
            if row["flops"] and row["tile_efficiency"]:
                groups[row["op"]].append(row)
        rows = []
        for op, group in groups.items():
            flops = sum(row["flops"] for row in group)
            mean = lambda key: 100 * sum(row["flops"] * (row[key] or 0) for row in group) / flops  # noqa: B023, E731
            rows.append([self.title(), op, f"{mean('tile_efficiency'):.0f} %", f"{mean('wave_efficiency'):.0f} %"])
        return rows

    def launches(self) -> str:
        alike = defaultdict(list)
        for i, row in enumerate(self.middle["rows"]):
            alike[row["pass"], row["kernel"], row["shape"]].append(i)
        lists = [self.profiles[tflops]["rows"] for tflops in CONV_TFLOPS]
        rows = []
        for (part, kernel, shape), indices in alike.items():
            row = self.middle["rows"][indices[0]]
            mean = lambda key: sum(self.middle["rows"][i][key] for i in indices) / len(indices)  # noqa: B023, E731
            predicted = [f"{sum(list_[i]['predicted_us'] for i in indices) / len(indices):.1f}" for list_ in lists]
            percent = lambda value: "" if value is None else f"{100 * value:.0f} %"  # noqa: E731
            waves = f"{row['waves']} x {row['resident_blocks']}" if row["waves"] else ""
            blocks = row["grid"][0] * row["grid"][1] * row["grid"][2]
            rows.append([
                part, kernel, shape, len(indices), f"{mean('flops') / 1e9:.2f}", f"{mean('bytes') / 1e6:.2f}",
                f"{mean('floor_us'):.1f}", *predicted, percent(row["tile_efficiency"]), blocks, waves,
                percent(row["wave_efficiency"]),
            ])  # fmt: skip
        header = ["pass", "kernel", "shape", "launches", "GFLOP", "MB", "floor us"]
        header += [f"us at {tflops}" for tflops in CONV_TFLOPS] + ["of tiles wanted", "blocks", "waves x resident", "of waves"]
        return table(header, rows, texts=3)


def fill(page: str, name: str, text: str) -> str:
    """Replaces what stands between the markers of a table."""
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"{PAGE.name} has no place for: {name}")
    return pattern.sub(lambda match: f"{match[1]}\n{text}\n\n{match[2]}", page, count=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ddpm", type=Path, default=ROOT / "target" / "release" / "ddpm", help="our binary")
    args = parser.parse_args()
    models = [Model(args.ddpm, *model) for model in MODELS]

    page = PAGE.read_text()
    header = ["model", "launches", "TFLOP", "GB", "floor ms", "GB of weights", "GB of activations", "GB at the peak"]
    page = fill(page, "counted", table(header, [model.counted() for model in models]))
    header = ["model", "convolutions at TFLOP/s", "ms per step", "images/s", "MFU"]
    page = fill(page, "predicted", table(header, [row for model in models for row in model.summary()]))
    header = ["model", "op", "of tiles", "of waves"]
    page = fill(page, "efficiency", table(header, [row for model in models for row in model.efficiency()], texts=2))
    remedies = [[name, "weighed" if weighed else "the work", text] for name, (weighed, text) in KINDS.items()]
    page = fill(page, "kinds", table(["what for", "", ""], remedies, texts=3))
    for model in models:
        page = fill(page, f"ops of {model.preset}", model.by_op())
        page = fill(page, f"short in {model.preset}", model.short())
        page = fill(page, f"removal from {model.preset}", model.removal())
        path = PAGE.parent / "performance-model" / f"{model.preset}.md"
        path.parent.mkdir(exist_ok=True)
        about = "Written by `scripts/performance-model.py`; [PERFORMANCE-MODEL.md](../PERFORMANCE-MODEL.md) says what it means."
        path.write_text(f"# Launches of a training step: {model.title()}, bf16\n\n{about}\n\n{model.launches()}\n")
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
