"""The U-Net of Ambilduke et al. (57,489,857 parameters for 32x32x1) in PyTorch, under diffusers-style weight names.

It differs from diffusers' UNet2DModel: sinusoids without an MLP, skips taken before the attention, a decoder that
attends before it joins a skip and has no extra residual block, 3x3 convolutions on every shortcut, dropout before the
second norm, bilinear upsampling of the joined tensor.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv3x3(c_in: int, c_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1)


class Residual(nn.Module):
    def __init__(self, c_in: int, c_out: int, time_dim: int, groups: int, dropout: float):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, c_in)
        self.conv1 = conv3x3(c_in, c_out)
        self.time_emb_proj = nn.Linear(time_dim, c_out)
        self.norm2 = nn.GroupNorm(groups, c_out)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = conv3x3(c_out, c_out)
        self.conv_shortcut = conv3x3(c_in, c_out)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.dropout(h + self.time_emb_proj(F.silu(time))[:, :, None, None])
        h = self.conv2(F.silu(self.norm2(h)))
        return self.conv_shortcut(x) + h


class Attention(nn.Module):
    """Heads of `head_dim` channels; 0: one head of all."""

    def __init__(self, channels: int, groups: int, head_dim: int = 0, eps: float = 1e-5):
        super().__init__()
        self.head_dim = head_dim or channels
        self.group_norm = nn.GroupNorm(groups, channels, eps)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)  # [n, h * w, c]
        q, k, v = (f(tokens).unflatten(2, (-1, self.head_dim)).transpose(1, 2) for f in (self.to_q, self.to_k, self.to_v))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.to_out[0](attended).transpose(1, 2).reshape(x.shape)


class Level(nn.Module):
    """Residual blocks, the attention that belongs to each, and the convolution that leads to the next level."""

    def __init__(self, resnets: list[Residual], attentions: list[Attention]):
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        self.attentions = nn.ModuleList(attentions)


def with_conv(conv: nn.Conv2d) -> nn.ModuleList:
    """The place that diffusers gives to the convolution of a resampling layer: `NAME.0.conv`."""
    return nn.ModuleList([nn.ModuleDict({"conv": conv})])


class PairedUNet(nn.Module):
    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: tuple[int, ...] = (64, 128, 256, 512),  # of each level, from the full image down
        layers: int = 2,  # residual blocks per level
        attention_levels: tuple[int, ...] = (1,),
        groups: int = 32,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.attention_levels = attention_levels
        self.time_dim = 4 * channels[0]

        def residual(c_in, c_out):
            return Residual(c_in, c_out, self.time_dim, groups, dropout)

        def attentions(level, c):
            return [Attention(c, groups) for _ in range(layers if level in attention_levels else 0)]

        self.conv_in = conv3x3(in_channels, channels[0])
        self.down_blocks = nn.ModuleList()
        for i, c in enumerate(channels):
            c_before = channels[max(i - 1, 0)]
            level = Level([residual(c_before if j == 0 else c, c) for j in range(layers)], attentions(i, c))
            if i + 1 < len(channels):
                level.downsamplers = with_conv(conv3x3(c, c, stride=2))
            self.down_blocks.append(level)

        deepest = channels[-1]
        self.mid_block = Level([residual(deepest, deepest), residual(deepest, deepest)], [Attention(deepest, groups)])

        self.up_blocks = nn.ModuleList()
        for i in reversed(range(len(channels))):
            c, shallower = channels[i], channels[max(i - 1, 0)]
            widths = [c] * (layers - 1) + [shallower]
            level = Level([residual(2 * c, width) for width in widths], attentions(i, c))
            if i > 0:
                level.upsamplers = with_conv(conv3x3(2 * shallower, shallower))
            self.up_blocks.append(level)

        self.conv_norm_out = nn.GroupNorm(groups, channels[0])
        self.conv_out = conv3x3(channels[0], out_channels)

    def time_embedding(self, t: Tensor) -> Tensor:
        half = self.time_dim // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=t.device) / (half - 1))
        angles = t.float()[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1).to(self.conv_in.weight.dtype)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        time = self.time_embedding(t)
        h, skips = self.conv_in(x), []
        for level in self.down_blocks:
            for j, resnet in enumerate(level.resnets):
                h = resnet(h, time)
                skips.append(h)
                if level.attentions:
                    h = level.attentions[j](h)
            if hasattr(level, "downsamplers"):
                h = level.downsamplers[0]["conv"](h)
                skips.append(h)

        h = self.mid_block.resnets[0](h, time)
        h = self.mid_block.attentions[0](h)
        h = self.mid_block.resnets[1](h, time)

        for level in self.up_blocks:
            for j, resnet in enumerate(level.resnets):
                if level.attentions:
                    h = level.attentions[j](h)
                h = resnet(torch.cat([h, skips.pop()], dim=1), time)
            if hasattr(level, "upsamplers"):
                h = torch.cat([h, skips.pop()], dim=1)
                h = F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=True)
                h = level.upsamplers[0]["conv"](h)
        return self.conv_out(F.silu(self.conv_norm_out(h)))
