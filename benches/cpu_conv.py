"""The table of benches/cpu_conv.rs for PyTorch (channels_last, two threads)."""

import re
import sys
import time
from pathlib import Path

import torch

torch.set_num_threads(2)
SHAPES = re.findall(r'\("([^"]+)", \[([0-9, ]+)\]\)', (Path(__file__).parent / "cpu_conv.rs").read_text())


def rate(flops, call):
    """GFLOP/s of the fastest of many calls."""
    begin, best, calls = time.perf_counter(), float("inf"), 0
    while calls < 5 or time.perf_counter() - begin < 0.25:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
        calls += 1
    return flops / best / 1e9


def main():
    print(f"{'shape':26} {'forward':>8} {'dx':>8} {'dw':>8}   GFLOP/s, torch {torch.__version__}")
    for name, numbers in SHAPES:
        if sys.argv[1:] and not any(wanted in name for wanted in sys.argv[1:]):
            continue
        n, size, c_in, c_out, kh, kw, stride = map(int, numbers.split(","))
        x = torch.randn(n, c_in, size, size).to(memory_format=torch.channels_last)
        w = torch.randn(c_out, c_in, kh, kw).to(memory_format=torch.channels_last)
        bias = torch.randn(c_out)
        padding = [(kh - 1) // 2, (kw - 1) // 2]
        y = torch.conv2d(x, w, bias, stride, padding)
        dy = torch.randn_like(y)
        flops = 2 * y.numel() * c_in * kh * kw

        def backward(mask):
            return torch.ops.aten.convolution_backward(
                dy, x, w, [c_out], [stride] * 2, padding, [1, 1], False, [0, 0], 1, mask
            )

        with torch.no_grad():
            forward = rate(flops, lambda: torch.conv2d(x, w, bias, stride, padding))
            dx = rate(flops, lambda: backward([True, False, False]))
            dw = rate(flops, lambda: backward([False, True, True]))
        print(f"{name:26} {forward:8.1f} {dx:8.1f} {dw:8.1f}", flush=True)


if __name__ == "__main__":
    main()
