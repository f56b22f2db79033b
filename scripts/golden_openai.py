"""The U-Net of Nichol and Dhariwal (2021) in plain PyTorch, written for comparison, under the names of its checkpoints.

A time is embedded as cosines before sines. Every residual block gets it as scale and shift of its second norm, or added
before that norm. Of an attention block's projection the heads are outermost: q, k and v of the first head, then of the
next. Weights and inputs are formulas of tensor and element, so that the golden file holds names, shapes and outputs alone:

    python scripts/golden_openai.py tests/golden/openai-unet.json.gz
"""

import gzip
import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    def __init__(self, c_in: int, c_out: int, time_dim: int, groups: int, scale_shift: bool):
        super().__init__()
        self.scale_shift = scale_shift
        self.in_layers = nn.Sequential(nn.GroupNorm(groups, c_in), nn.SiLU(), nn.Conv2d(c_in, c_out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time_dim, 2 * c_out if scale_shift else c_out))
        convolution = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.out_layers = nn.Sequential(nn.GroupNorm(groups, c_out), nn.SiLU(), nn.Dropout(0.0), convolution)
        self.skip_connection = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h, time = self.in_layers(x), self.emb_layers(time)[:, :, None, None]
        norm, rest = self.out_layers[0], self.out_layers[1:]
        if self.scale_shift:
            scale, shift = time.chunk(2, dim=1)
            h = norm(h) * (1 + scale) + shift
        else:
            h = norm(h + time)
        return self.skip_connection(x) + rest(h)


class Attention(nn.Module):
    def __init__(self, c: int, groups: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, c)
        self.qkv, self.proj_out = nn.Conv1d(c, 3 * c, 1), nn.Conv1d(c, c, 1)

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        n, c, h, w = x.shape
        qkv = self.qkv(self.norm(x).reshape(n, c, h * w)).reshape(n, self.heads, 3, c // self.heads, h * w)
        q, k, v = qkv.transpose(-1, -2).unbind(dim=2)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2)
        return x + self.proj_out(attended.reshape(n, c, h * w)).reshape(x.shape)


class Down(nn.Module):
    def __init__(self, c: int, convolves: bool):
        super().__init__()
        self.op = nn.Conv2d(c, c, 3, stride=2, padding=1) if convolves else nn.AvgPool2d(2)

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        return self.op(x)


class Up(nn.Module):
    def __init__(self, c: int, convolves: bool):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, padding=1) if convolves else nn.Identity()

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class OpenAiUNet(nn.Module):
    def __init__(self, in_channels, out_channels, channels, layers, attention_levels, groups, heads, scale_shift, convolves,
                 classes):  # fmt: skip
        super().__init__()
        self.width = c = channels[0]
        time_dim = 4 * c
        self.time_embed = nn.Sequential(nn.Linear(c, time_dim), nn.SiLU(), nn.Linear(time_dim, time_dim))
        if classes:
            self.label_emb = nn.Embedding(classes, time_dim)

        def residual(c_in, c_out):
            return Residual(c_in, c_out, time_dim, groups, scale_shift)

        def attention(level, c):
            return [Attention(c, groups, heads)] if level in attention_levels else []

        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(in_channels, c, 3, padding=1)])])
        kept = [c]
        for level, c_out in enumerate(channels):
            for _ in range(layers):
                self.input_blocks.append(nn.ModuleList([residual(c, c_out), *attention(level, c_out)]))
                c = c_out
                kept.append(c)
            if level + 1 < len(channels):
                self.input_blocks.append(nn.ModuleList([Down(c, convolves)]))
                kept.append(c)
        self.middle_block = nn.ModuleList([residual(c, c), Attention(c, groups, heads), residual(c, c)])
        self.output_blocks = nn.ModuleList()
        for level, c_out in reversed(list(enumerate(channels))):
            for i in range(layers + 1):
                up = [Up(c_out, convolves)] if level > 0 and i == layers else []
                self.output_blocks.append(nn.ModuleList([residual(c + kept.pop(), c_out), *attention(level, c_out), *up]))
                c = c_out
        self.out = nn.Sequential(nn.GroupNorm(groups, c), nn.SiLU(), nn.Conv2d(c, out_channels, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        half = self.width // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float64) / half)
        angles = t.double()[:, None] * frequencies
        time = self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=1).to(x.dtype))
        if labels is not None:
            time = time + self.label_emb(labels)
        h = self.input_blocks[0][0](x)
        kept = [h]
        for block in self.input_blocks[1:]:
            for layer in block:
                h = layer(h, time)
            kept.append(h)
        for layer in self.middle_block:
            h = layer(h, time)
        for block in self.output_blocks:
            h = torch.cat([h, kept.pop()], dim=1)
            for layer in block:
                h = layer(h, time)
        return self.out(h)


# Between them: scale and shift or a bias; convolutions that resample or none; a learned variance; classes; one and several
# heads, of one width and of two; one and two residual blocks a level.
CASES = {
    "learned": dict(
        config=dict(in_channels=3, out_channels=6, channels=[4, 8, 8], layers=1, attention_levels=[1, 2], groups=4, heads=2,
                    scale_shift=True, convolves=True, classes=3),
        size=[4, 8], time_factor=0.25, times=[0.0, 1234.0], labels=[2, 0],
    ),
    "plain": dict(
        config=dict(in_channels=1, out_channels=1, channels=[4, 8], layers=2, attention_levels=[0], groups=2, heads=1,
                    scale_shift=False, convolves=False, classes=0),
        size=[6, 4], time_factor=1.0, times=[7.0], labels=None,
    ),
}  # fmt: skip


def formula(tensor: int, shape: list[int]) -> Tensor:
    """Values between -1 and 1 that no two tensors have in common."""
    elements = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(12.9898 * tensor + 78.233 * elements + 0.5).reshape(shape)


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Weights as large as those of a trained network: norms about 1, matrices by their inputs."""
    values = {}
    for i, (name, p) in enumerate(model.named_parameters()):
        wave = formula(i, list(p.shape))
        if p.dim() > 1:
            values[name] = wave * math.sqrt(2 / p[0].numel())
        else:
            values[name] = 1 + 0.3 * wave if name.endswith("weight") else 0.2 * wave
    return {name: value.float() for name, value in values.items()}


def compute(case: dict, model: nn.Module) -> dict:
    """The case with the tensors of its checkpoint and the output of the network in float64, as [n, c, h, w]."""
    values = weights(model)
    model.load_state_dict(values)
    model.double()
    x = formula(1000, [len(case["times"]), case["config"]["in_channels"], *case["size"]]).float().double()
    t = torch.tensor(case["times"]) * case["time_factor"]
    labels = torch.tensor(case["labels"]) if case["labels"] else None
    with torch.no_grad():
        out = model(x, t, labels)
    tensors = [[name, list(value.shape)] for name, value in values.items()]
    return case | {"tensors": tensors, "out": [round(value, 6) for value in out.flatten().tolist()]}


def main() -> None:
    cases = {name: compute(case, OpenAiUNet(**case["config"])) for name, case in CASES.items()}
    text = json.dumps(cases, separators=(",", ":")) + "\n"
    Path(sys.argv[1]).write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
