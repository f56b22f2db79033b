#!/usr/bin/env python3
"""Decoding of parquet sets against the `datasets` library on the same core in the same run, and memory by size.

    cargo build --release
    python benches/decode.py --json benches/results/cpu/decode/DATE.json

needs datasets, numpy and Pillow. Both read the same parquet file from beginning to end, one thread each, in turns: ours
as `ddpm data info`, which also adds up mean and standard deviation; theirs as `numpy.asarray(row["image"])` of every
row. What counts is the time of the processor, so that a neighbour takes little away; loading Python and its libraries is
not counted, starting our program is.

Memory is the peak of a run of `ddpm train` of some steps with data.memory_limit = 1 on 8x8 images, 10,000 and 1,000,000
of them: both stay on the disk.
"""

import argparse
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GROUP_ROWS = 1000
MEMORY_SETTINGS = ["model.image_size=8", "model.in_channels=3", "model.out_channels=3", "model.channels=[8, 8]",
                   "model.attention_levels=[1]", "model.groups=4", "train.batch_size=64", "train.steps=300",
                   "train.checkpoint_every=0", "train.sample_every=0", "sample.n=1", "sample.steps=2", "data.memory_limit=1",
                   "data.shuffle_window=2000"]


def write(file: Path, count: int, side: int, kind: str) -> None:
    """A parquet file of smooth random pictures, 2,000 different ones, with the schema and the note of `datasets`."""
    import datasets
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    rng = np.random.default_rng(0)
    encoded = []
    for _ in range(min(count, 2000)):
        coarse = Image.fromarray(rng.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8))
        bytes_ = io.BytesIO()
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(bytes_, kind, quality=90)
        encoded.append(bytes_.getvalue())
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    with pq.ParquetWriter(file, features.arrow_schema, use_dictionary=["label"]) as writer:
        for first in range(0, count, GROUP_ROWS):
            numbers = np.arange(first, min(first + GROUP_ROWS, count))
            files = pa.array(encoded, pa.binary()).take(pa.array(numbers % len(encoded)))
            image = pa.StructArray.from_arrays([files, pa.nulls(len(numbers), pa.string())], ["bytes", "path"])
            writer.write_table(pa.table([image, pa.array(numbers % 10)], schema=features.arrow_schema))


def ours(ddpm: str, file: Path) -> float:
    """Seconds of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"RAYON_NUM_THREADS": "1"}
    subprocess.run([ddpm, "data", "info", str(file)], check=True, env=environment, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def theirs(rows) -> float:
    import numpy as np

    start, total = time.process_time(), 0
    for row in rows:
        total += int(np.asarray(row["image"])[0, 0, 0])
    return time.process_time() - start


def peak_bytes(ddpm: str, folder: Path, count: int) -> int:
    """Peak memory of a short training run."""
    data = folder / str(count)
    data.mkdir()
    write(data / "train.parquet", count, 8, "png")
    command = [ddpm, "train", "--device", "cpu", "--preset", "quickstart", "--data", str(data), "--out", str(data / "run")]
    command += [part for setting in MEMORY_SETTINGS for part in ("--set", setting)]
    # A process counts the memory of the one that it was forked from: this one is large, that between is not.
    between = ("import resource, subprocess, sys; code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL); "
               "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024); sys.exit(code)")
    command = [sys.executable, "-I", "-c", between, *command]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ | {"RAYON_NUM_THREADS": "2"})
    return int(said.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ddpm", default=str(ROOT / "target" / "release" / "ddpm"))
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--skip-memory", action="store_true")
    args = parser.parse_args()
    import datasets

    result = {"date": time.strftime("%Y-%m-%d"), "datasets": datasets.__version__, "images": args.images, "decoding": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in ["png", "jpeg"]:
            file = folder / f"{kind}.parquet"
            write(file, args.images, 32, kind)
            rows = datasets.load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(folder / "cache"))
            turns = [(ours(args.ddpm, file), theirs(rows)) for _ in range(args.rounds)]
            rates = [args.images / statistics.median(seconds) for seconds in zip(*turns)]
            speed = {"ddpm_images_per_s": rates[0], "datasets_images_per_s": rates[1], "ratio": rates[0] / rates[1]}
            result["decoding"][kind] = speed
            print(f"32x32 {kind}: {rates[0]:,.0f} images/s a core, datasets {rates[1]:,.0f}: {speed['ratio']:.1f} times")
        if not args.skip_memory:
            small, large = [peak_bytes(args.ddpm, folder, count) for count in (10_000, 1_000_000)]
            more = (large - small) / 1_000_000
            result["memory"] = {"10000_bytes": small, "1000000_bytes": large, "bytes_an_image": more}
            print(f"peak memory: {small / 1e6:.1f} MB of 10,000 images, {large / 1e6:.1f} MB of 1,000,000")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
