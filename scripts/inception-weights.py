#!/usr/bin/env python3
"""Turns pytorch-fid's Inception weights into the file that `ddpm eval --inception` reads.

    python scripts/inception-weights.py pt_inception-2015-12-05-6726825d.pth inception.safetensors

needs torch and safetensors. The .pth file is an asset of the release `fid_weights` of github.com/mseitzer/pytorch-fid.
"""

import sys

import torch
from safetensors.torch import save_file


def main():
    source, target = sys.argv[1:]
    state = torch.load(source, map_location="cpu", weights_only=True)
    # The classifier behind the features and the counters of batch norm are of no use.
    unused = ("fc.", "AuxLogits.")
    kept = {k: v.float().contiguous() for k, v in state.items() if not k.startswith(unused) and v.dim() > 0}
    save_file(kept, target, metadata={"source": "pytorch-fid"})
    print(f"{target}: {len(kept)} tensors, {sum(v.numel() for v in kept.values()):,} numbers")


if __name__ == "__main__":
    main()
