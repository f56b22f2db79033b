#!/usr/bin/env python3
"""Makes tests/golden/inception.safetensors: pytorch-fid's features of two images, with drawn weights.

    python scripts/golden_inception.py [OUT]        needs torch, torchvision, pytorch-fid, safetensors, numpy

Weights and images are those of src/eval/inception/tests.rs: Philox4x32-10 with the key 1, counted by (element / 4, 0,
CRC-32 of the tensor's name, 5), and formulas. Computed in float64, stored as float32.
"""

import math
import sys
import zlib
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from pytorch_fid import inception
from safetensors.torch import save_file

OUT = Path(__file__).resolve().parent.parent / "tests" / "golden" / "inception.safetensors"
STREAM = 5


def philox(count: int, step: int) -> np.ndarray:
    """`count` uniform numbers in (0, 1)."""
    blocks = -(-count // 4)
    c = [np.arange(blocks, dtype=np.uint64), *(np.full(blocks, v, dtype=np.uint64) for v in (0, step, STREAM))]
    key, low = [1, 0], np.uint64(0xFFFFFFFF)
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        k0, k1 = map(np.uint64, key)
        c = [(b >> np.uint64(32)) ^ c[1] ^ k0, b & low, (a >> np.uint64(32)) ^ c[3] ^ k1, a & low]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    words = np.stack(c, axis=1).reshape(-1)[:count]
    return ((words >> np.uint64(8)).astype(np.float64) + 0.5) * 2.0**-24


def drawn(name: str, shape) -> torch.Tensor:
    u = philox(math.prod(shape), zlib.crc32(name.encode())).reshape(shape)
    if name.endswith((".running_mean", ".bias")):
        low, high = -0.1, 0.1
    elif name.endswith(".conv.weight"):
        high = math.sqrt(6 / math.prod(shape[1:]))
        low = -high
    else:
        low, high = 0.5, 1.5
    return torch.from_numpy(low + (high - low) * u)


def image(h: int, w: int, c: int) -> torch.Tensor:
    i, j = np.mgrid[:h, :w]
    channels = [i * 255 // (h - 1), i * j % 256, (i * 89 + j * 57) % 251]
    values = torch.from_numpy(np.stack(channels[:c]).astype(np.float64) / 255)
    return values.expand(3, h, w)[None]  # a grey image is converted to RGB


def network() -> torch.nn.Module:
    """pytorch-fid's network with the drawn weights in place of the downloaded ones."""
    with mock.patch.object(inception, "load_state_dict_from_url"), mock.patch.object(torch.nn.Module, "load_state_dict"):
        model = inception.fid_inception_v3().double()
    for name, tensor in model.state_dict().items():
        if tensor.dim() > 0 and not name.startswith("fc."):
            tensor.copy_(drawn(name, tensor.shape))
    with mock.patch.object(inception, "fid_inception_v3", return_value=model):
        return inception.InceptionV3().eval()


def main():
    out = Path(sys.argv[1]) if sys.argv[1:] else OUT
    model = network()
    with torch.no_grad():
        images = {"rgb": image(32, 32, 3), "grey": image(48, 320, 1)}
        features = {name: model(x)[0].flatten().float() for name, x in images.items()}
    save_file(features, out)
    for name, values in features.items():
        print(f"{name}: mean {values.mean():.4f}, rms {values.square().mean().sqrt():.4f}, {(values == 0).sum()} zeros")


if __name__ == "__main__":
    main()
