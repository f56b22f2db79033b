"""The further networks in plain PyTorch, written for comparison: skip-net, resnet-unet and mlp, under our weight names.

Projections of attention are linear layers over the pixels; images are [n, c, h, w], points [n, c, 1, 1].
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv3x3(c_in: int, c_out: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, padding=1)


def sinusoids(t: Tensor, dim: int, like: Tensor) -> Tensor:
    frequencies = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
    angles = t.double()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1).to(like.dtype)


class TimeMlp(nn.Module):
    def __init__(self, sinusoid_dim: int, dim: int):
        super().__init__()
        self.sinusoid_dim = sinusoid_dim
        self.linear_1 = nn.Linear(sinusoid_dim, dim)
        self.linear_2 = nn.Linear(dim, dim)

    def forward(self, t: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(sinusoids(t, self.sinusoid_dim, self.linear_1.weight))))


def softmax_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    return scores.softmax(dim=-1) @ v


class GatedAttention(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.to_q, self.to_k, self.to_v = nn.Linear(c, c // 8), nn.Linear(c, c // 8), nn.Linear(c, c)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        out = softmax_attention(self.to_q(tokens), self.to_k(tokens), self.to_v(tokens))
        return x + self.gamma * out.transpose(1, 2).reshape(x.shape)


class SkipBlock(nn.Module):
    def __init__(self, c_in: int, c_out: int, groups: int, activation, attends: bool):
        super().__init__()
        self.conv = conv3x3(c_in, c_out)
        self.norm = nn.GroupNorm(groups, c_out) if groups > 0 else nn.Identity()
        self.attention = GatedAttention(c_out) if attends else nn.Identity()
        self.activation = activation

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        h = self.norm(self.conv(x))
        if time is not None:
            h = h + time[:, :, None, None]
        return self.attention(self.activation(h))


class SkipNet(nn.Module):
    def __init__(self, in_channels, out_channels, channels, pool, activation, groups, attention_blocks, mid_attention,
                 time, time_rows, time_dim):  # fmt: skip
        super().__init__()
        self.pool = {"average": F.avg_pool2d, "max": F.max_pool2d}[pool]
        act = {"relu": F.relu, "silu": F.silu}[activation]
        deepest = channels[-1]
        self.time_embedding = nn.Embedding(time_rows, deepest) if time == "table" else TimeMlp(time_dim, deepest)
        before = [in_channels, *channels[:-1]]
        self.encoder = nn.ModuleList(
            SkipBlock(b, c, groups, act, i in attention_blocks) for i, (b, c) in enumerate(zip(before, channels))
        )
        self.bottleneck = SkipBlock(deepest, deepest, groups, act, mid_attention)
        upwards = list(zip(channels[:0:-1], channels[-2::-1]))
        self.decoder = nn.ModuleList(SkipBlock(h + c, c, groups, act, False) for h, c in upwards)
        self.conv_out = conv3x3(channels[0] + in_channels, out_channels)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        table = isinstance(self.time_embedding, nn.Embedding)
        time = self.time_embedding(t.long() if table else t)
        h, maps = x, []
        for i, block in enumerate(self.encoder):
            h = block(h if i == 0 else self.pool(h, 2))
            maps.append(h)
        h = self.bottleneck(h, time)
        for block, skip in zip(self.decoder, maps[-2::-1]):
            h = block(torch.cat([F.interpolate(h, scale_factor=2, mode="nearest"), skip], dim=1))
        return self.conv_out(torch.cat([h, x], dim=1))


class Residual(nn.Module):
    def __init__(self, c_in: int, c_out: int, time_dim: int, groups: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, c_in), conv3x3(c_in, c_out)
        self.time_emb_proj = nn.Linear(time_dim, c_out)
        self.norm2, self.conv2 = nn.GroupNorm(groups, c_out), conv3x3(c_out, c_out)
        self.conv_shortcut = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(F.silu(time))[:, :, None, None]
        return self.conv2(F.silu(self.norm2(h))) + self.conv_shortcut(x)


class Attention(nn.Module):
    def __init__(self, c: int, heads: int, groups: int):
        super().__init__()
        self.heads = heads
        self.group_norm = nn.GroupNorm(groups, c)
        self.to_q, self.to_k, self.to_v = nn.Linear(c, c), nn.Linear(c, c), nn.Linear(c, c)
        self.to_out = nn.ModuleList([nn.Linear(c, c)])

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)
        heads = [to(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2) for to in (self.to_q, self.to_k, self.to_v)]
        out = softmax_attention(*heads).transpose(1, 2).flatten(2)
        return x + self.to_out[0](out).transpose(1, 2).reshape(x.shape)


class Row(nn.Module):
    """Residual blocks with attention between or after them, and what comes before or after the row."""

    def __init__(self, resnets, attentions, **sampler):
        super().__init__()
        self.resnets, self.attentions = nn.ModuleList(resnets), nn.ModuleList(attentions)
        for name, module in sampler.items():
            setattr(self, name, module)


class ResnetUnet(nn.Module):
    def __init__(self, in_channels, out_channels, channels, halvings, mid_channels, last_channels, layers_per_block, heads,
                 groups, time_dim):  # fmt: skip
        super().__init__()
        layers = range(layers_per_block)

        def residual(c_in, c_out):
            return Residual(c_in, c_out, time_dim, groups)

        def attentions(c):
            return [Attention(c, heads, groups) for _ in layers]

        def widths(c_in, c_out):
            return [residual(c_in if j == 0 else c_out, c_out) for j in layers]

        self.time_embedding = TimeMlp(time_dim, time_dim)
        self.conv_in = conv3x3(in_channels, channels[0])
        self.down_blocks = nn.ModuleList()
        for i, (before, c) in enumerate(zip(channels, channels[1:])):
            halve = {"downsampler": nn.Conv2d(c, c, 4, stride=2, padding=1)} if i < halvings else {}
            self.down_blocks.append(Row(widths(before, c), attentions(c), **halve))
        self.mid_blocks = nn.ModuleList()
        h = channels[-1]
        for c in mid_channels:
            self.mid_blocks.append(Row([residual(h, c), *(residual(c, c) for _ in layers)], attentions(c)))
            h = c
        self.up_blocks = nn.ModuleList()
        for i in reversed(range(len(channels) - 1)):
            c_out = channels[i - 1] if i > 0 else last_channels
            double = {"upsampler": nn.ConvTranspose2d(h, h, 4, stride=2, padding=1)} if i < halvings else {}
            self.up_blocks.append(Row(widths(h + channels[i], c_out), attentions(c_out), **double))
            h = c_out
        self.conv_norm_out = nn.GroupNorm(groups, h)
        self.conv_out = conv3x3(h, out_channels)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        time = self.time_embedding(t)
        h, skips = self.conv_in(x), []
        for block in self.down_blocks:
            skips.append(h)
            for resnet, attention in zip(block.resnets, block.attentions):
                h = attention(resnet(h, time))
            if hasattr(block, "downsampler"):
                h = block.downsampler(h)
        for block in self.mid_blocks:
            h = block.resnets[0](h, time)
            for attention, resnet in zip(block.attentions, block.resnets[1:]):
                h = resnet(attention(h), time)
        for block in self.up_blocks:
            if hasattr(block, "upsampler"):
                h = block.upsampler(h)
            h = torch.cat([h, skips.pop()], dim=1)
            for resnet, attention in zip(block.resnets, block.attentions):
                h = attention(resnet(h, time))
        return self.conv_out(F.silu(self.conv_norm_out(h)))


class Mlp(nn.Module):
    """Takes the time as t / 1000, or with `time_dim` as so many sinusoids of t."""

    def __init__(self, in_channels, out_channels, layers, width, time_dim):
        super().__init__()
        self.time_dim = time_dim
        widths = [in_channels + max(time_dim, 1), *[width] * (layers - 1), out_channels]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        time = sinusoids(t, self.time_dim, x) if self.time_dim > 0 else t[:, None].to(x.dtype) / 1000
        h = torch.cat([x[:, :, 0, 0], time], dim=1)
        for layer in self.layers[:-1]:
            h = F.relu(layer(h))
        return self.layers[-1](h)[:, :, None, None]
