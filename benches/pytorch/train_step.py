"""Times our training step in PyTorch: upload, noise, forward, loss, backward, clipping, AdamW, moving average.

    ddpm presets ddpm-cifar10 > config.toml
    echo | python benches/pytorch/train_step.py config.toml --device cpu --batch 4 --mode compile

For every line of its input it times some steps and prints one JSON object; benches/compare.py lets it take turns with
ours. On a GPU: bf16 autocast, channels_last, fused AdamW, and nothing waits for the GPU within a turn.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
import tomllib
from pathlib import Path

import torch
import torch.nn.functional as F
from unet import build, parameters

MODES = {
    "eager": lambda model: model,
    "compile": torch.compile,
    "max-autotune": lambda model: torch.compile(model, mode="max-autotune"),
}


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def seconds_since_start() -> float:
    """Seconds since this process began."""
    started_ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    now_s = float(Path("/proc/uptime").read_text().split()[0])
    return now_s - started_ticks / os.sysconf("SC_CLK_TCK")


class Step:
    """A model, its optimiser and its moving average, as our trainer has them."""

    def __init__(self, config: dict, batch: int, mode: str, device: torch.device):
        model, train = config["model"], config["train"]
        self.device, self.clip_norm, self.channels = device, train["clip_norm"], model["in_channels"]
        self.model = build(model).to(device, memory_format=torch.channels_last).train()
        self.network = MODES[mode](self.model)
        self.weights = list(self.model.parameters())
        self.average = [p.detach().clone() for p in self.weights]
        self.optimiser = torch.optim.AdamW(self.weights, lr=2e-4, weight_decay=0.0, fused=True)
        self.alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, device=device), dim=0)
        images = torch.rand(batch, self.channels, model["image_size"], model["image_size"]) * 2 - 1
        self.host_images = images.to(memory_format=torch.channels_last)
        # A label for every image where the network is told the class; empty where it is not.
        self.labels = [torch.arange(batch, device=device) % model["classes"]] if model["classes"] else []
        if device.type == "cuda":
            self.host_images = self.host_images.pin_memory()

    def run(self) -> torch.Tensor:
        images = self.host_images.to(self.device, non_blocking=True)
        t = torch.randint(1000, (len(images),), device=self.device)
        eps = torch.randn_like(images)
        bar = self.alpha_bar[t][:, None, None, None]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            prediction = self.network(bar.sqrt() * images + (1 - bar).sqrt() * eps, t, *self.labels)
        loss = F.mse_loss(prediction[:, : self.channels].float(), eps)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(self.weights, self.clip_norm)
        self.optimiser.step()
        torch._foreach_lerp_(self.average, [p.detach() for p in self.weights], 1e-4)
        return loss.detach()


def time_steps_ms(step: Step, steps: int) -> list[float]:
    """The time of each step: between events on a GPU, on the clock otherwise."""
    if step.device.type != "cuda":
        marks = [time.perf_counter()]
        for _ in range(steps):
            step.run().item()
            marks.append(time.perf_counter())
        return [1e3 * (b - a) for a, b in zip(marks, marks[1:])]
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
    marks[0].record()
    for mark in marks[1:]:
        step.run()
        mark.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) for a, b in zip(marks, marks[1:])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, help="a configuration of ours, complete, in TOML")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of a turn")
    parser.add_argument("--warmup", type=int, default=3, help="steps before the first turn")
    parser.add_argument("--threads", type=int, default=2, help="threads on the CPU")
    parser.add_argument("--mode", choices=MODES, default="eager")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    args = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    idle_bytes = resident_bytes()
    device = torch.device(args.device)
    on_gpu = device.type == "cuda"
    step = Step(tomllib.loads(args.config.read_text()), args.batch, args.mode, device)
    step.run().item()
    first_step_s = seconds_since_start()
    time_steps_ms(step, args.warmup)

    for _ in sys.stdin:
        ms = time_steps_ms(step, args.steps)
        host_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        report = {
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
            "mode": args.mode,
            "parameters": parameters(step.model),
            "batch_size": args.batch,
            "ms_per_step": statistics.median(ms),
            "min_ms_per_step": min(ms),
            "first_step_s": first_step_s,
            "peak_bytes": torch.cuda.max_memory_allocated(device) if on_gpu else host_bytes,
            "idle_bytes": 0 if on_gpu else idle_bytes,
        }
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
