#!/usr/bin/env python3
"""Writes the predicted tables of docs/many-gpus.md: a step of ddpm-cifar10 on N GPUs, and what shards cost on one.

    cargo build --release
    python3 scripts/scaling-model.py [--ddpm target/release/ddpm] [--check]

The step of one GPU is that of `ddpm profile --model h200`; links are their nominal rates. Nothing here is measured.
"""

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "many-gpus.md"
PRESET = "ddpm-cifar10"
# Link: GB/s of a GPU in each direction, and microseconds of a message.
LINKS = {"NVLink": (450, 5), "PCIe 4": (25, 10), "100 Gb/s Ethernet": (12.5, 30)}
HOST_GB_S = 25
PER_GPU = 128
BATCH = 1024


class Model:
    def __init__(self, ddpm: str):
        self.ddpm, self.steps = ddpm, {}

    def step(self, images: int, shards: int = 1) -> dict:
        if (images, shards) not in self.steps:
            command = [self.ddpm, "profile", "--preset", PRESET, "--batch-size", str(images), "--model", "h200", "--json"]
            command += ["--set", f"train.shards={shards}"] if shards > 1 else []
            profile = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            update = sum(row["predicted_us"] for row in profile["rows"] if row["layer"] == "optimiser") / 1e3
            self.steps[images, shards] = profile | {"update_ms": update}
        return self.steps[images, shards]

    def exchange_ms(self, gpus: int, gb_s: float, message_us: float, bytes_each: int = 4) -> float:
        """Reduce-scatter and gather: each GPU sends 2 (N - 1)/N of the gradients, in 2 log2(N) messages."""
        sent = 2 * (gpus - 1) / gpus * bytes_each * self.step(PER_GPU)["parameters"]
        return sent / gb_s / 1e6 + 2 * math.log2(gpus) * message_us / 1e3

    def overlapped_ms(self, images: int, exchange: float) -> float:
        """The sum beside the computation; norm, clip and Adam need all of it."""
        step = self.step(images)
        return max(step["predicted_ms"] - step["update_ms"], exchange) + step["update_ms"]

    def staged_ms(self, images: int, exchange: float) -> float:
        """One after the other, through the host's memory."""
        copies = 2 * 4 * self.step(images)["parameters"] / HOST_GB_S / 1e6
        return self.step(images)["predicted_ms"] + copies + exchange


def scaling(model: Model) -> list[str]:
    alone = model.step(PER_GPU)["predicted_ms"]
    lines = [
        "| link | GPUs | exchange ms | beside ms | efficiency | gradients in bf16 | staged, as built: ms | efficiency |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for link, (gb_s, message_us) in LINKS.items():
        for gpus in (8, 64, 512):
            exchange = model.exchange_ms(gpus, gb_s, message_us)
            half = model.overlapped_ms(PER_GPU, model.exchange_ms(gpus, gb_s, message_us, 2))
            beside, staged = model.overlapped_ms(PER_GPU, exchange), model.staged_ms(PER_GPU, exchange)
            shares = [f"{100 * alone / ms:.0f} %" for ms in (beside, half, staged)]
            lines.append(
                f"| {link} | {gpus} | {exchange:.2f} | {beside:.1f} | {shares[0]} | {shares[1]} | {staged:.1f} | {shares[2]} |"
            )
    return lines


def strong(model: Model) -> list[str]:
    """A batch of 1,024 on ever more GPUs: where does a step stop becoming shorter?"""
    lines = [
        f"| GPUs | images each | computation ms | {' | '.join(LINKS)} |",
        f"| ---: | ---: | ---: | {' | '.join(['---:'] * len(LINKS))} |",
    ]
    for gpus in (8, 16, 32, 64, 128):
        images = BATCH // gpus
        steps = [model.overlapped_ms(images, model.exchange_ms(gpus, *link)) for link in LINKS.values()]
        texts = " | ".join(f"{ms:.2f}" for ms in steps)
        lines.append(f"| {gpus} | {images} | {model.step(images)['predicted_ms']:.2f} | {texts} |")
    return lines


def shards(model: Model) -> list[str]:
    lines = ["| shards | launches | ms a step | images/s | MB of weights, gradients, state | MB of activations |"]
    lines.append("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for count in (1, 2, 4, 8):
        step = model.step(PER_GPU, count)
        lines.append(
            f"| {count} | {step['launches']} | {step['predicted_ms']:.2f} | {step['images_per_s']:,.0f} | "
            f"{step['persistent_bytes'] / 1e6:,.0f} | {step['arena_bytes'] / 1e6:,.0f} |"
        )
    return lines


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--ddpm", default="target/release/ddpm")
    options.add_argument("--check", action="store_true", help="fail if the page has other tables")
    arguments = options.parse_args()
    model = Model(arguments.ddpm)
    text = before = PAGE.read_text()
    for name, table in (("scaling", scaling), ("strong", strong), ("shards", shards)):
        start, end = f"<!-- {name} -->\n", "\n<!-- end -->"
        head, rest = text.split(start)
        text = head + start + "\n" + "\n".join(table(model)) + "\n" + end + rest.split(end, 1)[1]
    if arguments.check:
        sys.exit(0 if text == before else f"{PAGE}: the tables are others now; run scripts/scaling-model.py")
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
