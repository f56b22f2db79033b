"""Our presets' networks in plain PyTorch, under the weight names of our files: `build` makes one from the `[model]` table
of a configuration (`ddpm presets NAME` prints one). check.py shows that they compute what ours compute.
"""

import math

import torch
import torch.nn.functional as F
from paired_unet import Attention, Level, PairedUNet, conv3x3, with_conv
from torch import Tensor, nn


class Residual(nn.Module):
    def __init__(self, c_in: int, c_out: int, time_dim: int, groups: int, eps: float, dropout: float):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, c_in, eps)
        self.conv1 = conv3x3(c_in, c_out)
        self.time_emb_proj = nn.Linear(time_dim, c_out)
        self.norm2 = nn.GroupNorm(groups, c_out, eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = conv3x3(c_out, c_out)
        self.conv_shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(time)[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return self.conv_shortcut(x) + h


class UNet(nn.Module):
    """The network of Ho et al. (2020), as diffusers' UNet2DModel lays it out, from the keys of our `[model]` table."""

    def __init__(self, c: dict):
        super().__init__()
        self.config = c
        channels, levels, layers = c["channels"], len(c["channels"]), c["layers_per_level"]
        self.first_width, time_dim = channels[0], c["time_dim"] or 4 * channels[0]
        eps, groups = c["norm_eps"], c["groups"]

        def residual(c_in, c_out):
            return Residual(c_in, c_out, time_dim, groups, eps, c["dropout"])

        def attention(width):
            return Attention(width, groups, c["head_dim"], eps)

        def attentions(level, n):
            return [attention(channels[level]) for _ in range(n if level in c["attention_levels"] else 0)]

        self.time_embedding = nn.ModuleDict(
            {"linear_1": nn.Linear(channels[0], time_dim), "linear_2": nn.Linear(time_dim, time_dim)}
        )
        if c["classes"]:
            self.class_embedding = nn.Embedding(c["classes"] + c["null_class"], time_dim)
        self.conv_in = conv3x3(c["in_channels"], channels[0])
        skips = [channels[0]]
        self.down_blocks = nn.ModuleList()
        for i, width in enumerate(channels):
            before = channels[max(i - 1, 0)]
            level = Level([residual(before if j == 0 else width, width) for j in range(layers)], attentions(i, layers))
            skips += [width] * layers
            if i + 1 < levels:
                skips.append(width)
                if c["downsample"] != "avg_pool":
                    padding = 0 if c["downsample"] == "conv_asymmetric" else 1
                    level.downsamplers = with_conv(nn.Conv2d(width, width, 3, stride=2, padding=padding))
            self.down_blocks.append(level)

        deepest = channels[-1]
        middle = [attention(deepest)] if c["mid_attention"] else []
        self.mid_block = Level([residual(deepest, deepest), residual(deepest, deepest)], middle)

        h = deepest
        self.up_blocks = nn.ModuleList()
        for i in reversed(range(levels)):
            width = channels[i]
            resnets = []
            for _ in range(layers + 1):
                resnets.append(residual(h + skips.pop(), width))
                h = width
            level = Level(resnets, attentions(i, layers + 1))
            if i > 0 and c["upsample"] != "nearest":
                level.upsamplers = with_conv(conv3x3(width, width))
            self.up_blocks.append(level)
        self.conv_norm_out = nn.GroupNorm(groups, channels[0], eps)
        self.conv_out = conv3x3(channels[0], c["out_channels"])

    def time(self, t: Tensor, labels: Tensor | None) -> Tensor:
        half = self.first_width // 2
        exponents = torch.arange(half, device=t.device) / (half - self.config["freq_shift"])
        angles = t.float()[:, None] * torch.exp(-math.log(10000) * exponents)
        parts = [angles.cos(), angles.sin()] if self.config["flip_sin_to_cos"] else [angles.sin(), angles.cos()]
        h = torch.cat(parts, dim=1).to(self.conv_in.weight.dtype)
        h = self.time_embedding["linear_2"](F.silu(self.time_embedding["linear_1"](h)))
        if labels is not None:
            h = h + self.class_embedding(labels)
        return F.silu(h)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        time, h = self.time(t, labels), self.conv_in(x)
        skips = [h]
        for i, level in enumerate(self.down_blocks):
            for j, resnet in enumerate(level.resnets):
                h = resnet(h, time)
                if level.attentions:
                    h = level.attentions[j](h)
                skips.append(h)
            if i + 1 < len(self.down_blocks):
                h = self.halve(level, h)
                skips.append(h)

        h = self.mid_block.resnets[0](h, time)
        for attention in self.mid_block.attentions:
            h = attention(h)
        h = self.mid_block.resnets[1](h, time)

        for i, level in enumerate(self.up_blocks):
            for j, resnet in enumerate(level.resnets):
                h = resnet(torch.cat([h, skips.pop()], dim=1), time)
                if level.attentions:
                    h = level.attentions[j](h)
            if i + 1 < len(self.up_blocks):
                h = F.interpolate(h, scale_factor=2.0, mode="nearest")
                if hasattr(level, "upsamplers"):
                    h = level.upsamplers[0]["conv"](h)
        return self.conv_out(F.silu(self.conv_norm_out(h)))

    def halve(self, level: Level, h: Tensor) -> Tensor:
        if self.config["downsample"] == "avg_pool":
            return F.avg_pool2d(h, 2)
        if self.config["downsample"] == "conv_asymmetric":
            h = F.pad(h, (0, 1, 0, 1))
        return level.downsamplers[0]["conv"](h)


# What the paired U-Net has in place of a choice.
PAIRED = {
    "downsample": "conv", "upsample": "bilinear_conv", "shortcut": "conv3x3", "freq_shift": 1.0, "head_dim": 0,
    "time_dim": 0, "flip_sin_to_cos": False, "mid_attention": True, "norm_eps": 1e-5,
}  # fmt: skip


def build(model: dict) -> nn.Module:
    """The network of a `[model]` table; a call takes x [n, c, h, w], t [n] and, of a network with classes, labels [n]."""
    if model["architecture"] != "unet" or (model["classes"] and model["layout"] != "ddpm"):
        raise ValueError("only networks of the architecture unet are built here, with classes those of layout ddpm")
    if model["layout"] == "ddpm":
        if model["shortcut"] != "pointwise" or model["upsample"] == "bilinear_conv":
            raise ValueError("layout ddpm: only pointwise shortcuts and nearest upsampling are built here")
        return UNet(model)
    other = [key for key, value in PAIRED.items() if not same(model[key], value)]
    if other:
        raise ValueError(f"layout paired: {', '.join(other)} must be as in mnist-123")
    shape = (model["in_channels"], model["out_channels"], tuple(model["channels"]), model["layers_per_level"])
    return PairedUNet(*shape, tuple(model["attention_levels"]), model["groups"], model["dropout"])


def same(a, b) -> bool:
    return math.isclose(a, b, rel_tol=1e-6) if isinstance(b, float) else a == b


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
