"""Times training steps in PyTorch: noise, forward, loss, backward, AdamW, moving average. Prints one JSON object.

    python benches/pytorch/train_step.py ddpm-cifar10 --batch 4 --steps 5
"""

import argparse
import json
import resource
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from unet import DEFAULTS, PRESETS, build, parameters


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5, help="timed steps")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them that are not timed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile the model")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    c = DEFAULTS | PRESETS[args.preset]
    idle_bytes = resident_bytes()

    model = build(c).to(memory_format=torch.channels_last).train()
    weights = list(model.parameters())
    average = [p.detach().clone() for p in weights]
    optimiser = torch.optim.AdamW(weights, lr=2e-4, fused=True)
    network = torch.compile(model) if args.compile else model
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), dim=0)
    images = torch.rand(args.batch, c["in_channels"], c["image_size"], c["image_size"]) * 2 - 1
    images = images.to(memory_format=torch.channels_last)

    def step() -> float:
        t = torch.randint(1000, (args.batch,))
        eps = torch.randn_like(images)
        bar = alpha_bar[t][:, None, None, None]
        loss = F.mse_loss(network(bar.sqrt() * images + (1 - bar).sqrt() * eps, t)[:, : c["in_channels"]], eps)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        torch._foreach_lerp_(average, [p.detach() for p in weights], 1e-4)
        return loss.item()

    step_ms = []
    for _ in range(args.warmup + args.steps):
        start = time.perf_counter()
        step()
        step_ms.append(1e3 * (time.perf_counter() - start))
    report = {
        "torch": torch.__version__,
        "parameters": parameters(model),
        "batch_size": args.batch,
        "idle_bytes": idle_bytes,
        "ms_per_step": statistics.median(step_ms[args.warmup :]),
        "min_ms_per_step": min(step_ms[args.warmup :]),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
