#!/usr/bin/env bash
# diffusers 0.42.0: add_noise of a scheduler that was just made is reversed in time for four classes of solvers.
#
# Expected: add_noise(x, noise, t) is the forward process and the same for every scheduler of one noise schedule, as it is
# for DDPMScheduler, DDIMScheduler and PNDMScheduler.
# Seen: DPMSolverMultistepScheduler, DPMSolverSinglestepScheduler, UniPCMultistepScheduler and DEISMultistepScheduler give t
# the noise of 999 - t: nearly none at t = 999, nearly nothing but noise at t = 0, exactly the schedule read backwards. A
# training loop that takes one of them trains on wrong levels and says nothing. After set_timesteps the order is right (and
# then t is answered with the nearest of the chosen timesteps).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.15.0 diffusers==0.42.0
"$folder/venv/bin/python" - <<'PYTHON'
import diffusers
import torch

torch.manual_seed(0)
noise, timesteps = torch.randn(1000, 64), torch.arange(1000)


def amounts(scheduler):
    noisy = scheduler.add_noise(torch.zeros_like(noise), noise, timesteps)
    return noisy.norm(dim=1) / noise.norm(dim=1)


for name in "DDPM", "DDIM", "PNDM":
    scheduler = getattr(diffusers, name + "Scheduler")()
    assert torch.allclose(amounts(scheduler), (1 - scheduler.alphas_cumprod).sqrt(), atol=1e-5), name
for name in "DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep", "DEISMultistep":
    scheduler = getattr(diffusers, name + "Scheduler")()
    seen, right = amounts(scheduler), (1 - scheduler.alphas_cumprod).sqrt()
    print(f"{name:20} noise at t = 0: {seen[0]:.4f} (schedule: {right[0]:.4f}), at t = 999: {seen[999]:.4f}")
    assert torch.allclose(seen, right.flip(0), atol=1e-5), name
    scheduler.set_timesteps(100)
    assert (amounts(scheduler).diff() >= -1e-6).all(), "in order once timesteps are set"
PYTHON
