#!/usr/bin/env bash
# Hugging Face datasets 5.2.0, load_dataset("imagefolder"): images one folder deeper in one class remove the labels of all.
#
# Expected: bus/*.png, car/*.png, van/old/*.png have the classes bus, car and van (torchvision's ImageFolder gives those),
# or an error.
# Seen: all images are loaded, and the column "label" is missing for every one of them, without a word: labels are taken
# from folders only if all images lie equally deep.
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
    for name in classes:
        Path(root, name).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (8, 8), (60 * i, 0, 0)).save(Path(root, name, f"{i}.png"))
    rows = datasets.load_dataset("imagefolder", data_dir=root)["train"]
    print(", ".join(classes), "->", len(rows), "images, columns", rows.column_names)
    return len(rows), rows.column_names


assert load("flat", "bus", "car", "van") == (12, ["image", "label"])
assert load("nested", "bus", "car", "van/old") == (12, ["image"])
PYTHON
