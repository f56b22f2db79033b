"""Draws pictures with diffusers and with ddpm from the same noise, and compares them pixel by pixel.

    python scripts/compare_pictures.py target/release/ddpm RUN

RUN is a trained run or a checkpoint. For every sampler it is exported with `ddpm export --pipeline`, and what
`DDPMPipeline.from_pretrained` draws from that is compared with `ddpm sample` of the run; then the scheduler's configuration
is replaced by one that diffusers writes itself, and the same pipeline is compared with `ddpm sample` of the folder. Both
start from the same noise and add the same in every step: that of src/engine/random, computed here. The worst difference may
be one level of 255. Needs torch, diffusers, numpy and pillow.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, DPMSolverMultistepScheduler
from diffusers.pipelines.ddpm import pipeline_ddpm
from diffusers.schedulers import scheduling_ddpm
from PIL import Image

SCHEDULERS = {"ddpm": DDPMScheduler, "ddim": DDIMScheduler, "dpm-solver": DPMSolverMultistepScheduler}
# Settings without which diffusers draws otherwise; `ddpm export` says so.
AS_THEIRS = {"ddpm": [], "ddim": ["sample.eta=0"], "dpm-solver": ["sample.clip_x0=false"]}
# Steps of the folder, and those for which a run of ours visits the times that diffusers does; None: every one.
STEPS = {"ddpm": [50, None], "ddim": [20], "dpm-solver": [10, 25]}
RUN_STEPS = {"ddpm": [50, None], "ddim": [], "dpm-solver": []}
IMAGES, SEED = 4, 7
START, STEP_NOISE = 2, 3  # streams


def philox(counter: list[np.ndarray], key: list[int]) -> list[np.ndarray]:
    """Philox4x32-10 of many counters."""
    c = [word.astype(np.uint64) for word in counter]
    low = np.uint64(0xFFFFFFFF)
    for round_ in range(10):
        keys = [np.uint64((k + round_ * bump) & 0xFFFFFFFF) for k, bump in zip(key, (0x9E3779B9, 0xBB67AE85))]
        first, second = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(second >> np.uint64(32)) ^ c[1] ^ keys[0], second & low, (first >> np.uint64(32)) ^ c[3] ^ keys[1], first & low]
    return c


def normals(stream: int, step: int, shape: tuple[int, int, int]) -> torch.Tensor:
    """The normals of all images, [n, c, h, w]; ours are counted as [n, h, w, c]."""
    c, h, w = shape
    quads = -(-c * h * w // 4)
    image, quad = np.meshgrid(np.arange(IMAGES), np.arange(quads), indexing="ij")
    words = philox([quad, image, np.full_like(quad, step), np.full_like(quad, stream)], [SEED, 0])
    uniform = [((word >> np.uint64(8)).astype(np.float64) + 0.5) / 2**24 for word in words]
    pairs = [(np.sqrt(-2 * np.log(uniform[i])), 2 * np.pi * uniform[i + 1]) for i in (0, 2)]
    values = np.stack([radius * wave(turn) for radius, turn in pairs for wave in (np.cos, np.sin)], axis=-1)
    values = values.reshape(IMAGES, 4 * quads)[:, : c * h * w].reshape(IMAGES, h, w, c)
    return torch.tensor(values, dtype=torch.float32).permute(0, 3, 1, 2).contiguous()


def pipeline_pictures(folder: Path, steps: int | None) -> np.ndarray:
    """What the pipeline draws from our noise, as bytes [n, h, w, c]."""
    pipeline = DDPMPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    config = pipeline.unet.config
    size = config.sample_size if isinstance(config.sample_size, (list, tuple)) else [config.sample_size] * 2
    shape, drawn = (config.in_channels, *size), []

    def step_noise(*_, **__):
        drawn.append(None)
        return normals(STEP_NOISE, len(drawn) - 1, shape)

    pipeline_ddpm.randn_tensor = lambda *_, **__: normals(START, 0, shape)
    scheduling_ddpm.randn_tensor = step_noise
    steps = steps or pipeline.scheduler.config.num_train_timesteps
    images = pipeline(batch_size=IMAGES, num_inference_steps=steps, output_type="np").images
    return (images * 255).round().astype(np.int64)


def our_pictures(ddpm: str, model: Path, options: list[str], shape: tuple[int, ...], sheet: Path) -> np.ndarray:
    """The pictures of a sheet, which shows them in rows with lines between, every pixel several times."""
    command = [ddpm, "sample", str(model), "--n", str(IMAGES), "--seed", str(SEED), "--out", str(sheet), *options]
    subprocess.run([*command, "--device", "cpu"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pixels = np.asarray(Image.open(sheet)).astype(np.int64)
    n, h, w, c = shape
    columns = 2
    factor = pixels.shape[1] // (columns * (w + 1) + 1)
    pixels = pixels.reshape(*pixels.shape[:2], -1)[::factor, ::factor]
    at = [(i // columns * (h + 1) + 1, i % columns * (w + 1) + 1) for i in range(n)]
    return np.stack([pixels[y : y + h, x : x + w, :c] for y, x in at])


def main() -> None:
    ddpm, run = sys.argv[1], Path(sys.argv[2])
    diffusers.logging.set_verbosity_error()
    torch.set_num_threads(2)
    worst = 0
    with tempfile.TemporaryDirectory() as work:
        for sampler, kind in SCHEDULERS.items():
            folder = Path(work) / sampler
            export = [ddpm, "export", str(run), str(folder), "--pipeline", "--set", f"sample.sampler={sampler}"]
            export += [part for setting in AS_THEIRS[sampler] for part in ("--set", setting)]
            subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
            for whose in ("run", "folder"):
                if whose == "folder":
                    config = kind.from_pretrained(folder / "scheduler").config
                    kind(**{key: value for key, value in config.items() if key[0] != "_"}).save_pretrained(folder / "scheduler")
                for steps in (RUN_STEPS if whose == "run" else STEPS)[sampler]:
                    theirs = pipeline_pictures(folder, steps)
                    options = ["--sampler", sampler, "--steps", str(steps or 0)]
                    model = run if whose == "run" else folder
                    if whose == "run":
                        options += [part for setting in AS_THEIRS[sampler] for part in ("--set", setting)]
                    ours = our_pictures(ddpm, model, options, theirs.shape, Path(work) / "sheet.png")
                    off = np.abs(ours - theirs)
                    worst = max(worst, off.max())
                    print(f"{sampler:10} {steps or 'all':>4} steps, {whose:6}: worst {off.max()} of 255, mean {off.mean():.4f}, "
                          f"{(off > 0).mean():.2%} of the values differ; spread of the pictures {theirs.std():.1f}")  # fmt: skip
    sys.exit(f"worst difference {worst} of 255" if worst > 1 else 0)


if __name__ == "__main__":
    main()
