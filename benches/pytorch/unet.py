"""Our presets' networks in PyTorch, built with diffusers, for comparison in speed and memory.

    python benches/pytorch/unet.py        prints the number of parameters of every preset
"""

import math

import torch
from diffusers import UNet2DModel
from paired_unet import PairedUNet
from torch import Tensor, nn

# The `model` section of our configuration, with its keys and defaults.
DEFAULTS = dict(
    image_size=32, in_channels=3, out_channels=3, channels=[128, 256, 256, 256], layers_per_level=2,
    attention_levels=[1], mid_attention=True, head_dim=0, groups=32, norm_eps=1e-6, layout="ddpm", downsample="conv_asymmetric",
    upsample="nearest_conv", shortcut="pointwise", time_dim=0, flip_sin_to_cos=False, freq_shift=1.0, dropout=0.0,
    classes=0,
)  # fmt: skip

PRESETS = {
    "ddpm-cifar10": dict(dropout=0.1),
    "mnist-123": dict(
        in_channels=1, out_channels=1, channels=[64, 128, 256, 512], layout="paired", downsample="conv",
        upsample="bilinear_conv", shortcut="conv3x3", norm_eps=1e-5, dropout=0.1,
    ),
    "unet64": dict(
        image_size=64, channels=[64, 128, 192, 256], attention_levels=[2, 3], head_dim=32, downsample="avg_pool",
        upsample="nearest",
    ),
    "quickstart": dict(
        image_size=16, in_channels=1, out_channels=1, channels=[32, 64], layers_per_level=1, attention_levels=[1],
        groups=8, downsample="conv",
    ),
    "mnist-small": dict(
        in_channels=1, out_channels=1, channels=[16, 32, 64, 64], layers_per_level=1, attention_levels=[2], groups=8,
        downsample="conv",
    ),
}  # fmt: skip
PARAMETERS = {"ddpm-cifar10": 35_746_307, "mnist-123": 57_489_857, "unet64": 20_494_211}


class AvgPool(nn.AvgPool2d):
    """2x2 mean where diffusers has a strided convolution."""

    def __init__(self):
        super().__init__(2)


class Nearest(nn.Upsample):
    """Every pixel four times, where diffusers has a convolution after it."""

    def __init__(self):
        super().__init__(scale_factor=2.0, mode="nearest")

    def forward(self, x: Tensor, _size=None) -> Tensor:
        return super().forward(x)


class DdpmUNet(nn.Module):
    """diffusers' UNet2DModel as a function of image and time."""

    def __init__(self, c: dict):
        super().__init__()
        levels = range(len(c["channels"]))
        block = {i: "Attn" if i in c["attention_levels"] else "" for i in levels}
        self.unet = UNet2DModel(
            sample_size=c["image_size"],
            in_channels=c["in_channels"],
            out_channels=c["out_channels"],
            block_out_channels=tuple(c["channels"]),
            layers_per_block=c["layers_per_level"],
            down_block_types=tuple(f"{block[i]}DownBlock2D" for i in levels),
            up_block_types=tuple(f"{block[i]}UpBlock2D" for i in reversed(levels)),
            add_attention=c["mid_attention"],
            attention_head_dim=c["head_dim"] or None,
            norm_num_groups=c["groups"],
            norm_eps=c["norm_eps"],
            downsample_padding=0 if c["downsample"] == "conv_asymmetric" else 1,
            time_embedding_dim=c["time_dim"] or None,
            flip_sin_to_cos=c["flip_sin_to_cos"],
            freq_shift=c["freq_shift"],
            dropout=c["dropout"],
        )
        for level in self.unet.down_blocks[:-1] if c["downsample"] == "avg_pool" else []:
            level.downsamplers = nn.ModuleList([AvgPool()])
        for level in self.unet.up_blocks[:-1] if c["upsample"] == "nearest" else []:
            level.upsamplers = nn.ModuleList([Nearest()])

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.unet(x, t, return_dict=False)[0]


def build(model: dict) -> nn.Module:
    """The network of a `model` section; a call takes x [n, c, h, w] and t [n]."""
    unknown = model.keys() - DEFAULTS.keys()
    if unknown:
        raise ValueError(f"model: unknown keys {sorted(unknown)}")
    c = DEFAULTS | model
    if c["classes"]:
        raise ValueError("model.classes: conditional models are not built here")
    if c["layout"] == "ddpm":
        if c["shortcut"] != "pointwise" or c["upsample"] == "bilinear_conv":
            raise ValueError("layout ddpm: only pointwise shortcuts and nearest upsampling are built here")
        return DdpmUNet(c)
    wanted = DEFAULTS | PRESETS["mnist-123"]
    fixed = "downsample upsample shortcut freq_shift head_dim time_dim flip_sin_to_cos mid_attention".split()
    if any(c[key] != wanted[key] for key in fixed) or not math.isclose(c["norm_eps"], 1e-5, rel_tol=1e-6):
        raise ValueError(f"layout paired: {', '.join(fixed)} and norm_eps must be those of mnist-123")
    shape = (c["in_channels"], c["out_channels"], tuple(c["channels"]), c["layers_per_level"])
    return PairedUNet(*shape, tuple(c["attention_levels"]), c["groups"], c["dropout"])


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def main() -> None:
    for name, preset in PRESETS.items():
        c = DEFAULTS | preset
        model = build(preset)
        shape = (2, c["in_channels"], c["image_size"], c["image_size"])
        with torch.no_grad():
            out = model(torch.randn(shape), torch.tensor([0.0, 999.0]))
        assert out.shape == (2, c["out_channels"], *shape[2:]), out.shape
        count = parameters(model)
        assert count == PARAMETERS.get(name, count), f"{name}: {count} parameters instead of {PARAMETERS[name]}"
        print(f"{name:14} {count:>12,} parameters")


if __name__ == "__main__":
    main()
