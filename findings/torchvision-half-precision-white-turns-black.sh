#!/usr/bin/env bash
# torchvision 0.29.2, torch 2.15.0 (CPU): images in bfloat16 or float16 that become uint8, by convert_image_dtype or by
# v2.ToDtype(torch.uint8, scale=True): white turns black.
#
# Expected: 1.0 is 255 in every floating type, as it is in float32, and a half float only costs some accuracy between.
# Seen: 1.0 in bfloat16 and in float16 becomes 0. The image is multiplied by 255.999 in its own type, where that is 256, and
# 256 wraps around. So whatever a sampler clamps to [0, 1] in half precision has black pixels where it is brightest, without a
# word; the next smaller number of either type is 255. save_image of the same package writes 255. An image that goes from
# uint8 to half precision and back loses its white too, beside one level's difference here and there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-cache-dir torch==2.15.0 torchvision==0.29.2 pillow==12.0.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.functional import convert_image_dtype
from torchvision.utils import save_image

levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
for dtype, white, changed in (torch.float32, 255, 0), (torch.float16, 0, 16), (torch.bfloat16, 0, 128):
    one = torch.ones(3, 8, 8, dtype=dtype)
    below = torch.nextafter(torch.ones(1, dtype=dtype), torch.zeros(1, dtype=dtype)).view(1, 1, 1)
    old = convert_image_dtype(one, torch.uint8).unique().tolist()
    new = v2.ToDtype(torch.uint8, scale=True)(one).unique().tolist()
    save_image(one, "one.png")
    saved = np.unique(np.asarray(Image.open("one.png"))).tolist()
    near = int(convert_image_dtype(below, torch.uint8))
    back = convert_image_dtype(convert_image_dtype(levels, dtype), torch.uint8)
    lost = int((back != levels).sum())
    assert (back.int() - levels.int())[back != 0].abs().max() <= 1, "every level but white"
    print(f"{dtype}: 1.0 is {old} by convert_image_dtype, {new} by ToDtype, {saved} by save_image; {float(below):.6f} is {near}; "
          f"of 256 levels {lost} change there and back, 255 is {int(back[0, 15, 15])}")
    assert (old, new, saved, near) == ([white], [white], [255], 255)
    assert int(back[0, 15, 15]) == white and lost == changed
PYTHON
