#!/usr/bin/env bash
# Hugging Face datasets 5.2.0, load_dataset("imagefolder"): one class folder whose name holds a split's word makes all other
# classes vanish.
#
# Expected: folders beaker, flask and test-tube are three classes of a train split, as any three other names are.
# Seen: "test" between separators is a split's word, so the data set has the one split "test" with the images of test-tube
# alone; the other folders are left out, labels are gone, nothing is said. The same with a class called train, dev or
# wheel-eval-2.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q datasets==5.2.0 pillow==12.0.0
cd "$folder"
HF_HUB_OFFLINE=1 HF_HOME=$folder/cache "$folder/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import datasets
from PIL import Image

datasets.disable_progress_bars()


def load(root, *classes):
    for count, name in enumerate(classes, 3):
        Path(root, name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (40 * count, 20 * i, 0)).save(Path(root, name, f"{i}.png"))
    found = datasets.load_dataset("imagefolder", data_dir=root)
    summary = {split: (len(rows), "label" in rows.features) for split, rows in found.items()}
    print(", ".join(classes), "->", summary)
    return summary


assert load("plain", "beaker", "flask", "tube") == {"train": (12, True)}
assert load("laboratory", "beaker", "flask", "test-tube") == {"test": (5, False)}
assert load("vehicles", "bus", "car", "train") == {"train": (5, False)}
assert load("teams", "ops", "dev", "qa") == {"validation": (4, False)}
assert load("cars", "bus", "car", "wheel-eval-2") == {"test": (5, False)}
PYTHON
